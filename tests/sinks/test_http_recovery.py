"""What a sink that was killed has left over HTTP is completed by the next, whatever comes late, and by one of two."""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest

from fraiseql_events import ClickHouseSink, Service
from tests.processes import COMMAND
from tests.sinks.exact import assert_exact
from tests.sinks.server import Answer, ClickHouseServer, Request
from tests.sinks.statements import BLOCK, COUNTS, FIRST, POSITION
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]


class Sink:
    """`fraiseql-events sink clickhouse`, which is killed in the end."""

    def __init__(self, url: str, source: str) -> None:
        self.process = subprocess.Popen([*COMMAND, "sink", "clickhouse", "--url", url, "--from", source])

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("moment", [POSITION, BLOCK])
def test_what_a_killed_sink_has_sent_may_come_when_the_next_one_is_at_work(
    moment: str, service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    server.fault(matching=moment, seconds=4)
    with Sink(server.url, str(service.url)):
        until(lambda: server.asked(moment))
    (request,) = server.asked(moment)
    with ClickHouseSink(server.url, source=service.url) as sink:
        assert sink.load().offset == 2_999
    assert not request.done
    until(lambda: request.done)
    assert_exact(ask, 3_000)


def test_the_row_of_a_killed_sink_may_come_between_two_statements_of_the_next_one(
    service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    for seconds in (3, 4):
        server.fault(matching=POSITION, seconds=seconds)
    with Sink(server.url, str(service.url)):
        until(lambda: server.asked(POSITION))
    with ClickHouseSink(server.url, source=service.url).start() as sink:
        until(lambda: sink.status.offset == 2_999)
    assert "another sink has written" in str(sink.status.last_error)
    assert_exact(ask, 3_000)


def test_a_sink_that_is_killed_at_any_moment_leaves_each_event_once(
    service: Service, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    chance, published = random.Random(7), 3_000
    for _ in range(8):
        server.fault(matching=chance.choice((POSITION, BLOCK, COUNTS)), seconds=chance.uniform(0.2, 3))
        with Sink(server.url, str(service.url)) as sink:
            until(lambda: len(server.asked(FIRST)) > 0)
            publish(100)
            published += 100
            sink.wait(chance.uniform(0.5, 3))
    with ClickHouseSink(server.url, source=service.url) as last:
        assert last.load().offset == published - 1
    until(lambda: all(request.done for request in server.requests))
    assert_exact(ask, published)


def test_the_command_ends_at_a_signal_though_the_server_is_frozen(service: Service, server: ClickHouseServer) -> None:
    lying = server.fault(matching=BLOCK, seconds=1_000)
    with Sink(server.url, str(service.url)) as sink:
        until(lambda: lying.met)
        sink.process.terminate()
        assert sink.process.wait(6) == 0


def test_of_two_sinks_that_complete_a_block_at_once_one_corrects_the_counts(
    service: Service, server: ClickHouseServer, run: Run, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClickHouseSink(server.url, source=service.url) as sink:
        sink.load()
    change = "after_offset = -1, offset = 2999, events = 3000 WHERE 1 SETTINGS mutations_sync = 2"
    run(f"ALTER TABLE fraiseql_events_position UPDATE {change}")
    run("TRUNCATE TABLE fraiseql_events_hourly")
    both, met, execute = threading.Barrier(2), [], server.execute

    def execute_together(request: Request) -> Answer:
        if request.statement.startswith(COUNTS) and len(met) < 2:
            both.wait(20)
            met.append(request)
        return execute(request)

    monkeypatch.setattr(server, "execute", execute_together)
    first, second = (ClickHouseSink(server.url, source=service.url) for _ in range(2))
    with first.start(), second:
        until(lambda: both.n_waiting == 1)
        second.start()
        until(lambda: len(met) == 2)
        until(lambda: second.status.offset == 2_999)
    assert_exact(ask, 3_000)


def test_what_a_recovery_adds_is_counted(service: Service, server: ClickHouseServer) -> None:
    server.fault(matching=BLOCK, before=True)
    with ClickHouseSink(server.url, source=service.url) as sink:
        assert sink.load().events == 3_000
