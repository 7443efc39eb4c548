"""What the tests share: one real nats-server, and a stream of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fraiseql_events import EventStream, Service, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.publisher import Message, publish
from fraiseql_events.log import LogOptions
from tests.waiting import until


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedNats(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def source(nats_url: str) -> StreamOptions:
    """A stream of the test's own, on subjects of its own."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    return StreamOptions(nats=nats_url, stream=name, subject=f"{name}.>", consumer=f"{name}-reader")


@pytest.fixture
def send(source: StreamOptions) -> Callable[..., int]:
    """Publishes payloads into the test's stream."""

    def send(*payloads: bytes, subject: str = "order.created") -> int:
        prefix = source.subject.removesuffix(">")
        messages: list[Message] = [(prefix + subject, payload) for payload in payloads]
        return publish(messages, source)

    return send


@pytest.fixture
def start(source: StreamOptions, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services on the test's stream; they end with the test."""
    services: list[Service] = []

    def start(store: Path | None = None, **options: object) -> Service:
        service = serve(
            nats=source.nats,
            stream=source.stream,
            subject=source.subject,
            store=store or tmp_path / "store",
            listen="127.0.0.1:0",
            log=LogOptions(**options),  # type: ignore[arg-type]
        )
        services.append(service)
        return service

    yield start
    for service in services:
        service.close()


@pytest.fixture
def filled(start: Callable[..., Service], send: Callable[..., int]) -> Callable[..., Service]:
    """A service that has read the given payloads."""

    def filled(*payloads: bytes, **options: object) -> Service:
        send(*payloads)
        service = start(**options)
        until(lambda: service.status()["stream_seq"] == len(payloads))
        return service

    return filled


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows streams have brought since it was asked last."""
    streams: list[EventStream[Any]] = []
    start = EventStream._start

    def note(stream: EventStream[Any]) -> None:
        streams.append(stream)
        start(stream)

    def rows() -> int:
        found = sum(stream.rows for stream in streams)
        streams.clear()
        return found

    monkeypatch.setattr(EventStream, "_start", note)
    return rows
