"""Following: history, then live, in one stream without a gap or a duplicate, whatever breaks on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import flight

from fraiseql_events import EventClient, Service, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.event import OFFSET
from fraiseql_events.log import LogOptions
from tests.following import events, following
from tests.mixed import an_event
from tests.places import place_of
from tests.processes import COMMAND, Serve
from tests.proxy import Proxy
from tests.waiting import until

Send = Callable[..., int]
Start = Callable[..., Service]


def test_history_and_live_are_one_stream_while_the_log_commits_and_merges(start: Start, send: Send) -> None:
    service = start(commit_events=500, tail_bytes=100_000, compact_files=3)
    send(*events(0, 3_000))
    until(lambda: service.status()["committed"] == 3_000)
    with following(service.url) as early:
        for first in range(3_000, 20_000, 1_000):
            send(*events(first, first + 1_000))
        with following(service.url) as late:
            for follower in (early, late):
                until(lambda: len(follower.ids) >= 20_000)  # noqa: B023
                assert follower.ids == list(range(20_000))
                assert follower.stream.reconnects == 0
                assert follower.stream.offset == 19_999


def test_an_event_is_there_at_once(start: Start, send: Send) -> None:
    service = start()
    with following(service.url) as follower:
        until(lambda: service._server is not None and service._server.streams == 1)
        times = []
        for number in range(20):
            send(an_event(id=str(number)))
            sent = time.monotonic()
            until(lambda: len(follower.ids) == number + 1)  # noqa: B023
            times.append(time.monotonic() - sent)
        assert sorted(times)[10] < 0.1, "an event waits for something"


def test_batches_are_large_when_there_is_much_and_small_when_it_is_calm(start: Start, send: Send) -> None:
    service = start()
    send(*events(0, 30_000))
    until(lambda: service.status()["offset"] == 30_000)
    with EventClient(service.url) as client, client.stream("*", follow=True) as stream:
        frames = iter(stream)
        heights = [next(frames).height]
        while sum(heights) < 30_000:
            heights.append(next(frames).height)
        assert 5_000 < max(heights) <= 10_000
        for number in range(30_000, 30_005):
            send(*events(number, number + 1))
            assert next(frames).height == 1


def test_a_filter_holds_live_too(start: Start, send: Send) -> None:
    service = start()
    with (
        following(service.url, entity="User") as users,
        following(service.url, event_types=["B"], limit=3) as three,
    ):
        for number in range(10):
            send(an_event(id=str(number), entity_type="Order" if number % 2 else "User", event_type="AB"[number % 2]))
        until(lambda: len(users.ids) == 5)
        assert users.ids == [0, 2, 4, 6, 8]
        three.thread.join(5)
        assert three.ids == [1, 3, 5]
        assert three.error is None
        assert three.stream.offset == 5


def test_a_follow_ends_when_its_end_has_passed(start: Start, send: Send) -> None:
    service = start()
    now = datetime.now(UTC)
    with following(service.url, end=now + timedelta(seconds=1.5)) as follower:
        send(*events(0, 5, timestamp=now.isoformat()))
        until(lambda: len(follower.ids) == 5)
        assert follower.thread.is_alive()
        follower.thread.join(5)
        assert not follower.thread.is_alive()
        assert follower.error is None
        assert datetime.now(UTC) >= now + timedelta(seconds=1.5)


def test_a_quiet_stream_has_heartbeats_and_batches_have_their_place(start: Start, send: Send) -> None:
    service = start()
    send(*events(0, 3))
    with flight.connect(service.url) as client:
        reader = client.do_get(flight.Ticket(b"events:Order:::streaming"))
        chunks = [reader.read_chunk() for _ in range(3)]
        places = [place_of(chunk) for chunk in chunks]
        assert [chunk.data.num_rows for chunk in chunks][-2:] == [0, 0]
        assert places[-1] == {"first_offset": None, "last_offset": None, "heartbeat": True, "next_offset": 3}
        reader.cancel()


def test_a_follower_goes_on_after_a_restart_of_its_server(start: Start, send: Send, tmp_path: Path) -> None:
    service = start()
    with Proxy(port_of(service)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        for round_ in range(3):
            send(*events(round_ * 1000, round_ * 1000 + 1000))
            until(lambda: len(follower.ids) >= round_ * 1000 + 500)  # noqa: B023
            service.close()
            service = start()
            proxy.retarget(port_of(service))
        until(lambda: len(follower.ids) >= 3000)
        assert follower.ids == list(range(3000))
        assert follower.stream.reconnects >= 2
        assert follower.error is None


def test_of_a_service_that_its_own_process_stops_a_follower_says_nothing_but_in_its_state(
    start: Start, send: Send, source: StreamOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = start()
    send(*events(0, 10))
    with following(f"grpc://localhost:{port_of(service)}") as follower:
        until(lambda: len(follower.ids) == 10)
        service.close()
        until(lambda: "asking again: its service was stopped here; it goes on when" in follower.stream.state)
        send(*events(10, 20))
        again = {"nats": source.nats, "stream": source.stream, "subject": source.subject, "store": tmp_path / "store"}
        with serve(**again, listen=f"127.0.0.1:{port_of(service)}"):  # type: ignore[arg-type]
            until(lambda: len(follower.ids) == 20)
            assert follower.ids == list(range(20))
            assert follower.stream.state == "open"
            assert [each for each in caplog.records if each.name == "fraiseql_events.resuming"] == []


def test_of_a_server_that_breaks_off_by_itself_it_tells_the_log(
    start: Start, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    service = start()
    send(*events(0, 10))
    with Proxy(port_of(service)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        until(lambda: len(follower.ids) == 10)
        proxy.cut()
        until(lambda: len(said(caplog)) == 2)
    cut, goes_on = said(caplog)
    assert "asking again after offset 9" in cut
    assert goes_on == "the stream goes on after offset 9"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a stream has told the log of its connection."""
    return [each.getMessage() for each in caplog.records if each.name == "fraiseql_events.resuming"]


