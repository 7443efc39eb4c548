"""A consumer's messages, cut out of the bytes many at once: the same as one by one, whatever the bytes are."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.bridge import natspy
from fraiseql_events.bridge.frames import ACK, Frames, Run, cut_run
from fraiseql_events.bridge.natspy import BulkClient
from fraiseql_events.bridge.receiver import Receiver

PREFIX = b"$JS.ACK.stream.consumer-1.1"
#: Sequence, sequence in the consumer, time, pending, subject, payload.
Message = tuple[int, int, int, int, bytes, bytes]


def frame(message: Message, sid: bytes = b"7", prefix: bytes = PREFIX, head: bytes = b"") -> bytes:
    sequence, in_consumer, published, pending, subject, payload = message
    reply = b"%s.%d.%d.%d.%d" % (prefix, sequence, in_consumer, published, pending)
    if not head:
        return b"MSG %s %s %s %d\r\n%s\r\n" % (subject, sid, reply, len(payload), payload)
    sizes = len(head), len(head) + len(payload)
    return b"HMSG %s %s %s %d %d\r\n%s%s\r\n" % (subject, sid, reply, *sizes, head, payload)


def header(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"NATS/1.0", *lines, b""))


def message(number: int, payload: bytes = b'{"a":1}') -> Message:
    return number, number, 1_700_000_000_000_000_000 + number, 10_000 - number, b"entity.change.Order.created", payload


class Collector:
    """The messages of a consumer, and how many of them came in runs."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.replays: dict[int, str] = {}
        self.others: list[bytes] = []
        self.in_runs = 0

    def receive(self, frames: Frames) -> None:
        for index, reply in enumerate(frames.replies):
            if reply.startswith(ACK):
                self.receive_run(frames.run(index, index + 1))
                self.in_runs -= 1
            else:
                self.others.append(frames.payloads[index])

    def receive_run(self, run: Run) -> None:
        columns = (run.sequences, run.in_consumer, run.published, run.pending)
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        texts = zip(run.subjects.to_pylist(), run.payloads.to_pylist(), strict=True)
        self.messages += [(*each, *text) for each, text in zip(numbers, texts, strict=True)]
        self.replays |= run.replays
        self.in_runs += len(run)


def collect(wire: bytes, cuts: list[int], *, least: int = 0) -> Collector:
    async def cut() -> Collector:
        client, collector, receiver = BulkClient(), Collector(), Receiver()
        client._bulk_parser.sinks[b"7"] = collector
        for start, end in pairwise(sorted({0, len(wire), *(place for place in cuts if place < len(wire))})):
            receiver.append(wire[start:end])
            receiver.drop(await client._bulk_parser.cut(receiver.buffer, receiver.stop))
        assert receiver.stop == 0
        return collector

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(natspy, "LEAST_RUN_BYTES", least)
        patch.setattr(natspy, "_SHORT_RUN", 0)
        patch.setattr(natspy, "_MOST_SKIPPED", 0)
        return asyncio.run(cut())


def test_messages_in_a_row_are_one_run() -> None:
    messages = [message(number, b"x" * number) for number in range(1, 200)]
    wire = b"".join(map(frame, messages))
    found = cut_run(bytearray(wire), 0, len(wire))
    assert found is not None
    assert found[1:] == (b"7", len(wire))
    run = found[0]
    assert run.in_consumer.tolist() == list(range(1, 200))
    assert run.payloads.to_pylist() == [b"x" * number for number in range(1, 200)]
    assert run.messages(3).pending == 10_000 - 3
    assert len(run.messages(3)) == 3


def test_messages_with_headers_are_a_run_too_and_a_replayed_dead_letter_is_found() -> None:
    heads = [header(b"Nats-Msg-Id: %d" % number, b"trace: x") for number in range(1, 200)]
    heads[49] = header(b"Nats-Msg-Id: 50", b"FRAISEQL-dead-LETTER: 0123abcd.7")
    heads[59] = header(b"Nats-Msg-Id: 50", b"Fraiseql-Dead-Letter: nonsense")
    messages = [message(number) for number in range(1, 200)]
    wire = b"".join(frame(each, head=head) for each, head in zip(messages, heads, strict=True))
    collector = collect(wire, [])
    assert collector.in_runs == 199
    assert collector.messages == messages
    assert collector.replays == {50: "0123abcd.7"}


def test_a_run_ends_before_a_frame_that_is_not_whole() -> None:
    wire = b"".join(frame(message(number)) for number in range(1, 4))
    for cut in range(1, len(frame(message(3)))):
        found = cut_run(bytearray(wire), 0, len(wire) - cut)
        assert found is not None
        assert found[0].sequences.tolist() == [1, 2]


