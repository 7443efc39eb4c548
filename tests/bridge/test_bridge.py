"""Reading a real stream: in order, without a gap, from where one left off; and the stream that is another one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import psutil
import pytest

from fraiseql_events.bridge import bridge as bridging
from fraiseql_events.bridge import natspy
from fraiseql_events.bridge.bridge import Bridge
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.decode import Decoded
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.bridge.publisher import publish, subject_of
from fraiseql_events.errors import EventsError, InvalidArgument, NatsUnavailable, StreamMismatch
from tests.mixed import an_event
from tests.waiting import until


class Collector:
    """A sink that keeps the event ids; it can be held up."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.dead = 0
        self.position: StreamPosition | None = None
        self.go = threading.Event()
        self.go.set()

    def append(self, decoded: Decoded, position: StreamPosition) -> None:
        self.go.wait()
        self.ids += decoded.events.column("event_id").to_pylist()
        self.dead += len(decoded.dead)
        self.position = position


@contextlib.contextmanager
def reading(
    source: StreamOptions, start: StreamPosition | None = None, sink: Collector | None = None
) -> Iterator[tuple[Bridge, Collector]]:
    sink = sink or Collector()
    bridge = Bridge(source, sink, start=start)
    try:
        bridge.start()
        yield bridge, sink
    finally:
        sink.go.set()
        bridge.stop()


def manage(source: StreamOptions, call: Callable[[Any], Any]) -> Any:
    """Calls the JetStream manager."""

    async def run() -> Any:
        client = await nats.connect(source.nats)
        try:
            return await call(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def events(first: int, last: int) -> list[bytes]:
    return [an_event(id=str(number)) for number in range(first, last)]


def test_a_missing_stream_is_created_and_read_with_a_consumer_that_one_recognises(source: StreamOptions) -> None:
    with reading(source):
        info = manage(source, lambda js: js.stream_info(source.stream))
        consumer = manage(source, lambda js: js.consumer_info(source.stream, source.consumer))
    assert info.config.subjects == [source.subject]
    assert consumer.config.ack_policy == "none"
    assert consumer.config.description == source.description


def test_everything_arrives_in_order_and_a_later_start_goes_on(source: StreamOptions, send: Callable[..., int]) -> None:
    send(*events(0, 25_000))
    with reading(source) as (bridge, sink):
        bridge.wait_until_read()
        assert sink.ids == [str(number) for number in range(25_000)]
        assert bridge.status.lag == 0
    send(*events(25_000, 26_000))
    with reading(source, sink.position) as (bridge, later):
        bridge.wait_until_read()
    assert later.ids == [str(number) for number in range(25_000, 26_000)]


def test_messages_with_headers_are_read_like_others(source: StreamOptions, send: Callable[..., int]) -> None:
    send(*events(0, 1))
    subject = source.subject.replace(">", "x")
    manage(source, lambda js: js.publish(subject, an_event(id="1"), headers={"Nats-Msg-Id": "1"}))
    manage(source, lambda js: js.publish(subject, b"", headers={"a": "b"}))
    with reading(source) as (bridge, sink):
        bridge.wait_until_read()
    assert (sink.ids, sink.dead) == (["0", "1"], 1)


def test_only_the_wanted_subjects_are_read(source: StreamOptions, send: Callable[..., int]) -> None:
    with reading(source):
        pass  # makes the stream
    send(*events(0, 10), subject="order.created")
    send(*events(10, 20), subject="user.created")
    wanted = StreamOptions(source.nats, source.stream, source.subject.replace(">", "user.>"), source.consumer)
    with reading(wanted) as (bridge, sink):
        bridge.wait_until_read()
        assert sink.ids == [str(number) for number in range(10, 20)]


def test_a_sink_that_is_held_up_holds_up_the_reading(
    source: StreamOptions, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridging, "MAX_QUEUED_MESSAGES", 40_000)
    send(*events(0, 90_000))
    sink = Collector()
    sink.go.clear()
    with reading(source, sink=sink) as (bridge, _):
        until(lambda: bridge._queued_messages > 20_000)
        until(lambda: not bridge._has_room())
        assert bridge._queued_messages < 90_000
        assert bridge.status.lag == 90_000
        sink.go.set()
        bridge.wait_until_read()
    assert sink.ids == [str(number) for number in range(90_000)]


def test_a_consumer_that_is_deleted_under_us_is_made_anew(source: StreamOptions, send: Callable[..., int]) -> None:
    with reading(source) as (_, sink):
        send(*events(0, 500))
        until(lambda: len(sink.ids) == 500)
        manage(source, lambda js: js.delete_consumer(source.stream, source.consumer))
        send(*events(500, 1000))
        until(lambda: len(sink.ids) >= 1000)
        assert sink.ids == [str(number) for number in range(1000)]


def test_reading_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path) as server:
        source = StreamOptions(nats=server.url)
        publish([(subject_of("Order", "x"), payload) for payload in events(0, 5000)], source)
        with reading(source) as (bridge, sink):
            until(lambda: len(sink.ids) == 5000)
            server.close()
            port = int(server.url.rpartition(":")[2])
            with EmbeddedNats(tmp_path, port=port):
                publish([(subject_of("Order", "x"), payload) for payload in events(5000, 6000)], source)
                until(lambda: len(sink.ids) >= 6000)
                assert sink.ids == [str(number) for number in range(6000)]
                assert bridge.status.failure is None


