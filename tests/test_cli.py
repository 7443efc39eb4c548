"""The command line, in processes of its own, as programs use it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraiseql_events import SCHEMA, EventClient
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.shop import Shop
from tests.bridge.test_bridge import manage
from tests.mixed import Mixer, an_event, as_read, dumps
from tests.processes import COMMAND, Serve, run
from tests.waiting import lives, until

SHOP = Shop(7).events(1_000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Flight and NATS addresses of an embedded service with a shop's events."""
    with Serve("--embedded", "--store", tmp_path_factory.mktemp("store")) as serve:
        url = serve.wait_until_ready()
        nats = str(serve.status(url)["nats"])
        lines = b"\n".join(dumps(event) for event in SHOP)
        assert json.loads(run("publish", "-", "--nats", nats, stdin=lines)) == {"events": len(SHOP)}
        until(lambda: serve.status(url)["offset"] == len(SHOP))
        yield url, nats


def test_serve_opens_a_shop_on_its_own_nats_server_only(tmp_path: Path) -> None:
    with Serve("--embedded", "--demo", "--rate", "200", "--store", tmp_path / "store") as serve:
        url = serve.wait_until_ready()
        until(lambda: "Order" in EventClient(url).entities())
        assert serve.end() == 0
    for options, says in (
        (["--demo"], "give --embedded with it"),
        (["--embedded", "--rate", "5"], "give --demo with it"),
        (["--embedded", "--demo", "--rate", "0"], "must be more than 0"),
    ):
        assert says in run("serve", "--store", tmp_path / "none", *options, code=2)
    assert not (tmp_path / "none").exists()


def test_serve_answers_commits_on_a_signal_and_goes_on(tmp_path: Path) -> None:
    for number, expected in ((signal.SIGTERM, 0), (signal.SIGINT, 1000)):
        with Serve("--embedded", "--store", tmp_path) as serve:
            url = serve.wait_until_ready()
            status = serve.status(url)
            assert (status["offset"], status["committed"]) == (expected, expected)
            run("publish", "-", "--nats", status["nats"], stdin=b"\n".join(dumps(event) for event in SHOP))
            until(lambda: serve.status(url)["offset"] == expected + 1000)  # noqa: B023
            children = psutil.Process(serve.process.pid).children()
            started = time.monotonic()
            assert serve.end(number) == 0
            assert time.monotonic() - started < 10
            assert [child for child in children if child.is_running()] == []
    assert pl.scan_delta(tmp_path / "events").select(pl.len()).collect().item() == 2000


def test_ingest_takes_what_there_is_and_prints_a_line(tmp_path: Path, source: StreamOptions, send: object) -> None:
    cases = list(Mixer(6).cases(3_000))
    send(*[case.payload for case in cases])  # type: ignore[operator]
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject, "--store", tmp_path]
    result = json.loads(run("ingest", *arguments))
    events, dead = sum(len(case.events) for case in cases), sum(len(case.dead) for case in cases)
    assert result.pop("seconds") > 0
    assert result == {"events": events, "dead_letters": dead, "last_seq": len(cases)}
    again = json.loads(run("ingest", *arguments))
    assert (again["events"], again["dead_letters"], again["last_seq"]) == (0, 0, len(cases))
    assert pl.scan_delta(tmp_path / "events").select(pl.len()).collect().item() == events


def test_ingest_of_an_empty_stream_is_nothing(tmp_path: Path, source: StreamOptions) -> None:
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject, "--store", tmp_path]
    assert json.loads(run("ingest", *arguments))["events"] == 0


def test_status_is_for_people_and_for_programs(served: tuple[str, str]) -> None:
    url, _ = served
    status = json.loads(run("status", "--json", "--url", url))
    wanted = ["offset", "committed", "stream_seq", "lag", "dead_letters", "entities", "events_per_second"]
    assert {*wanted, "uptime_seconds"} <= status.keys()
    assert status["entities"].keys() == {"Order", "Product", "User"}
    assert status["entities"]["User"].keys() == {"events", "first", "last"}
    assert "1,000 events" in run("status", "--url", url)


