"""The private names of nats-py that we lean on, and the parser that we put in its place."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import nats
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.bridge import natspy
from fraiseql_events.bridge.frames import Frames, Run
from fraiseql_events.bridge.natspy import BulkClient, connect, missing_names, publish_frame
from fraiseql_events.bridge.receiver import Receiver
from fraiseql_events.errors import NatsUnavailable


class Collector:
    """Keeps the frames that it receives."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, bytes, bytes | None, bytes]] = []

    def receive(self, frames: Frames) -> None:
        self.frames += zip(frames.subjects, frames.replies, frames.headers, frames.payloads, strict=True)

    def receive_run(self, run: Run) -> None:
        raise AssertionError("these are no messages of a consumer")


def test_nats_py_still_has_the_private_names_that_we_use() -> None:
    missing = missing_names()
    assert not missing, f"nats-py {nats.__name__} moved {missing}: mend fraiseql_events/bridge/natspy.py"


def test_a_moved_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(natspy.PRIVATE_NAMES, natspy.Client, ("_gone",))
    assert missing_names() == ["nats.aio.client.Client._gone"]


def test_bulk_and_ordinary_subscriptions_share_a_connection(nats_url: str) -> None:
    async def talk() -> tuple[Collector, bytes]:
        client = await connect(nats_url, name="test")
        try:
            collector = Collector()
            await client.subscribe_bulk("bulk.>", collector)
            ordinary = await client.subscribe("ordinary")
            await client.publish_bulk(b"".join(publish_frame("bulk.a", "r", b"%d" % n) for n in range(1000)))
            await client.publish("ordinary", b"one", headers={"x": "y"})
            await client.publish("bulk.b", b"last", headers={"x": "y"})
            message = await ordinary.next_msg(5)
            await client.flush()
            return collector, message.data
        finally:
            await client.close()

    collector, ordinary = asyncio.run(talk())
    assert ordinary == b"one"
    assert [frame[3] for frame in collector.frames] == [b"%d" % n for n in range(1000)] + [b"last"]
    assert collector.frames[0][:3] == (b"bulk.a", b"r", None)
    assert b"x: y" in (collector.frames[-1][2] or b"")


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    said = r"no NATS server answers at nats://user:\*\*\*@127.0.0.1:1 .*nats-server -js"
    with pytest.raises(NatsUnavailable, match=said):
        asyncio.run(connect("nats://user:secret@127.0.0.1:1", name="test"))


frames = st.lists(
    st.tuples(
        st.sampled_from([b"7", b"8"]),
        st.sampled_from([b"", b"reply"]),
        st.none() | st.just(b"NATS/1.0\r\nk: v\r\n\r\n"),
        st.binary(max_size=40) | st.just(b"\r\nMSG a 7 1\r\nx\r\n"),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(frames=frames, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_frames_are_cut_alike_however_the_bytes_arrive(
    frames: list[tuple[bytes, bytes, bytes | None, bytes]], cuts: list[int]
) -> None:
    wire = b"PONG\r\n"
    for sid, reply, head, payload in frames:
        words = [b"MSG" if head is None else b"HMSG", b"subject", sid] + ([reply] if reply else [])
        words += [] if head is None else [b"%d" % len(head)]
        wire += b" ".join([*words, b"%d" % (len(head or b"") + len(payload))]) + b"\r\n"
        wire += (head or b"") + payload + b"\r\n"

    async def parse() -> list[tuple[bytes, bytes, bytes | None, bytes]]:
        client, collector = BulkClient(), Collector()
        client._bulk_parser.sinks[b"7"] = collector
        ends = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
        receiver = Receiver()
        for start, end in pairwise(ends):
            receiver.append(wire[start:end])
            receiver.drop(await client._bulk_parser.cut(receiver.buffer, receiver.stop))
        return collector.frames

    expected = [(b"subject", reply, head, payload) for sid, reply, head, payload in frames if sid == b"7"]
    assert asyncio.run(parse()) == expected