def known(source: StreamOptions, send: Callable[..., int]) -> StreamPosition:
    """The position after ten messages of a stream."""
    send(*events(0, 10))
    with reading(source) as (bridge, sink):
        bridge.wait_until_read()
    assert sink.position is not None
    return sink.position


def refused(source: StreamOptions, position: StreamPosition) -> str:
    with pytest.raises(StreamMismatch) as caught, reading(source, position):
        pass
    return str(caught.value)


def test_a_stream_that_was_made_anew_is_refused(source: StreamOptions, send: Callable[..., int]) -> None:
    position = known(source, send)
    manage(source, lambda js: js.delete_stream(source.stream))
    assert "it no longer exists" in refused(source, position)
    send(*events(0, 20))
    assert "it was created at" in refused(source, position)


def test_a_stream_that_lost_its_tail_is_refused(source: StreamOptions, send: Callable[..., int]) -> None:
    position = known(source, send)
    longer = StreamPosition(11, position.created, position.published, position.digest)
    assert "it ends at sequence 10, and 11 has been read" in refused(source, longer)
    other = StreamPosition(10, position.created, position.published, position.digest ^ 1)
    assert "its message 10 is not the one that was read" in refused(source, other)


def test_a_stream_whose_read_messages_are_gone_is_read_on_and_lost_ones_are_counted(
    source: StreamOptions, send: Callable[..., int]
) -> None:
    position = known(source, send)
    send(*events(10, 20))
    manage(source, lambda js: js.purge_stream(source.stream, seq=15))
    with reading(source, position) as (bridge, sink):
        bridge.wait_until_read()
        assert sink.ids == [str(number) for number in range(14, 20)]
        assert bridge.status.missed == 4


def test_a_stream_of_others_with_our_subjects_is_one_sentence(source: StreamOptions, send: Callable[..., int]) -> None:
    send(*events(0, 1))
    other = StreamOptions(source.nats, source.stream + "-2", source.subject)
    with (
        pytest.raises(NatsUnavailable, match="another stream already has some of the subjects .* --stream"),
        reading(other),
    ):
        pass


def test_a_server_without_jetstream_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fraiseql_events.bridge.embedded._CONFIG", 'listen: "127.0.0.1:{port}"\nports_file_dir: {folder}'
    )
    with (
        EmbeddedNats(tmp_path) as server,
        pytest.raises(NatsUnavailable, match="does not answer for JetStream"),
        reading(StreamOptions(nats=server.url)),
    ):
        pass