def test_events_are_saved_in_every_format(served: tuple[str, str], tmp_path: Path) -> None:
    url, _ = served
    expected = EventClient(url).read("Order", frames="arrow")
    for name in ("a.parquet", "a.arrow", "a.csv", "a.ndjson", "a.txt"):
        assert run("stream", "Order", "--url", url, "-o", tmp_path / name) == ""
    assert pq.read_table(tmp_path / "a.parquet", schema=SCHEMA) == expected
    assert pa.ipc.open_file(tmp_path / "a.arrow").read_all() == expected
    csv = pl.read_csv(tmp_path / "a.csv")
    assert csv["data"].to_list() == expected["data"].to_pylist()
    assert pl.Series(csv["timestamp"]).str.to_datetime(time_zone="UTC").to_list() == expected["timestamp"].to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    assert [line["data"] for line in lines] == [json.loads(text) for text in expected["data"].to_pylist()]
    assert (tmp_path / "a.txt").read_text().endswith(f"{expected.num_rows:,} rows\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "a.csv", "a.ndjson", "a.parquet", "a.txt"]


def test_a_pipe_gets_the_arrow_stream_format(served: tuple[str, str]) -> None:
    url, _ = served
    arguments = [*COMMAND, "stream", "*", "--format", "arrow", "--url", url]
    piped = subprocess.run(arguments, capture_output=True, check=True, timeout=60).stdout
    assert pa.ipc.open_stream(piped).read_all().num_rows == len(SHOP)


def test_a_table_shows_the_first_and_the_last_rows(served: tuple[str, str]) -> None:
    url, _ = served
    lines = run("stream", "*", "--url", url, "--columns", "offset,entity_id").splitlines()
    assert lines[0].split() == ["offset", "entity_id"]
    assert [line.split()[0] for line in lines[2:12]] == [str(n) for n in range(10)]
    assert lines[12] == "… 980 more …"
    assert [line.split()[0] for line in lines[13:23]] == [str(n) for n in range(990, 1000)]
    assert lines[23] == "1,000 rows"
    assert run("stream", "*", "--url", url, "--limit", "1", "--compression", "zstd").endswith("1 row\n")


def test_a_stream_is_cut_by_the_options(served: tuple[str, str]) -> None:
    url, _ = served
    options = ["--start", "2026-01-01T06:00:00Z", "--end", "2026-01-01T07:00:00Z", "--event-types", "Order.Paid"]
    lines = run("stream", "Order", "--url", url, "--format", "ndjson", *options).splitlines()
    wanted = [event for event in SHOP if event["event_type"] == "Order.Paid" and "T06:" in event["timestamp"]]
    assert [json.loads(line)["event_id"] for line in lines] == [event["id"] for event in wanted]
    assert lines


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.ndjson"])
def test_what_was_saved_can_be_published(served: tuple[str, str], tmp_path: Path, name: str) -> None:
    url, _ = served
    table = pa.table(EventClient(url).stream("*", frames="arrow"))
    run("stream", "*", "--url", url, "-o", tmp_path / name)
    with Serve("--embedded", "--store", tmp_path / "other") as serve:
        other = serve.wait_until_ready()
        nats = str(serve.status(other)["nats"])
        assert json.loads(run("publish", tmp_path / name, "--nats", nats)) == {"events": len(SHOP)}
        until(lambda: serve.status(other)["offset"] == len(SHOP))
        assert as_read(EventClient(other).read("*", frames="arrow")) == as_read(table)


def test_a_file_with_a_bad_event_is_refused_as_a_whole(tmp_path: Path, source: StreamOptions) -> None:
    (tmp_path / "bad.ndjson").write_bytes(an_event() + b"\n\n" + an_event(entity_id={}) + b"\n")
    said = run("publish", tmp_path / "bad.ndjson", "--nats", source.nats, "--stream", source.stream, code=2)
    assert "bad.ndjson, line 3: the field entity_id is an object; a string is expected" in said
    table = pa.table({"event_id": ["a", None], "event_type": ["x", "x"]})
    pq.write_table(table, tmp_path / "bad.parquet")
    said = run("publish", tmp_path / "bad.parquet", "--nats", source.nats, code=2)
    assert "bad.parquet: there is no column entity_type (what it happened to, such as 'Order'), entity_id (" in said
    assert "cannot be read" in run("publish", tmp_path / "none", "--nats", source.nats, code=2)


def test_a_pipe_with_a_bad_event_says_how_far_it_came(nats_url: str) -> None:
    lines = b"\n".join([an_event()] * 2500 + [b"bad"] + [an_event()])
    said = run("publish", "-", "--nats", nats_url, stdin=lines, code=2)
    assert "line 2501: not valid JSON: invalid character (byte 0); the 2500 events before it were published" in said


def test_dead_letters_are_shown_and_saved(tmp_path: Path, source: StreamOptions, send: object) -> None:
    payloads = [b"bad", an_event(), b"\xff\x00", an_event() + b"\n" + b"{}"]
    send(*payloads)  # type: ignore[operator]
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject]
    with Serve(*arguments, "--store", tmp_path / "store") as serve:
        url = serve.wait_until_ready()
        until(lambda: serve.status(url)["dead_letters"] == 3)
        assert "invalid UTF-8 at byte 0" in run("dead-letters", "--url", url)
        run("dead-letters", "--url", url, "-o", tmp_path / "dead.parquet")
        lines = run("dead-letters", "--url", url, "--format", "ndjson").splitlines()
    saved = pl.read_parquet(tmp_path / "dead.parquet")
    assert saved["payload"].to_list() == [b"bad", b"\xff\x00", b"{}"]
    assert saved["line"].to_list() == [None, None, 2]
    assert [json.loads(line)["sequence"] for line in lines] == [1, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["stream", "Order", "--start", "2026-13-01"], 2, "start '2026-13-01' is not a date that exists"),
        (["stream", "Order", "-o", "x.foo"], 2, "add --format with one of"),
        (["stream", "Order", "--format", "xml"], 2, "invalid choice: 'xml'"),
        (["stream", "Order"], 1, "start one with `fraiseql-events serve --embedded`"),
        (["status"], 1, "no server answers at grpc://127.0.0.1:1"),
        (["dead-letters"], 1, "no server answers"),
        (["ingest", "--store", "x"], 1, "no NATS server answers at nats://127.0.0.1:1"),
        (["ingest"], 2, "--store"),
        (["serve", "--embedded", "--nats", "nats://x"], 2, "not allowed with"),
        (["serve", "--listen", "nowhere"], 2, "is no address to listen on"),
        (["serve", "--embedded", "--store", "s3://bucket/x"], 2, "needs a local folder"),
        (["serve", "--commit-events", "0"], 2, "is not a whole number above 0"),
        (["publish", "-"], 1, "no NATS server answers"),
        (["frobnicate"], 2, "invalid choice"),
        (["serve", "--embeded"], 2, "there is no --embeded for `serve` (did you mean --embedded?)"),
        (["stream", "Order", "--star", "2026-01-01"], 2, "did you mean --start?"),
        (["stream", "Order", "--start", "yesterday"], 2, "is neither a date nor an RFC 3339 time"),
        (["stream", "Order", "-o", "none/x.csv"], 2, "there is no folder none to write x.csv into"),
        (["stream", "Order", "-o", "."], 2, ". is a folder"),
        (["status", "--url", "grpc://localhost"], 2, "has no port"),
        (["status", "--url", "grpc://nobody.invalid:1"], 1, "no server answers"),
        (["ingest", "--store", "x", "--nats", "http://localhost:4222"], 2, "write nats://HOST:PORT"),
        (["publish", "."], 2, ". is a folder"),
        (["serve", "--embedded", "--store", "/dev/null/x", "--listen", "127.0.0.1:0"], 1, "cannot be opened"),
        (["demo", "--store", "/dev/null/x"], 1, "/dev/null is a file: name a folder"),
        (["ingest", "--store", "/dev/null", "--nats", "nats://x"], 1, "/dev/null is a file: name a folder"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAISEQL_EVENTS_URL", "grpc://127.0.0.1:1")
    monkeypatch.setenv("FRAISEQL_NATS_URL", "nats://127.0.0.1:1")
    said = run(*arguments, code=code)
    assert says in said
    assert "Traceback" not in said


def test_a_reader_of_our_output_may_leave_early(served: tuple[str, str]) -> None:
    url, _ = served
    process = subprocess.Popen(
        [*COMMAND, "stream", "*", "--format", "ndjson", "--url", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_the_demo_runs_and_ends() -> None:
    shown = run("demo", "--events", "3000")
    assert "3,000 events made, published, read and decoded" in shown
    assert "client.entities()" in shown
    assert "All 3,000 events streamed into Polars" in shown


def test_one_event_is_one_event() -> None:
    shown = run("demo", "--events", "1")
    assert "\n1 event made, published, read and decoded" in shown
    assert "\nAll 1 event streamed into Polars" in shown
    assert "1 events" not in shown


def test_a_file_that_ends_in_json_is_said_to_have_an_object_on_each_line(
    served: tuple[str, str], tmp_path: Path
) -> None:
    url, _ = served
    for name, said in (("a.json", "a.json has a JSON object on each line"), ("a.ndjson", "")):
        arguments = [*COMMAND, "stream", "*", "--url", url, "-o", str(tmp_path / name)]
        assert said in (shown := subprocess.run(arguments, capture_output=True, check=True, text=True).stderr)
        assert bool(said) == bool(shown)
        assert pl.read_ndjson(tmp_path / name).height == len(SHOP)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from fraiseql_events import cli

    for command in ("demo", "serve", "ingest", "stream", "publish", "status", "dead-letters"):
        with pytest.raises(SystemExit) as ended:
            cli.run([command, "--help"])
        assert ended.value.code == 0
        assert command in capsys.readouterr().out


def test_the_same_seed_makes_the_same_shop() -> None:
    assert Shop(7).events(500) == SHOP[:500]
    assert Shop(8).events(500) != SHOP[:500]
    assert [event["timestamp"] for event in SHOP] == sorted(event["timestamp"] for event in SHOP)
    assert io.BytesIO(dumps(SHOP[0])).read().startswith(b'{"id":')


def test_dead_letters_of_any_bytes_are_saved_as_text(tmp_path: Path, source: StreamOptions, send: object) -> None:
    send(b"bad", b"\xff\x00")  # type: ignore[operator]
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject]
    with Serve(*arguments, "--store", tmp_path / "store") as serve:
        url = serve.wait_until_ready()
        until(lambda: serve.status(url)["dead_letters"] == 2)
        csv = pl.read_csv(io.BytesIO(run("dead-letters", "--url", url, "--format", "csv").encode()))
        lines = run("dead-letters", "--url", url, "--format", "ndjson").splitlines()
    assert csv["payload"].to_list() == ["bad", None]
    assert csv["payload_base64"].to_list() == [None, "/wA="]
    assert [(json.loads(line)["payload"], json.loads(line)["payload_base64"]) for line in lines] == [
        ("bad", None),
        (None, "/wA="),
    ]


def test_a_file_that_is_a_pipe_is_read_once(tmp_path: Path, nats_url: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    arguments = [*COMMAND, "publish", str(tmp_path / "pipe"), "--nats", nats_url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        (tmp_path / "pipe").write_bytes(an_event(event_type="x" * 5000) + b"\n" + an_event())
        assert json.loads(process.communicate(timeout=30)[0]) == {"events": 2}


def test_an_arrow_file_with_a_column_twice_is_published_or_refused_in_a_sentence(tmp_path: Path, nats_url: str) -> None:
    table = pa.Table.from_pylist([json.loads(an_event(data="1"))]).append_column("event_type", pa.array([b"x"]))
    table = table.set_column(4, "timestamp", pa.array([[1]]))
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    said = run("publish", tmp_path / "a.arrow", "--nats", nats_url, code=2)
    assert "a.arrow: the column timestamp is list" in said
    assert "Traceback" not in said


def test_long_work_shows_a_bar_on_a_terminal_and_none_in_a_pipe(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    arguments = [*COMMAND, "demo", "--events", "60000"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=theirs, cwd=tmp_path) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal ends with the program
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"publishing a shop's events:" in shown
    piped = subprocess.run(arguments, capture_output=True, check=True, timeout=60).stderr
    assert b"publishing a shop's events:" not in piped


def test_a_service_that_cannot_go_on_ends_with_a_sentence(
    tmp_path: Path, source: StreamOptions, send: Callable[..., int]
) -> None:
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject]
    send(an_event())
    with Serve(*arguments, "--store", tmp_path) as serve:
        url = serve.wait_until_ready()
        until(lambda: serve.status(url)["offset"] == 1)
        manage(source, lambda js: js.delete_stream(source.stream))
        _, said = serve.process.communicate(timeout=30)
        assert serve.process.returncode == 1
        assert f"fraiseql-events: the stream {source.stream} is not the one" in said
        assert "Traceback" not in said


def test_a_second_serve_on_a_store_is_refused_and_the_first_goes_on(tmp_path: Path, source: StreamOptions) -> None:
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject, "--store", tmp_path]
    with Serve(*arguments) as serve:
        url = serve.wait_until_ready()
        said = run("serve", "--listen", "127.0.0.1:0", *arguments, code=1)
        assert f"is in use by process {serve.process.pid} on" in said
        assert serve.status(url)["last_error"] is None


def test_an_unknown_entity_type_is_told(served: tuple[str, str]) -> None:
    url, _ = served
    arguments = [*COMMAND, "stream", "Ordr", "--url", url]
    result = subprocess.run(arguments, capture_output=True, check=True, timeout=60, text=True)
    assert result.stdout.endswith("0 rows\n")
    assert "no events of 'Ordr' (did you mean Order?); there are Order, Product, User" in result.stderr


def test_a_demo_can_be_kept(tmp_path: Path) -> None:
    shown = run("demo", "--events", "500", "--store", tmp_path / "shop")
    assert f"`fraiseql-events serve --embedded --store {tmp_path}/shop`" in shown
    with Serve("--embedded", "--store", tmp_path / "shop") as serve:
        url = serve.wait_until_ready()
        assert serve.status(url)["committed"] == 500
        (tmp_path / "one.ndjson").write_bytes(an_event())
        assert json.loads(run("publish", tmp_path / "one.ndjson", "--url", url)) == {"events": 1}
        until(lambda: serve.status(url)["offset"] == 501)
    again = run("demo", "--events", "500", "--store", tmp_path / "shop")  # it is not made twice
    assert "The shop is there already, with 501 events." in again
    assert "All 501 events streamed" in again


def test_a_second_embedded_serve_does_not_harm_the_first(tmp_path: Path) -> None:
    with Serve("--embedded", "--store", tmp_path) as serve:
        url = serve.wait_until_ready()
        children = psutil.Process(serve.process.pid).children()
        said = run("serve", "--embedded", "--store", tmp_path, "--listen", "127.0.0.1:0", code=1)
        assert f"is in use by process {serve.process.pid}" in said
        assert sorted(child.name() for child in children if lives(child)) == ["nats-server", "sh"]
        run("publish", "-", "--url", url, stdin=an_event())
        until(lambda: serve.status(url)["offset"] == 1)


def test_python_dash_m_is_the_command_line_too() -> None:
    command = [sys.executable, "-m", "fraiseql_events", "--version"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.startswith("0.")