@pytest.mark.parametrize(
    "other",
    [
        frame(message(3), sid=b"8"),
        frame(message(3), prefix=b"$JS.ACK.stream.consumer-2.1"),
        frame(message(3), prefix=b"$JS.ACK.stream.consumer-1.2"),
        b"PING\r\n",
        b"MSG a 7 3\r\nabc\r\n",
        b"MSG a 7 r 3\r\nabc\r\n",
        b"HMSG a 7 r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    ],
    ids=repr,
)
def test_a_run_ends_before_a_frame_of_another_kind(other: bytes) -> None:
    wire = frame(message(1)) + frame(message(2)) + other + frame(message(4))
    found = cut_run(bytearray(wire), 0, len(wire))
    assert found is not None
    assert found[0].sequences.tolist() == [1, 2]
    assert found[2] == len(frame(message(1))) * 2


@pytest.mark.parametrize("wire", [b"", b"M", b"PING\r\n", b"MSG a 7 3\r\nabc\r\n", frame(message(1))[:-1]], ids=repr)
def test_without_a_whole_message_there_is_no_run(wire: bytes) -> None:
    assert cut_run(bytearray(wire), 0, len(wire)) is None


def test_a_payload_cannot_pass_for_a_frame() -> None:
    forged = b"x\r\n" + frame(message(99, b"forged"))
    messages = [message(1), message(2, forged), message(3, forged[3:]), message(4, b"\r\n"), message(5)]
    assert collect(b"".join(map(frame, messages)), []).messages == messages


payloads = st.binary(max_size=30) | st.sampled_from(
    [b"", b"\r", b"\n", b"\r\n", b"a\r\nb", frame(message(9)), frame(message(9))[:-2], b"MSG a 7 1\r\nx"]
)
numbers = st.integers(0, 2**63 - 1)
subjects = st.sampled_from([b"a", b"entity.change.Order.created", b"tab\there", "größe.ü".encode(), b"a..b"])
messages_strategy = st.lists(st.tuples(numbers, numbers, numbers, numbers, subjects, payloads), max_size=12)
others = st.sampled_from(
    [
        b"PONG\r\n",
        b"MSG a 7 3\r\nabc\r\n",
        b"MSG a 7 r 3\r\nabc\r\n",
        b"HMSG a 7 r 12 15\r\nNATS/1.0\r\n\r\nabc\r\n",
        frame(message(5), sid=b"8"),
        b"",
    ]
)


@settings(deadline=None, max_examples=300)
@given(
    parts=st.lists(
        st.tuples(
            messages_strategy,
            others,
            st.sampled_from([PREFIX, b"$JS.ACK.s.c.1", b"$JS.ACK.hub.acc.stream.c.1"]),
            st.sampled_from([b"", header(), header(b"a: b"), header(b"a:", b"Fraiseql-Dead-Letter: 0123abcd.1")]),
        ),
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 3000), max_size=5),
)
def test_messages_are_cut_alike_however_they_come(
    parts: list[tuple[list[Message], bytes, bytes, bytes]], cuts: list[int]
) -> None:
    wire = b"".join(
        b"".join(frame(each, prefix=prefix, head=head) for each in messages) + other
        for messages, other, prefix, head in parts
    )
    in_runs, one_by_one = collect(wire, cuts), collect(wire, cuts, least=1 << 30)
    expected = [each for messages, *_ in parts for each in messages]
    assert in_runs.messages == one_by_one.messages == expected
    assert in_runs.others == one_by_one.others
    assert in_runs.replays == one_by_one.replays
    assert one_by_one.in_runs == 0
    if expected and not cuts and parts[0][0] and b"\r" not in parts[0][0][0][5]:
        assert in_runs.in_runs > 0


def test_many_frames_that_are_no_run_are_not_tried_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def count(buffer: bytearray, start: int, stop: int) -> tuple[Run, bytes, int] | None:
        nonlocal tried
        tried += 1
        return cut_run(buffer, start, stop)

    monkeypatch.setattr(natspy, "cut_run", count)
    messages = [message(number, b"{\r\n}" * 20) for number in range(1, 3000)]
    wire = b"".join(map(frame, messages))

    async def cut() -> Collector:
        client, collector = BulkClient(), Collector()
        client._bulk_parser.sinks[b"7"] = collector
        assert await client._bulk_parser.cut(bytearray(wire), len(wire)) == len(wire)
        return collector

    assert asyncio.run(cut()).messages == messages
    assert tried < 10


def test_a_word_of_the_server_between_two_runs_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = 0
    cut_frame = natspy._BulkParser._cut_frame

    async def count(parser: Any, *arguments: Any) -> int:
        nonlocal one_by_one
        one_by_one += 1
        return await cut_frame(parser, *arguments)

    monkeypatch.setattr(natspy._BulkParser, "_cut_frame", count)
    head = b"NATS/1.0 409 Batch Completed\r\nNats-Pending-Messages: 0\r\n\r\n"
    status = b"HMSG inbox.3 7 %d %d\r\n%s\r\n" % (len(head), len(head), head)
    messages = [message(number, b"{}" * 20) for number in range(1, 3000)]
    wire = b"".join(map(frame, messages[:1000])) + status + b"".join(map(frame, messages[1000:]))

    async def cut() -> Collector:
        client, collector = BulkClient(), Collector()
        client._bulk_parser.sinks[b"7"] = collector
        assert await client._bulk_parser.cut(bytearray(wire), len(wire)) == len(wire)
        return collector

    assert asyncio.run(cut()).in_runs >= 2990
    assert one_by_one < 10