def test_a_fault_of_our_own_while_reading_is_said_and_costs_nothing(
    source: StreamOptions, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = iter([True, True])
    cut = natspy.cut_run

    def cut_run(*arguments: Any) -> Any:
        if next(faults, False):
            raise ZeroDivisionError("an unexpected one")
        return cut(*arguments)

    send(*events(0, 25_000))
    monkeypatch.setattr(natspy, "cut_run", cut_run)
    began = time.monotonic()
    with reading(source) as (bridge, sink):
        bridge.wait_until_read()
    assert sink.ids == [str(number) for number in range(25_000)]
    assert time.monotonic() - began < 10, "it noticed by silence only"
    assert "reading from the NATS server ended" in caplog.text


def test_a_sink_that_fails_ends_the_bridge_and_says_so(source: StreamOptions, send: Callable[..., int]) -> None:
    class Failing(Collector):
        def append(self, decoded: Decoded, position: StreamPosition) -> None:
            raise ValueError("broken")

    failures: list[EventsError] = []
    bridge = Bridge(source, Failing(), on_failure=failures.append)
    bridge.start()
    send(*events(0, 1))  # with them there before, it might fail while it starts
    until(lambda: failures)
    bridge.stop()
    assert "the decoder ended: ValueError: broken" in str(bridge.status.failure)


def test_a_publisher_says_how_many_were_taken(source: StreamOptions) -> None:
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject], max_msgs=5, discard="new"))
    subject = source.subject.replace(">", "x")
    with pytest.raises(NatsUnavailable, match="messages exceeded; the first 5 are published: go on with number 6"):
        publish([(subject, b"x")] * 20, source)
    with pytest.raises(NatsUnavailable, match="no stream has this subject"):
        publish([("nobody.listens", b"x")], source)
    with pytest.raises(InvalidArgument, match="an event has 9000000 bytes, and the NATS server takes 8388608"):
        publish([(subject, b"x" * 9_000_000)], source)


def test_what_belongs_to_another_stream_is_refused_before_anything_is_made_or_sent(source: StreamOptions) -> None:
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject]))
    subject = source.subject.replace(">", "x")
    missing = replace(source, stream=source.stream + "-missing")
    other = replace(source, stream=source.stream + "-other")
    manage(source, lambda js: js.add_stream(name=other.stream, subjects=[f"{other.stream}.>"]))
    for wrong in (missing, other):
        with pytest.raises(InvalidArgument, match=f"belongs to the stream {source.stream}, and not to {wrong.stream}:"):
            publish([(subject, b"x")], wrong)
    with pytest.raises(InvalidArgument, match="an event has 9000000 bytes"):
        publish([("nobody.listens", b"x" * 9_000_000)], replace(missing, subject="nobody.>"))
    names = [info.config.name for info in manage(source, lambda js: js.streams_info())]
    assert missing.stream not in names
    assert manage(source, lambda js: js.stream_info(source.stream)).state.messages == 0


def test_subjects_hold_any_name() -> None:
    assert subject_of("Order", "Order.Created") == "entity.change.Order.created"
    assert subject_of("Größe", "INSERT") == "entity.change.Größe.insert"
    assert subject_of("a.b *>%", "x. ") == "entity.change.a%2Eb%20%2A%3E%25.%20"
    assert subject_of("Order", "Order.") == "entity.change.Order._"


def test_the_embedded_server_keeps_its_streams(tmp_path: Path) -> None:
    for _ in range(2):
        with EmbeddedNats(tmp_path) as server:
            publish([(subject_of("Order", "x"), b"{}")] * 3, StreamOptions(nats=server.url))
            last = manage(StreamOptions(nats=server.url), lambda js: js.stream_info("fraiseql-entity-changes"))
            server.close()
    assert last.state.messages == 6


def test_an_embedded_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path / "a") as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(NatsUnavailable, match="address already in use"):
            EmbeddedNats(tmp_path / "b", port=port)


def test_a_consumer_that_cannot_be_made_anew_at_once_is_tried_again(
    source: StreamOptions, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fraiseql_events.bridge import reader

    make, faults = reader.open_consumer, [TimeoutError("slow"), TimeoutError("slow")]

    async def open_consumer(*arguments: Any) -> int:
        if faults and arguments[2] > 1:
            raise faults.pop()
        return await make(*arguments)

    monkeypatch.setattr(reader, "open_consumer", open_consumer)
    send(*events(0, 10))
    with reading(source) as (bridge, sink):
        until(lambda: len(sink.ids) == 10)
        manage(source, lambda js: js.delete_consumer(source.stream, source.consumer))
        send(*events(10, 20))
        until(lambda: len(sink.ids) == 20)
        assert not faults
        assert bridge.status.trouble is None


def test_messages_that_go_while_reading_is_held_up_are_counted(source: StreamOptions, send: Callable[..., int]) -> None:
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject], max_msgs=1000))
    sink = Collector()
    with reading(source, sink=sink) as (bridge, _):
        send(*events(0, 10))
        until(lambda: len(sink.ids) == 10)
        sink.go.clear()
        send(*events(10, 120_000))
        sink.go.set()
        until(lambda: bridge.status.sequence == 120_000 and bridge.status.missed + len(sink.ids) == 120_000)
        assert bridge.status.missed > 1000
        assert sink.ids == sorted(set(sink.ids), key=int)
    assert sink.position is not None


