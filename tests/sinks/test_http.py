"""`ClickHouseSink` over HTTP, through all that can happen on the way to ClickHouse."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from fraiseql_events import ClickHouseSink, Service, SinkUnavailable
from fraiseql_events.sinks.engine import INSERT_SETTINGS
from tests.sinks.exact import assert_exact
from tests.sinks.server import HTML, Answer, ClickHouseServer, exception
from tests.sinks.statements import BLOCK, COUNTS, FIRST, MISSING, POSITION
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]
CUT = "ClickHouse at {url} has cut the connection before it answered"
BUSY = "ClickHouse at {url} cannot take it now: "
#: When it happens: with which statement, after what has happened to a block before; and how often, since the driver
#: itself asks again for what it reads.
MOMENTS: list[tuple[dict[str, Any] | None, str, int]] = [
    (None, POSITION, 1),
    (None, BLOCK, 1),
    ({"behind": True}, FIRST, 2),
    ({"behind": True}, COUNTS, 1),
    ({"behind": True}, MISSING, 3),
    ({"before": True}, BLOCK, 1),
]
#: What may pass, and what is told of it.
PASSING: dict[str, tuple[dict[str, Any], str]] = {
    "a cut in the midst of what is sent": ({"amid": True}, CUT),
    "a cut before the engine has it": ({"before": True}, CUT),
    "a cut when the engine has done it": ({"behind": True}, CUT),
    "a proxy without time": ({"instead": Answer(503, HTML, kind="text/html")}, BUSY + "HTTP status 503"),
    "a full disk": (
        {"instead": exception(243, "NOT_ENOUGH_SPACE", "Cannot reserve 1.00 MiB, not enough space")},
        BUSY + "Cannot reserve 1.00 MiB, not enough space",
    ),
    "a proxy without a server": ({"instead": Answer(502, HTML, kind="text/html")}, BUSY + "HTTP status 502"),
    "a want of memory": (
        {
            "instead": exception(
                241,
                "MEMORY_LIMIT_EXCEEDED",
                "(total) memory limit exceeded: would use 14.41 GiB (attempt to allocate chunk of 4.00 MiB), maximum: "
                "14.40 GiB: While executing ArrowBlockInputFormat",
            )
        },
        BUSY + "(total) memory limit exceeded: would use 14.41 GiB (attempt to allocate chunk of 4.00 MiB), maximum: "
        "14.40 GiB",
    ),
    "too many parts": (
        {
            "instead": exception(
                252,
                "TOO_MANY_PARTS",
                "Too many parts (3001 with average size of 1.20 MiB) in table 'default.fraiseql_events "
                "(229dcc65-26ff-482a-8461-88e373c5c945)'. Merges are processing significantly slower than inserts: "
                "while pushing to view default.fraiseql_events_hourly_view (229dcc65-26ff-482a-8461-88e373c5c945)",
            )
        },
        BUSY + "Too many parts (3001 with average size of 1.20 MiB) in table 'default.fraiseql_events'. Merges are "
        "processing significantly slower than inserts",
    ),
    "a table that is read-only": (
        {"instead": exception(242, "TABLE_IS_READ_ONLY", "Table is in readonly mode (replica path: /tables/1)")},
        BUSY + "Table is in readonly mode (replica path: /tables/1)",
    ),
    "an error without its name": (
        {"instead": Answer(500, b"Code: 241. DB::Exception: (to", "241")},
        BUSY + "its error 241",
    ),
}  # fmt: skip


def test_what_is_there_is_loaded_once_however_often_it_is_asked_for(
    service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    for expected in (3_000, 0):
        with ClickHouseSink(server.url, source=service.url) as sink:
            assert sink.load().events == expected
    assert_exact(ask, 3_000)


@pytest.mark.parametrize("passing", list(PASSING)[:5])
def test_what_arrives_is_there_once_through(
    passing: str, sink: ClickHouseSink, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    fault, said = PASSING[passing]
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    for number, (before, moment, times) in enumerate(MOMENTS):
        if before is not None:
            server.fault(matching=BLOCK, **before)
        met = server.fault(matching=moment, times=times, **fault)
        publish(50)
        until(lambda: met.met == times)  # noqa: B023
        until(lambda: sink.status.last_error == said.format(url=server.url))
        until(lambda: sink.status.offset == 3_049 + 50 * number and sink.status.state == "live")  # noqa: B023
    sink.close()
    assert_exact(ask, 3_300)


def test_what_clickhouse_says_that_may_pass_is_told_in_a_sentence(
    sink: ClickHouseSink, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    for number, (fault, said) in enumerate(list(PASSING.values())[5:]):
        server.fault(matching=BLOCK, **fault)
        publish(10)
        until(lambda: sink.status.last_error == said.format(url=server.url))  # noqa: B023
        until(lambda: sink.status.offset == 3_009 + 10 * number)  # noqa: B023
    assert_exact(ask, 3_000 + 10 * (number + 1))


@pytest.mark.parametrize("moment", [POSITION, BLOCK])
def test_a_load_asks_again_for_what_may_pass(
    moment: str, sink: ClickHouseSink, server: ClickHouseServer, ask: Ask
) -> None:
    server.fault(matching=moment, times=2, instead=PASSING["a full disk"][0]["instead"])
    assert sink.load().offset == 2_999
    assert_exact(ask, 3_000)


def test_a_load_says_at_once_that_nobody_answers(sink: ClickHouseSink, server: ClickHouseServer) -> None:
    server.stop()
    with pytest.raises(SinkUnavailable, match=f"^no ClickHouse at {server.url} answers: the connection is refused$"):
        sink.load()
    assert sink.status.state == "failed"
    server.start()


def test_a_disk_that_stays_full_is_asked_after_less_and_less_often(
    sink: ClickHouseSink, server: ClickHouseServer, caplog: pytest.LogCaptureFixture, ask: Ask
) -> None:
    full = server.fault(matching=POSITION, times=1_000, instead=PASSING["a full disk"][0]["instead"])
    sink.start()
    until(lambda: full.met)
    time.sleep(6)
    assert 2 <= full.met <= 5
    assert sink.status.state == "asking again"
    assert len(caplog.records) == 1
    server.faults.clear()
    until(lambda: sink.status.offset == 2_999)
    assert_exact(ask, 3_000)


def test_a_server_that_is_stopped_and_started_is_found_again(
    sink: ClickHouseSink,
    server: ClickHouseServer,
    publish: Callable[[int], int],
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    for expected in (3_099, 3_199):
        server.stop()
        publish(100)
        until(lambda: sink.status.state == "asking again")
        assert str(sink.status.last_error).startswith(f"no ClickHouse at {server.url} answers: ")
        server.start()
        until(lambda: sink.status.offset == expected)  # noqa: B023
    assert {record.name for record in caplog.records} == {"fraiseql_events.sinks.clickhouse"}
    assert_exact(ask, 3_200)


def test_a_connection_that_was_closed_while_nothing_went_over_it_harms_nothing(
    sink: ClickHouseSink, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    for expected in (3_099, 3_199):
        server.cut()
        publish(100)
        until(lambda: sink.status.offset == expected)  # noqa: B023
    assert_exact(ask, 3_200)


@pytest.mark.parametrize("moment", [POSITION, BLOCK])
def test_a_slow_server_is_waited_for(
    moment: str, sink: ClickHouseSink, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    server.fault(matching=moment, times=3, seconds=1.5)
    sink.start()
    publish(200)
    until(lambda: sink.status.offset == 3_199)
    assert sink.status.last_error is None
    assert_exact(ask, 3_200)


@pytest.mark.parametrize("moment", [FIRST, POSITION, BLOCK])
def test_a_server_that_is_frozen_does_not_keep_a_sink_from_ending(
    moment: str, service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    lying = server.fault(matching=moment, seconds=1_000)
    sink = ClickHouseSink(server.url, source=service.url).start()
    until(lambda: lying.met)
    server.frozen.set()
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 6
    assert sink.status.state == "stopped"
    assert sink.status.last_error == f"ClickHouse at {server.url} had not answered when the sink was stopped"
    server.frozen.clear()
    with ClickHouseSink(server.url, source=service.url) as sink:
        assert sink.load().offset == 2_999
    assert_exact(ask, 3_000)


def test_an_insert_of_a_dead_sink_that_goes_on_does_not_keep_a_sink_from_ending(
    sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.fault(matching=BLOCK, behind=True)
    one = b"\x01\x01\x07count()\x06UInt64" + (1).to_bytes(8, "little")
    busy = server.fault(matching="SELECT count() FROM system.processes", times=10_000, instead=Answer(200, one))
    sink.start()
    until(lambda: busy.met)
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 6


def test_a_load_is_ended_from_another_thread(sink: ClickHouseSink, server: ClickHouseServer) -> None:
    lying = server.fault(matching=BLOCK, seconds=1_000)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(sink.load()))
    thread.start()
    until(lambda: lying.met)
    started = time.monotonic()
    sink.close()
    thread.join()
    assert time.monotonic() - started < 6
    assert "events=0" in repr(found)


@pytest.mark.parametrize("fault", [{"seconds": 1_000}, {"seconds": 1.5, "before": True}])
def test_an_interrupt_ends_a_load_whatever_becomes_of_its_block(
    fault: dict[str, Any], sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    lying = server.fault(matching=BLOCK, **fault)

    def interrupt() -> None:
        until(lambda: lying.met)
        time.sleep(0.5)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sink.load()
    assert time.monotonic() - started < 10


def test_a_server_that_is_down_does_not_keep_a_sink_from_ending(sink: ClickHouseSink, server: ClickHouseServer) -> None:
    server.stop()
    sink.start()
    until(lambda: sink.status.state == "asking again")
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 3
    server.start()


def test_what_is_sent_is_compressed_and_says_what_block_it_is(sink: ClickHouseSink, server: ClickHouseServer) -> None:
    sink.load()
    (block,) = server.asked(BLOCK)
    table = pa.ipc.open_stream(block.body).read_all()
    assert table.num_rows == 3_000
    assert len(block.body) < 0.7 * table.nbytes
    assert block.options["insert_deduplication_token"].endswith(" * -1 2999")
    assert {name: block.options[name] for name in INSERT_SETTINGS} == {
        name: str(value) for name, value in INSERT_SETTINGS.items()
    }
    assert block.agent.startswith("fraiseql-events")


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [(745, "SERVER_OVERLOADED", "busy"), (1001, "STD_EXCEPTION", "filesystem error: No space left on device [/var]")],
)
def test_what_may_pass_is_asked_again(
    service: Service, server: ClickHouseServer, ask: Ask, code: int, name: str, text: str
) -> None:
    server.fault(matching=BLOCK, times=2, instead=exception(code, name, text))
    with ClickHouseSink(server.url, source=service.url).start() as sink:
        until(lambda: sink.status.offset == 2_999)
        assert text.partition(" [")[0] in str(sink.status.last_error)
    assert_exact(ask, 3_000)
