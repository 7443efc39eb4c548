"""Realistic events, any number of them, the same for the same seed: never kept in the repository.

A shop's changes, about 300 bytes each: orders, users, products and shipments, JSON of varying shape, names in several
scripts.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.publisher import Message, subject_of
from fraiseql_events.shop import Shop

BLOCK = 100_000
Event = dict[str, Any]


def events(count: int, *, seed: int = 1, per_day: int = 100_000) -> Iterator[Event]:
    """So many events. After the first `BLOCK` they are those again with new ids, and later."""
    first = [_with_shipments(event) for event in Shop(seed, per_day=per_day).events(min(count, BLOCK))]
    yield from first
    draw = random.Random(seed)
    span = _time(first[-1]) - _time(first[0]) + timedelta(seconds=1)
    block = 0
    while (left := count - (block + 1) * BLOCK) > 0:
        block += 1
        for event in islice(first, left):
            moment = (_time(event) + block * span).isoformat(timespec="microseconds").replace("+00:00", "Z")
            yield event | {"id": str(uuid.UUID(int=draw.getrandbits(128), version=4)), "timestamp": moment}


def json_messages(count: int, *, seed: int = 1) -> Iterator[Message]:
    """One JSON event a message."""
    encode = msgspec.json.encode
    for event in events(count, seed=seed):
        yield subject_of(event["entity_type"], event["event_type"]), encode(event)


def ndjson_messages(count: int, *, each: int = 1000) -> Iterator[Message]:
    """Payloads of newline-delimited JSON, so many events each."""
    source = events(count)
    while part := list(islice(source, each)):
        yield "entity.change.many.ndjson", b"\n".join(map(msgspec.json.encode, part))


def arrow_messages(count: int, *, each: int = 1000) -> Iterator[Message]:
    """Payloads of Arrow IPC, so many events each."""
    source = json_messages(count)
    while part := [message[1] for message in islice(source, each)]:
        yield "entity.change.many.arrow", _ipc(_decoded(part))


def block_of_rows(*, seed: int = 1, per_day: int = 100_000, rows: int = BLOCK) -> pa.RecordBatch:
    """So many events as the log takes them, up to `BLOCK`."""
    encode = msgspec.json.encode
    return _decoded([encode(event) for event in events(rows, seed=seed, per_day=per_day)])


def _decoded(payloads: list[bytes]) -> pa.RecordBatch:
    count = len(payloads)
    return decode(Messages.of(list(range(1, count + 1)), [b"bench"] * count, [0] * count, payloads)).events


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _with_shipments(event: Event) -> Event:
    """The shop's parcels as an entity type of their own."""
    if event["event_type"] not in ("Order.Shipped", "Order.Delivered"):
        return event
    kind = event["event_type"].replace("Order", "Shipment")
    return event | {"event_type": kind, "entity_type": "Shipment", "entity_id": f"parcel-{event['entity_id'][6:]}"}


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["timestamp"])