def test_a_stream_that_was_emptied_before_it_was_read_is_counted(
    source: StreamOptions, send: Callable[..., int]
) -> None:
    position = known(source, send)
    send(*events(10, 510))
    manage(source, lambda js: js.purge_stream(source.stream))
    with reading(source, position) as (bridge, sink):
        assert bridge.status.missed == 500
        send(*events(510, 520))
        until(lambda: len(sink.ids) == 10)
    assert sink.position is not None
    assert sink.position.missed == 500
    with reading(source, sink.position) as (bridge, _):
        assert bridge.status.missed == 500


def test_messages_deleted_from_the_middle_count_from_the_beginning_of_a_history_on(
    source: StreamOptions, send: Callable[..., int]
) -> None:
    send(*events(0, 10))
    manage(source, lambda js: js.delete_msg(source.stream, 5))
    with reading(source) as (bridge, sink):
        until(lambda: len(sink.ids) == 9)
        assert bridge.status.missed == 0, "that was before the history began"
    send(*events(10, 20))
    manage(source, lambda js: js.delete_msg(source.stream, 15))
    for _ in range(2):  # what is kept with the position is not forgotten
        with reading(source, sink.position) as (bridge, later):
            until(lambda: bridge.status.lag == 0)
            assert bridge.status.missed == 1
            sink = later if later.ids else sink
            assert sink.position is not None
            assert sink.position.missed == 1


def test_an_embedded_server_that_dies_is_started_again(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path) as server:
        source = StreamOptions(nats=server.url)
        publish([(subject_of("Order", "x"), payload) for payload in events(0, 10)], source)
        with reading(source) as (bridge, sink):
            until(lambda: len(sink.ids) == 10)
            first = server.pid
            os.kill(first, signal.SIGKILL)
            until(lambda: server.pid != first)
            publish([(subject_of("Order", "x"), payload) for payload in events(10, 20)], source)
            until(lambda: len(sink.ids) == 20)
            assert bridge.status.failure is None


def test_closing_while_the_embedded_server_is_started_again_leaves_none(tmp_path: Path) -> None:
    for number in range(6):
        server = EmbeddedNats(tmp_path)
        os.kill(server.pid, signal.SIGKILL)
        time.sleep(number * 0.004)
        server.close()
    until(lambda: not [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())], 5)


def test_a_stream_made_anew_while_it_is_opened_is_not_read_past(
    source: StreamOptions, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fraiseql_events.bridge import reader

    make, times = reader.open_consumer, []

    async def open_consumer(client: Any, *arguments: Any) -> int:
        if not times:  # between the look at the stream and the making of the consumer
            times.append(1)
            await client.jsm().delete_stream(source.stream)
            await client.jsm().add_stream(name=source.stream, subjects=[source.subject])
            for number in range(100, 120):
                await client.jetstream().publish(source.subject.replace(">", "x"), an_event(id=str(number)))
        return await make(client, *arguments)

    position = known(source, send)
    monkeypatch.setattr(reader, "open_consumer", open_consumer)
    with pytest.raises((NatsUnavailable, StreamMismatch)), reading(source, position):
        pass
    assert "it was created at" in refused(source, position)
    with reading(replace(source, accept_stream=True), position) as (bridge, sink):
        bridge.wait_until_read()
        until(lambda: len(sink.ids) == 20)
    assert sink.ids == [str(number) for number in range(100, 120)]


@pytest.mark.parametrize("retention", ["interest", "workqueue"])
def test_a_stream_that_removes_what_it_delivers_is_refused(source: StreamOptions, retention: str) -> None:
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject], retention=retention))
    with pytest.raises(StreamMismatch, match=f"has the retention {retention}: it removes messages"), reading(source):
        pass


