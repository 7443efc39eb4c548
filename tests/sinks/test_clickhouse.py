"""`ClickHouseSink` with ClickHouse's own engine."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fraiseql_events import ClickHouseSink, EventClient, InvalidArgument, ServerUnavailable, Service, SinkError
from tests.processes import COMMAND
from tests.processes import run as run_command
from tests.proxy import Proxy
from tests.sinks.exact import assert_counts, assert_exact
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
COLUMNS = "offset, event_id, event_type, entity_type, entity_id, timestamp, data, user_id, org_id"


def test_what_is_there_is_loaded_once_however_often_it_is_asked_for(service: Service, url: str, ask: Ask) -> None:
    for expected in (3_000, 0):
        with ClickHouseSink(url, source=service.url) as sink:
            loaded = sink.load()
            assert (loaded.events, loaded.offset) == (expected, 2_999)
            assert sink.status.state == "stopped"
    assert_exact(ask, 3_000)


def test_every_value_is_what_python_reads(
    start: Callable[..., Service], send: Callable[..., int], url: str, ask: Ask
) -> None:
    from tests.mixed import Mixer

    cases = list(Mixer(5).cases(2_000))
    service = start()
    send(*[case.payload for case in cases])
    until(lambda: service.status()["stream_seq"] == len(cases))
    with ClickHouseSink(url, source=service.url) as sink, EventClient(service.url) as client:
        sink.load()
        expected = client.read("*", columns=COLUMNS.split(", "), frames="arrow")
    micros = COLUMNS.replace("timestamp", "toUnixTimestamp64Micro(timestamp)")
    found = ask(f"SELECT {micros} FROM fraiseql_events ORDER BY offset")
    times = expected.column("timestamp").cast("int64").to_pylist()
    rows = zip(
        *(times if name == "timestamp" else expected.column(name).to_pylist() for name in COLUMNS.split(", ")),
        strict=True,
    )
    assert found == list(rows)


def test_a_sink_follows_what_arrives(service: Service, publish: Callable[[int], int], url: str, ask: Ask) -> None:
    with ClickHouseSink(url, source=service.url).start() as sink:
        until(lambda: sink.status.offset == 2_999)
        publish(500)
        until(lambda: sink.status.offset == 3_499)
        assert sink.status.state == "live"
        assert_exact(ask, 3_500)
    assert repr(sink).endswith("stopped, 3,500 events, up to offset 3,499>")


def test_a_sink_of_one_entity_type_is_up_to_date_though_others_go_on(service: Service, url: str, ask: Ask) -> None:
    with ClickHouseSink(url, source=service.url, entity="Order") as sink:
        loaded = sink.load()
        assert loaded.offset == 2_999
    assert ask("SELECT DISTINCT entity_type FROM fraiseql_events") == [("Order",)]
    assert ask("SELECT count(), uniqExact(offset) FROM fraiseql_events") == [(loaded.events, loaded.events)]
    with ClickHouseSink(url, source=service.url, entity="User") as sink, pytest.raises(SinkError, match="'Order'"):
        sink.load()
    with ClickHouseSink(url, source=service.url, entity="User", table="users") as sink:
        assert sink.load().events + loaded.events < 3_000


def test_of_two_sinks_at_one_table_one_goes_on(
    service: Service, publish: Callable[[int], int], url: str, ask: Ask
) -> None:
    first, second = (ClickHouseSink(url, source=service.url) for _ in range(2))
    with first.start(), second:
        until(lambda: first.status.offset == 2_999)
        second.start()
        until(lambda: second.status.offset == 2_999)
        publish(300)
        until(lambda: first.failure or second.failure)
        lives, ended = (second, first) if first.failure else (first, second)
        assert "another sink fills default.fraiseql_events" in str(ended.failure)
        until(lambda: lives.status.offset == 3_299)
        assert_exact(ask, 3_300)


def test_the_status_shows_a_sink_its_lag_and_its_last_error(
    service: Service, publish: Callable[[int], int], url: str
) -> None:
    with ClickHouseSink(url, source=service.url).start() as sink:
        until(lambda: sink.status.offset == 2_999)
        until(lambda: service.status()["sinks"])
    (report,) = service.status()["sinks"]
    assert report.pop("seen_seconds") < 10
    assert report == {
        "name": f"{url} default.fraiseql_events", "entity": "*", "state": "stopped", "offset": 2_999,
        "last_error": None, "lag": 0,
    }  # fmt: skip
    publish(10)
    until(lambda: service.status()["offset"] == 3_010)
    (report,) = service.status()["sinks"]
    assert report["lag"] == 10
    said = run_command("status", "--url", str(service.url))
    assert f"sink {url} default.fraiseql_events: stopped, 10 events behind" in said


def test_the_command_loads_once_and_says_how_much(service: Service, url: str, ask: Ask) -> None:
    said = json.loads(run_command("sink", "clickhouse", "--url", url, "--from", str(service.url), "--once"))
    assert said.keys() == {"events", "seconds", "offset"}
    assert (said["events"], said["offset"]) == (3_000, 2_999)
    assert_exact(ask, 3_000)


def test_a_sink_whose_server_has_gone_says_so_until_it_is_back(
    service: Service, publish: Callable[[int], int], url: str, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(str(service.url).rpartition(":")[2])
    with Proxy(port) as proxy, ClickHouseSink(url, source=f"grpc://127.0.0.1:{proxy.port}").start() as sink:
        until(lambda: sink.status.offset == 2_999 and sink.status.state == "live")
        proxy.retarget(1)
        proxy.cut()
        until(lambda: sink.status.state == "asking again")
        assert "127.0.0.1" in repr(sink)
        assert sink.lag() is None
        time.sleep(1.0)  # a few of its looks: it has nothing to do
        assert sink.status.state == "asking again"
        proxy.retarget(port)
        publish(10)
        until(lambda: sink.status.offset == 3_009 and sink.status.state == "live")
    assert_exact(ask, 3_010)
    told = [message for message in caplog.messages if "goes on" in message]
    assert told == ["the stream goes on after offset 2999"]


def test_a_server_that_does_not_answer_is_an_error_of_loading_at_once(url: str) -> None:
    with ClickHouseSink(url, source="grpc://127.0.0.1:1") as sink, pytest.raises(ServerUnavailable):
        sink.load()
    assert sink.status.state == "failed"


def test_a_follow_waits_for_a_server_that_is_not_there_yet(url: str) -> None:
    with ClickHouseSink(url, source="grpc://127.0.0.1:1").start() as sink:
        until(lambda: sink.status.state == "asking again")
        assert "no server answers" in str(sink.status.last_error)
    assert not [each for each in threading.enumerate() if each.name.startswith("fraiseql-events-follow")]


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("clickhouse:9000", {}, "no address of a ClickHouse"),
        ("http://", {}, "no address of a ClickHouse"),
        ("http://u:secret@host:port", {}, r"u:\*\*\*@host"),
        ("chdb://", {}, "names no folder"),
        ("chdb:folder", {}, "no address of a ClickHouse"),
        ("chdb:/folder", {}, "no address of a ClickHouse"),
        ("CHDB:///folder", {}, "no address of a ClickHouse"),
        (7, {}, "no address of a ClickHouse"),
        ("http://localhost", {"table": "a b"}, "no name for a table"),
        ("http://localhost", {"database": "a;b"}, "no name for a database"),
        ("http://localhost", {"keep_days": 0}, "whole number of days"),
        ("http://localhost", {"entity": ""}, "entity"),
    ],
)
def test_a_wrong_argument_is_told_at_once(address: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        ClickHouseSink(address, **options)


def test_a_block_of_more_months_than_clickhouse_takes_at_once_is_taken(
    start: Callable[..., Service], send: Callable[..., int], url: str, ask: Ask
) -> None:
    from tests.mixed import an_event

    service = start()
    years = [1, 1900, 1969, *range(1990, 2120), 9999]
    send(*[an_event(timestamp=f"{year:04}-{1 + year % 12:02}-01T00:00:00.000001Z") for year in years])
    until(lambda: service.status()["offset"] == len(years))
    with ClickHouseSink(url, source=service.url) as sink:
        sink.load()
    found = ask("SELECT toUnixTimestamp64Micro(timestamp) FROM fraiseql_events ORDER BY offset")
    with EventClient(service.url) as client:
        assert [row[0] for row in found] == client.read("*")["timestamp"].dt.timestamp("us").to_list()
    assert_counts(ask)


def test_a_callback_that_raises_ends_it_and_its_state_says_so(service: Service, url: str, ask: Ask) -> None:
    def full(events: int) -> None:
        raise RuntimeError(f"no {events}")

    with ClickHouseSink(url, source=service.url) as sink, pytest.raises(RuntimeError):
        sink.load(progress=full)
    assert (sink.status.state, sink.status.last_error) == ("failed", "RuntimeError: no 0")
    assert [each["state"] for each in service.status()["sinks"]] == ["failed"]
    with ClickHouseSink(url, source=service.url) as sink:
        assert sink.load().offset == 2_999
    assert_exact(ask, 3_000)


def test_of_two_threads_that_load_each_tells_what_it_has_loaded(service: Service, url: str) -> None:
    found: list[int] = []
    with ClickHouseSink(url, source=service.url) as sink:
        threads = [threading.Thread(target=lambda: found.append(sink.load().events)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == [0, 3_000]


@pytest.mark.parametrize("name", ["table", "Function", "system", "t" * 101])
def test_a_name_that_clickhouse_would_misunderstand_is_refused_at_once(name: str) -> None:
    for options in ({"table": name}, {"database": name}):
        with pytest.raises(InvalidArgument, match="a word of ClickHouse's own, or longer than 100 characters"):
            ClickHouseSink("http://localhost", **options)


def test_a_table_of_the_longest_name_is_filled(service: Service, url: str, ask: Ask) -> None:
    with ClickHouseSink(url, source=service.url, table="t" * 100, database="d" * 100) as sink:
        assert sink.load().events == 3_000
    assert ask(f"SELECT sum(events) FROM {'d' * 100}.{'t' * 100}_daily") == [(3_000,)]


def test_a_sink_that_follows_has_nothing_to_load_and_a_closed_one_does_nothing(service: Service, url: str) -> None:
    with ClickHouseSink(url, source=service.url).start() as sink:
        with pytest.raises(SinkError, match="which follows: nothing is left to load"):
            sink.load()
        until(lambda: sink.status.offset == 2_999)
    assert sink.lag() is None
    for use in (sink.load, sink.follow, sink.start):
        with pytest.raises(SinkError, match="this sink is closed: make another"):
            use()
    never_run = ClickHouseSink(url, source=service.url)
    never_run.close()
    assert never_run.lag() is None


def test_an_entity_type_that_no_event_has_is_warned_of(
    service: Service, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ClickHouseSink(url, source=service.url, entity="Ordr") as sink:
        assert sink.load().events == 0
    assert [each for each in caplog.messages if "did you mean Order?" in each]
    caplog.clear()
    with ClickHouseSink(url, source=service.url, entity="Order", table="orders") as sink:
        assert sink.load().events
    assert not caplog.messages


def test_a_folder_may_be_in_ones_home(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ClickHouseSink("chdb://~/tables", source=service.url) as sink:
        sink.load()
    assert (tmp_path / "tables" / "data").is_dir()


def test_a_load_of_the_command_that_is_interrupted_is_not_done(service: Service, tmp_path: Path) -> None:
    for number in range(20):  # it may be done before the interrupt comes
        folder = tmp_path / str(number)
        command = [*COMMAND, "sink", "clickhouse", "--once", "--url", f"chdb://{folder}", "--from", str(service.url)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            until(folder.is_dir)  # it takes signals by then
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[0]
        assert json.loads(said)["events"] <= 3_000
        if process.returncode == 130:
            break
    assert process.returncode == 130
