"""`ClickHouseSink` over HTTP, through all that can happen on the way to ClickHouse."""

from __future__ import annotations

import _thread
import contextlib
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pytest
import trustme

from fraiseql_events import ClickHouseSink, Service, SinkError, SinkUnavailable
from fraiseql_events.sinks.engine import INSERT_SETTINGS
from tests.processes import COMMAND
from tests.sinks.exact import assert_exact
from tests.sinks.server import Answer, ClickHouseServer, Request, exception, plain
from tests.tls import TlsProxy
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]
FIRST = "SELECT version()"
POSITION = "INSERT INTO default.fraiseql_events_position ("
BLOCK = "INSERT INTO default.fraiseql_events ("
COUNTS = "INSERT INTO default.fraiseql_events_hourly ("
MISSING = "SELECT offset FROM default.fraiseql_events "
HTML = b"<html><head><title>Bad Gateway</title></head><body>nginx</body></html>"
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    """ClickHouse over HTTP, with the engine in the folder that `ask` asks."""
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        yield server


@pytest.fixture
def sink(service: Service, server: ClickHouseServer) -> Iterator[ClickHouseSink]:
    with ClickHouseSink(server.url, source=service.url) as sink:
        yield sink


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


def test_a_wrong_password_ends_it_and_is_shown_nowhere(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with ClickHouseServer(tmp_path / "clickhouse", users={"ada": "Kubla"}) as server:
        wrong, right = (server.url.replace("//", f"//ada:{word}@") for word in ("Xanadu", "Kubla"))
        with ClickHouseSink(wrong, source=service.url) as sink, pytest.raises(SinkError) as error:
            sink.load()
        shown = server.url.replace("//", "//ada:***@")
        assert str(error.value) == (
            f"ClickHouse at {shown} does not take this user and password: write CLICKHOUSE_USER and "
            "CLICKHOUSE_PASSWORD, or http://USER:PASSWORD@HOST:PORT"
        )
        told = [*map(str, caplog.messages), repr(sink), str(sink.status), str(service.status())]
        assert not [each for each in told if "Xanadu" in each]
        with ClickHouseSink(right, source=service.url) as sink:
            assert sink.load().events == 3_000
        assert not [each for each in (*caplog.messages, repr(sink), str(service.status())) if "Kubla" in each]


def test_a_table_that_is_dropped_ends_it(
    sink: ClickHouseSink, service: Service, server: ClickHouseServer, publish: Callable[[int], int], run: Run
) -> None:
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    run("DROP TABLE fraiseql_events")
    publish(10)
    until(lambda: sink.failure)
    assert str(sink.failure) == (
        f"ClickHouse at {server.url} refuses: Table default.fraiseql_events does not exist; start the sink again, "
        "which says what is gone or makes it"
    )
    with ClickHouseSink(server.url, source=service.url) as again, pytest.raises(SinkError, match="drop that, too"):
        again.load()


def test_a_database_that_may_not_be_made_ends_it(service: Service, server: ClickHouseServer) -> None:
    said = (
        "ada: Not enough privileges. To execute this query, it's necessary to have the grant CREATE DATABASE ON shop.*"
    )
    server.fault(matching="CREATE DATABASE", instead=exception(497, "ACCESS_DENIED", said))
    with ClickHouseSink(server.url, source=service.url, database="shop") as sink, pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == (
        f"ClickHouse at {server.url} refuses: {said}; a sink's user makes its tables, selects and inserts, and reads "
        "system.tables, system.columns and system.processes"
    )


def test_tables_that_somebody_else_has_made_are_filled_by_who_may_make_none(
    service: Service, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    with ClickHouseSink(server.url, source=service.url) as sink:
        sink.load()
    publish(10)
    server.fault(matching="CREATE", times=1_000, instead=exception(497, "ACCESS_DENIED", "Not enough privileges"))
    with ClickHouseSink(server.url, source=service.url) as sink:
        until(lambda: service.status()["offset"] == 3_010)
        assert sink.load().events == 10
    assert_exact(ask, 3_010)


def test_a_table_of_another_shape_ends_it(service: Service, server: ClickHouseServer, run: Run) -> None:
    run("CREATE TABLE fraiseql_events (offset UInt8) ENGINE = MergeTree ORDER BY offset")
    with (
        ClickHouseSink(server.url, source=service.url) as sink,
        pytest.raises(SinkError, match="offset is UInt8 instead of UInt64, event_id"),
    ):
        sink.follow()


PORTS = "; ClickHouse speaks HTTP at port 8123, and HTTPS at 8443"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, HTML, kind="text/html"), "what it says is not understood" + PORTS),
        (Answer(404, HTML, kind="text/html"), "HTTP status 404" + PORTS),
        (Answer(200, b""), "what it says is not understood" + PORTS),
        (Answer(200, b"1\t2\n"), "what it says is not understood" + PORTS),
    ],
)
def test_a_server_that_is_no_clickhouse_ends_it(answer: Answer, said: str) -> None:
    with plain(lambda _: answer) as url, ClickHouseSink(url, source="grpc://127.0.0.1:1") as sink:
        with pytest.raises(SinkError) as error:
            sink.follow()
        assert str(error.value) == f"{url} answers, but as no ClickHouse does: {said}"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (413, "a proxy before ClickHouse at {url} takes no block of this size (HTTP status 413): let it take 256 MB"),
        (401, "ClickHouse at {url} does not take this user and password: HTTP status 401, of a proxy before it"),
    ],
)
def test_a_proxy_that_does_not_let_it_through_ends_it(
    status: int, said: str, sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.fault(matching=BLOCK, instead=Answer(status, HTML, kind="text/html"))
    with pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == said.format(url=server.url)


def test_a_page_in_the_place_of_an_answer_is_not_taken_for_a_block(
    sink: ClickHouseSink, service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    server.fault(matching=BLOCK, instead=Answer(200, HTML, kind="text/html"))
    with pytest.raises(SinkError, match="it does not say that it has taken a block"):
        sink.load()
    with ClickHouseSink(server.url, source=service.url) as again:
        again.load()
    assert_exact(ask, 3_000)


@pytest.mark.parametrize("moment", [MISSING, COUNTS])
def test_a_page_in_the_place_of_rows_is_not_taken_for_them(
    moment: str, sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.fault(matching=BLOCK, behind=True)
    server.fault(matching=moment, instead=Answer(200, HTML, kind="text/html"))
    with pytest.raises(SinkError, match="answers, but as no ClickHouse does: what it says is not understood"):
        sink.load()


def test_https_at_a_port_of_http_ends_it(server: ClickHouseServer) -> None:
    url = server.url.replace("http", "https")
    with ClickHouseSink(url, source="grpc://127.0.0.1:1") as sink, pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == f"{url} speaks no TLS: write http:// for a ClickHouse without"


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


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(
    service: Service, server: ClickHouseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    proxy = TlsProxy(int(server.url.rpartition(":")[2]), authority)
    url = f"https://localhost:{proxy.port}"
    with ClickHouseSink(url, source=service.url) as sink, pytest.raises(SinkError) as error:
        sink.load()
    assert str(error.value).startswith(f"the certificate of {url} is not trusted: ")
    assert str(error.value).endswith("name the file of its certificates (PEM) in SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    with ClickHouseSink(url, source=service.url) as sink:
        assert sink.load().events == 3_000
    other = f"https://127.0.0.1:{proxy.port}"
    with ClickHouseSink(other, source=service.url) as sink, pytest.raises(SinkError, match="IP address mismatch"):
        sink.load()
    proxy.close()


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


def test_an_empty_answer_is_not_taken_for_no_rows(service: Service, server: ClickHouseServer, ask: Ask) -> None:
    server.fault(matching=BLOCK, behind=True)
    empty = server.fault(matching=MISSING, times=2, instead=Answer(200, b""))
    with ClickHouseSink(server.url, source=service.url) as sink, pytest.raises(SinkError, match="which question"):
        sink.load()
    assert empty.met
    server.faults.clear()
    with ClickHouseSink(server.url, source=service.url) as sink:
        sink.load()
    assert_exact(ask, 3_000)


def test_what_a_recovery_adds_is_counted(service: Service, server: ClickHouseServer) -> None:
    server.fault(matching=BLOCK, before=True)
    with ClickHouseSink(server.url, source=service.url) as sink:
        assert sink.load().events == 3_000


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