def test_a_stream_with_no_room_for_a_consumer_is_one_sentence(source: StreamOptions) -> None:
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject], max_consumers=1))
    manage(source, lambda js: js.add_consumer(source.stream, name="other", durable_name="other"))
    with (
        pytest.raises(NatsUnavailable, match="the NATS server says: maximum consumers"),
        reading(source),
    ):
        pass


def test_a_subject_may_hold_unusual_white_space(source: StreamOptions, send: Callable[..., int]) -> None:
    send(*events(0, 3))
    prefix = source.subject.removesuffix(">").encode()
    host, _, port = source.nats.rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.recv(65536)
        payload = an_event(id="3")
        frame = b"PUB %sa\x0bb\x0c %d\r\n%s\r\n" % (prefix, len(payload), payload)
        connection.sendall(b'CONNECT {"verbose":false}\r\n' + frame + b"PING\r\n")
        until(lambda: b"PONG" in connection.recv(65536), 5)
    send(*events(4, 6))
    with reading(source) as (bridge, sink):
        until(lambda: len(sink.ids) == 6)
        assert bridge.status.trouble is None
    assert sink.ids == list("012345")


def test_what_is_missed_is_counted_once_when_the_stream_is_lost_after(
    source: StreamOptions, send: Callable[..., int]
) -> None:
    position = known(source, send)
    with reading(replace(source, accept_stream=True), position) as (bridge, sink):
        pause(source)
        send(*events(10, 30))
        until(lambda: bridge.status.last_sequence == 30)
        manage(source, lambda js: js.purge_stream(source.stream))
        until(lambda: bridge.status.missed == 20)
        manage(source, lambda js: js.delete_stream(source.stream))
        send(*events(30, 33))
        until(lambda: len(sink.ids) == 3)
        assert bridge.status.missed == 20


def pause(source: StreamOptions) -> None:
    """The consumer delivers nothing any more."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    manage(source, lambda js: js.pause_consumer(source.stream, source.consumer, later))


def test_gaps_older_than_a_history_stay_so_over_a_restart(source: StreamOptions, send: Callable[..., int]) -> None:
    send(*events(0, 30_000))
    manage(source, lambda js: js.delete_msg(source.stream, 29_990))
    with reading(source) as (_, sink):
        until(lambda: sink.ids)
        sink.go.clear()
        position = sink.position
    assert position is not None
    assert position.sequence < 29_990, "all was read at once"
    with reading(source, position) as (bridge, _):
        bridge.wait_until_read()
        until(lambda: bridge.status.lag == 0)
        time.sleep(1.5)  # a look at the stream
        assert bridge.status.missed == 0


def test_a_stream_made_anew_with_higher_sequences_has_lost_nothing_by_that(
    source: StreamOptions, send: Callable[..., int]
) -> None:
    position = known(source, send)
    manage(source, lambda js: js.delete_stream(source.stream))
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=[source.subject], first_seq=1001))
    send(*events(10, 15))
    with reading(replace(source, accept_stream=True), position) as (bridge, sink):
        until(lambda: len(sink.ids) == 5)
        assert bridge.status.missed == 0


@pytest.mark.parametrize(("wanted", "missed"), [("a.>", 0), (">", 10), ("a.b.>", 0)])
def test_what_may_have_been_others_subjects_is_not_missed(source: StreamOptions, wanted: str, missed: int) -> None:
    prefix = source.subject.removesuffix(">")
    subjects = [f"{prefix}a.b.>", f"{prefix}c"]
    manage(source, lambda js: js.add_stream(name=source.stream, subjects=subjects))
    options = replace(source, subject=prefix + wanted if wanted != ">" else ">")
    publish([(f"{prefix}a.b.x", an_event(id="0"))], source)
    with reading(options) as (_, sink):
        until(lambda: sink.position)
    publish([(f"{prefix}c", b"x")] * 10, source)
    manage(source, lambda js: js.purge_stream(source.stream))
    publish([(f"{prefix}a.b.x", an_event(id="1"))], source)
    with reading(options, sink.position) as (bridge, later):
        until(lambda: later.ids)
        time.sleep(1.2)  # a look at the stream
        assert (later.ids, bridge.status.missed) == (["1"], missed)