def test_a_follower_goes_on_after_a_cut_connection(start: Start, send: Send) -> None:
    service = start()
    with Proxy(port_of(service)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        for round_ in range(8):
            send(*events(round_ * 2000, round_ * 2000 + 2000, data="x" * 500))
            until(lambda: len(follower.ids) > round_ * 2000)  # noqa: B023
            proxy.cut()
        until(lambda: len(follower.ids) >= 16_000)
        assert follower.ids == list(range(16_000))
        assert follower.stream.reconnects >= 4


def test_a_batch_stream_goes_on_after_a_cut_connection(start: Start, send: Send) -> None:
    service = start()
    send(*events(0, 30_000, data="x" * 500))
    until(lambda: service.status()["offset"] == 30_000)
    with Proxy(port_of(service)) as proxy, EventClient(f"grpc://127.0.0.1:{proxy.port}") as client:
        stream = client.stream("*", limit=29_000)
        ids: list[int] = []
        for number, frame in enumerate(stream):
            ids += map(int, frame["event_id"])
            if number in (0, 4):
                proxy.cut()
        assert ids == list(range(29_000))
        assert stream.reconnects >= 1


def test_a_server_that_hangs_is_noticed(start: Start, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraiseql_events.resuming.SILENCE_SECONDS", 3.0)
    service = start()
    send(*events(0, 10))
    with Proxy(port_of(service)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        until(lambda: len(follower.ids) == 10)
        proxy.frozen.set()
        time.sleep(0.2)  # until the proxy has seen it
        send(*events(10, 20))
        until(lambda: follower.stream.reconnects == 1)
        assert follower.ids == list(range(10))
        proxy.frozen.clear()
        until(lambda: len(follower.ids) >= 20)
        assert follower.ids == list(range(20))


def test_a_slow_follower_slows_nobody_and_sees_everything(start: Start, send: Send) -> None:
    service = start(commit_events=5_000, tail_bytes=1 << 20)
    slow = EventClient(service.url).stream("*", follow=True, batch_size=1_000)
    ids: list[int] = []
    iterator = iter(slow)
    with following(service.url) as quick:
        for first in range(0, 40_000, 4_000):
            send(*events(first, first + 4_000, data="x" * 1000))
            ids += map(int, next(iterator)["event_id"])
        until(lambda: len(quick.ids) == 40_000)
        assert len(ids) < 20_000
        while len(ids) < 40_000:
            ids += map(int, next(iterator)["event_id"])
    assert ids == list(range(40_000))
    slow.close()


def test_fifty_followers_at_once(start: Start, send: Send) -> None:
    service = start()
    assert service._server is not None
    server = service._server
    with contextlib.ExitStack() as stack:
        followers = [stack.enter_context(following(service.url)) for _ in range(50)]
        for first in range(0, 5_000, 500):
            send(*events(first, first + 500))
        for follower in followers:
            until(lambda: len(follower.ids) == 5_000)  # noqa: B023
            assert follower.ids == list(range(5_000))
        assert server.streams == 50
    until(lambda: server.streams == 0)


FOLLOW = """
import sys
from fraiseql_events import EventClient
print("up", flush=True)
for frame in EventClient(sys.argv[1]).stream("*", follow=True):
    print(frame.height, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_quiet_follow_ends_within_a_second_on_both_sides(start: Start, send: Send, number: int) -> None:
    service = start()
    assert service._server is not None
    server = service._server
    send(*events(0, 3))
    arguments = [sys.executable, "-c", FOLLOW, str(service.url)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert int(process.stdout.readline())
        until(lambda: server.streams == 1)
        time.sleep(1)
        process.send_signal(number)
        sent = time.monotonic()
        process.wait(5)
        assert time.monotonic() - sent < 1
        until(lambda: server.streams == 0, 2)


def test_the_command_line_follows(tmp_path: Path, source: StreamOptions, send: Send) -> None:
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject]
    with Serve(*arguments, "--store", tmp_path / "store") as server:
        url = server.wait_until_ready()
        send(*events(0, 3))
        follow = [*COMMAND, "stream", "Order", "--follow", "--url", url]
        saved = subprocess.Popen([*follow, "-o", str(tmp_path / "a.parquet")])
        with subprocess.Popen([*follow, "--format", "ndjson"], stdout=subprocess.PIPE) as shown:
            assert shown.stdout is not None
            send(*events(3, 5))
            assert [json.loads(shown.stdout.readline())["event_id"] for _ in range(5)] == list("01234")
            shown.send_signal(signal.SIGINT)
            assert shown.wait(5) == 0
        until(lambda: list(tmp_path.glob(".a.parquet.part*")))
        time.sleep(1)
        saved.send_signal(signal.SIGINT)
        assert saved.wait(5) == 0
    assert pl.read_parquet(tmp_path / "a.parquet")["event_id"].to_list() == list("01234")


def test_a_follow_into_a_file_is_kept_when_it_is_told_to_end(start: Start, send: Send, tmp_path: Path) -> None:
    service = start()
    send(*events(0, 3))
    saved = [*COMMAND, "stream", "*", "--follow", "--url", str(service.url), "-o", str(tmp_path / "a.ndjson")]
    with subprocess.Popen(saved) as process:
        until(lambda: [part for part in tmp_path.glob(".a.ndjson.part*") if part.stat().st_size])
        process.terminate()
        assert process.wait(5) == 0
    assert len((tmp_path / "a.ndjson").read_text().splitlines()) == 3


def test_a_live_table_is_a_line_an_event(tmp_path: Path, source: StreamOptions, send: Send) -> None:
    with serve(
        nats=source.nats, stream=source.stream, subject=source.subject, store=tmp_path, listen="127.0.0.1:0",
        log=LogOptions(),
    ) as service:  # fmt: skip
        arguments = ["stream", "*", "--follow", "--columns", "event_id,entity_id", "--url", str(service.url)]
        send(*events(0, 1))
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE) as shown:
            assert shown.stdout is not None
            assert shown.stdout.readline().split() == [b"event_id", b"entity_id"]
            shown.stdout.readline()
            assert shown.stdout.readline().split() == [b"0", b"o-1"]
            send(*events(1, 2))
            assert shown.stdout.readline().split() == [b"1", b"o-1"]
            os.kill(shown.pid, signal.SIGINT)
            assert shown.wait(5) == 0


def test_a_call_that_an_ending_server_cancels_is_made_again() -> None:
    class Cancelling(flight.FlightServerBase):  # type: ignore[misc]
        calls = 0

        def do_get(self, context: object, ticket: flight.Ticket) -> flight.GeneratorStream:
            self.calls += 1
            return flight.GeneratorStream(pa.schema([OFFSET]), self.answer(self.calls))

        def answer(self, call: int) -> Iterator[tuple[pa.RecordBatch, bytes]]:
            batch = pa.record_batch([pa.array([call], pa.int64())], schema=pa.schema([OFFSET]))
            yield batch, json.dumps({"last_offset": call, **({"end": True} if call == 3 else {})}).encode()
            raise flight.FlightCancelledError("CANCELLED")

    with Cancelling("grpc://127.0.0.1:0") as server, EventClient(f"grpc://127.0.0.1:{server.port}") as client:
        stream = client.stream("*", follow=True, columns=["offset"])
        assert [offset for frame in stream for offset in frame["offset"]] == [1, 2, 3]
        assert stream.reconnects == 2


def port_of(service: Service) -> int:
    assert service.url is not None
    return int(service.url.rpartition(":")[2])


def test_a_connection_that_died_without_a_word_is_left(
    start: Start, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraiseql_events.resuming.SILENCE_SECONDS", 3.0)
    service = start()
    send(*events(0, 10))
    with Proxy(port_of(service)) as proxy, following(f"grpc://127.0.0.1:{proxy.port}") as follower:
        for round_ in range(1, 3):
            until(lambda: len(follower.ids) == round_ * 10)  # noqa: B023
            proxy.deaden()
            send(*events(round_ * 10, round_ * 10 + 10))
        until(lambda: len(follower.ids) >= 30)
        assert follower.ids == list(range(30))
        until(lambda: sum(thread.name == "fraiseql-events-read" for thread in threading.enumerate()) == 1)


def test_a_slow_reader_of_a_batch_stream_is_given_its_time(
    start: Start, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraiseql_events.resuming.GIVE_UP_SECONDS", 0.5)
    service = start()
    send(*events(0, 30_000, data="x" * 500))
    until(lambda: service.status()["offset"] == 30_000)
    with Proxy(port_of(service)) as proxy, EventClient(f"grpc://127.0.0.1:{proxy.port}") as client:
        ids: list[int] = []
        for number, frame in enumerate(client.stream("*")):
            ids += map(int, frame["event_id"])
            if number == 0:
                proxy.cut()
                time.sleep(1)
        assert ids == list(range(30_000))
