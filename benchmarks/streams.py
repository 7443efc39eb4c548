"""A stream on a real nats-server, and the plain ways of reading it that ours is measured beside."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import natsrpy
import pyarrow as pa
from nats.js.api import AckPolicy, ConsumerConfig

from benchmarks.running import Numbers, timed
from fraiseql_events.bridge.consumer import STREAM, StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.json_payload import JsonEvent
from fraiseql_events.bridge.publisher import Message, publish

#: So many events are asked for at once.
FETCH = 10_000
#: Each message that a pull delivers names one such subject.
_REPLY = b"$JS.ACK."


@contextmanager
def stream_of(published: Iterable[Message], **settings: Any) -> Iterator[Numbers]:
    """A nats-server whose stream holds these messages; the settings with its address, and where to write."""
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder, EmbeddedNats(Path(folder) / "nats") as server:
        publish(published, StreamOptions(nats=server.url))
        yield settings | {"nats": server.url, "nats_pid": server.pid, "folder": folder}


def drain_socket(settings: Numbers) -> Numbers:
    """A raw socket that takes the bytes of the stream's first messages, and looks at none of them."""
    name = asyncio.run(_new_consumer(settings["nats"]))
    host, _, port = settings["nats"].removeprefix("nats://").rpartition(":")
    found: Numbers = {"events": settings["events"]}
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB inbox.* 1\r\nPING\r\n'
        )
        while b"PONG" not in connection.recv(1 << 16):
            pass
        connection.settimeout(0.5)
        with timed(found):
            seconds = _drain(connection, name, settings["messages"], settings["pull"])
    return found | {"seconds": seconds}  # without the wait that tells the end


def _drain(connection: socket.socket, consumer: str, count: int, pull: int) -> float:
    """The seconds until the last byte of so many messages, asked for in pulls of so many, two at a time."""
    asked = seen = 0
    rest = b""
    buffer = bytearray(1 << 20)
    started = ended = time.perf_counter()
    while True:
        while asked < count and asked - seen <= pull:
            batch = min(pull, count - asked)
            request = json.dumps({"batch": batch, "expires": 60 * 10**9}).encode()
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}"
            connection.sendall(f"PUB {subject} inbox.1 {len(request)}\r\n".encode() + request + b"\r\n")
            asked += batch
        try:
            size = connection.recv_into(buffer)
        except TimeoutError:
            return ended - started
        if not size:
            raise ConnectionError("the NATS server closed the connection")
        ended = time.perf_counter()
        if asked < count:  # messages are counted only where there are more to ask for
            text = rest + bytes(buffer[:size])
            seen += text.count(_REPLY)
            rest = text[1 - len(_REPLY) :]


def fetch_with_nats_py(settings: Numbers) -> Numbers:
    """nats-py's `fetch`, each payload through msgspec, each fetch an Arrow batch."""
    read = _READERS[settings["payload"]]

    async def run() -> Numbers:
        name = await _new_consumer(settings["nats"])
        client = await nats.connect(settings["nats"])
        subscription = await client.jetstream().pull_subscribe_bind(name, STREAM)
        found: Numbers = {"events": 0}
        with timed(found):
            while found["events"] < settings["nats_py_events"]:
                messages = await subscription.fetch(settings["fetch"])
                found["events"] += read([message.data for message in messages])
        await client.close()
        return found

    return asyncio.run(run())


def fetch_with_natsrpy(settings: Numbers) -> Numbers:
    """natsrpy, a Rust client, in the place of nats-py."""
    read = _READERS[settings["payload"]]

    async def run() -> Numbers:
        name = await _new_consumer(settings["nats"])
        client = natsrpy.Nats([settings["nats"]])
        await client.startup()
        stream = await (await client.jetstream()).streams.get(STREAM)
        consumer = await stream.consumers.get_pull(name)
        found: Numbers = {"events": 0}
        with timed(found):
            while found["events"] < settings["natsrpy_events"]:
                messages = await consumer.fetch(max_messages=settings["fetch"], timeout=10)
                found["events"] += read([bytes(message.payload) for message in messages])
        await client.shutdown()
        return found

    return asyncio.run(run())


_decoder: msgspec.json.Decoder[JsonEvent] = msgspec.json.Decoder(JsonEvent)


def _read_json(payloads: Sequence[bytes]) -> int:
    return _to_arrow([_decoder.decode(payload) for payload in payloads]).num_rows


def _read_ndjson(payloads: Sequence[bytes]) -> int:
    return _to_arrow([event for payload in payloads for event in _decoder.decode_lines(payload)]).num_rows


def _read_arrow(payloads: Sequence[bytes]) -> int:
    return sum(pa.ipc.open_stream(payload).read_all().num_rows for payload in payloads)


_READERS: dict[str, Callable[[Sequence[bytes]], int]] = {
    "json": _read_json,
    "ndjson": _read_ndjson,
    "arrow": _read_arrow,
}


def _to_arrow(events: Sequence[JsonEvent]) -> pa.RecordBatch:
    """What a reader would write by hand."""
    columns = {
        "event_id": pa.array([event.id for event in events]),
        "event_type": pa.array([event.event_type for event in events]),
        "entity_type": pa.array([event.entity_type for event in events]),
        "entity_id": pa.array([event.entity_id for event in events]),
        "timestamp": pa.array([event.timestamp for event in events]).cast(pa.timestamp("us", "UTC")),
        "data": pa.array([bytes(event.data) for event in events], pa.binary()).cast(pa.string()),
        "user_id": pa.array([event.user_id for event in events], pa.string()),
        "org_id": pa.array([event.org_id for event in events], pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns)


async def _new_consumer(url: str) -> str:
    client = await nats.connect(url)
    try:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=60, mem_storage=True)
        name = f"bench-{time.time_ns()}"
        await client.jsm().add_consumer(STREAM, config, name=name)
        return name
    finally:
        await client.close()
