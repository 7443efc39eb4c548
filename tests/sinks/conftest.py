"""What the tests of sinks share: a service with events, and the database that they fill, to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from fraiseql_events import ClickHouseSink, Service
from fraiseql_events.shop import Shop
from tests.mixed import dumps
from tests.sinks.server import ClickHouseServer
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def publish(send: Callable[..., int]) -> Callable[[int], int]:
    """Publishes so many more events of a shop."""
    events = iter(Shop(seed=3, per_day=500))

    def publish(count: int) -> int:
        return send(*[dumps(next(events)) for _ in range(count)])

    return publish


@pytest.fixture
def service(start: Callable[..., Service], publish: Callable[[int], int]) -> Service:
    """A service that has 3 000 events of six days."""
    service = start()
    publish(3_000)
    until(lambda: service.status()["offset"] == 3_000)
    return service


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder for ClickHouse's engine in this process."""
    return f"chdb://{tmp_path}/clickhouse"


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Asks the engine in that folder."""
    clients = []

    def ask(query: str) -> list[tuple[Any, ...]]:
        if not clients:
            clients.append(clickhouse_connect.get_client(interface="chdb", path=f"{tmp_path}/clickhouse"))
        return [tuple(row) for row in clients[0].query(query).result_rows]

    yield ask
    for client in clients:
        client.close()


@pytest.fixture
def run(ask: Ask, tmp_path: Path) -> Callable[[str], object]:
    """Runs a statement in the engine in that folder."""

    def run(statement: str) -> object:
        with clickhouse_connect.get_client(interface="chdb", path=f"{tmp_path}/clickhouse") as client:
            return client.command(statement)

    return run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    """ClickHouse over HTTP, with the engine in the folder that `ask` asks."""
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        yield server


@pytest.fixture
def sink(service: Service, server: ClickHouseServer) -> Iterator[ClickHouseSink]:
    with ClickHouseSink(server.url, source=service.url) as sink:
        yield sink
