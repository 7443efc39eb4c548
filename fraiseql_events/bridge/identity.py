"""Is the stream still the one that was read? And where, in another one, does what was not read begin?

A stream that was deleted and made anew, or a server that lost its tail and hands sequences out again, would otherwise
be read past its new messages in silence.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import nats.errors
from nats.js.api import RetentionPolicy, StreamInfo

from fraiseql_events.advice import where_read
from fraiseql_events.bridge.natspy import BulkClient
from fraiseql_events.bridge.position import StreamPosition, digest
from fraiseql_events.errors import StreamMismatch
from fraiseql_events.timestamps import format_time, micros_of_datetime, parse_nanos

#: A request may be lost with the connection of a server that is stopping: it is soon made again.
REQUEST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 60.0
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the stream holds it: its sequence, when it was stored (nanoseconds since the epoch), its bytes."""

    sequence: int
    published: int
    payload: bytes


def created_micros(info: StreamInfo) -> int:
    """When a stream was created, in microseconds since the epoch."""
    return micros_of_datetime(info.created or datetime.fromtimestamp(0, UTC))


def check_readable(info: StreamInfo, name: str) -> None:
    """Refuses a stream that would lose what it delivers before it is committed.

    Raises:
        StreamMismatch: its retention is not by limits.
    """
    if info.config.retention not in (None, RetentionPolicy.LIMITS):
        raise StreamMismatch(
            f"the stream {name} has the retention {info.config.retention}: it removes messages once they are "
            "delivered, and a crash would lose them. It must be `limits`, as FraiseQL makes it"
        )


async def find_difference(client: BulkClient, info: StreamInfo, name: str, known: StreamPosition) -> str | None:
    """What tells a stream from the one that a position is from, in words; None when it is the same, as far as one sees.

    A message that is there no longer, by retention or by hand, leaves nothing to compare.
    """
    created = created_micros(info)
    if created != known.created:
        return f"it was created at {format_time(created)}, the one that was read at {format_time(known.created)}"
    if info.state.last_seq < known.sequence:
        gone = known.sequence - info.state.last_seq
        return f"it ends at sequence {info.state.last_seq}, and {known.sequence} has been read: it lost the last {gone}"
    if known.sequence < max(1, info.state.first_seq):
        return None
    message = await _get(client, name, {"seq": known.sequence})
    if message is None or (message.published, digest(message.payload)) == (known.published, known.digest):
        return None
    return f"its message {known.sequence} is not the one that was read, so it lost messages and went on with others"


def mismatch(name: str, what: str, known: StreamPosition) -> StreamMismatch:
    """The error for a stream that is another one, with what to do."""
    since = format_time(known.published // 1000)
    return StreamMismatch(
        f"the stream {name} is not the one that this history was read from: {what}. Restore the stream from its "
        f"backup; or go on with what it has stored since {since}, the time of the last message that was read, with "
        + where_read("--accept-stream", "`fraiseql-events serve --accept-stream` in a terminal")
        + "; or start with a new --store"
    )


async def adopt(client: BulkClient, info: StreamInfo, name: str, known: StreamPosition) -> StreamPosition:
    """Where to go on in another stream than the known one: before the first message stored after the last one read.

    What it held before that was read, or is another stream's; what was removed from it already is missed.
    """
    created = created_micros(info)
    last = await _last_until(client, info, name, known.published)
    sequence = last.sequence if last is not None else 0
    removed = 0
    if last is None:  # all that it holds is later
        sequence = max(0, info.state.first_seq - 1)
        begins = max(1, info.config.first_seq or 1)
        removed = max(0, sequence + 1 - begins) if created * 1000 > known.published else 0
    return StreamPosition(
        sequence,
        created,
        last.published if last is not None else known.published,
        digest(last.payload) if last is not None else 0,
        known.missed + removed,
        known.epoch + 1,
    )


async def _last_until(client: BulkClient, info: StreamInfo, name: str, published: int) -> StoredMessage | None:
    """The last message that was stored at a time or before; None when there is none. Times rise with the sequences."""
    found: StoredMessage | None = None
    low, high = info.state.first_seq, info.state.last_seq  # the first message that is later lies in low … high + 1
    while low <= high:
        middle = (low + high) // 2
        message = await _get(client, name, {"seq": middle, "next_by_subj": ">"})
        if message is None or message.sequence > high or message.published > published:
            high = middle - 1
        else:
            found, low = message, message.sequence + 1
    return found


async def _get(client: BulkClient, name: str, request: dict[str, Any]) -> StoredMessage | None:
    """A message of the stream; None when it is not there. The times of nats-py's `get_msg` end at microseconds."""
    subject = f"$JS.API.STREAM.MSG.GET.{name}"
    values = msgspec.json.decode(await _request(client, subject, msgspec.json.encode(request)))
    if (error := values.get("error")) is not None:
        if error.get("code") == _NOT_FOUND:
            return None
        raise nats.errors.Error(f"nats: {error.get('description')}")
    message = values["message"]
    payload = base64.b64decode(message.get("data") or b"")
    return StoredMessage(message["seq"], parse_nanos(message["time"]), payload)


async def _request(client: BulkClient, subject: str, payload: bytes) -> bytes:
    """An answer that may be large: over a slow link it is waited for as long as something comes."""
    asking = asyncio.ensure_future(client.request(subject, payload, timeout=LONGEST_SECONDS))
    try:
        while not asking.done():
            began = time.monotonic()
            await asyncio.wait({asking}, timeout=REQUEST_SECONDS)
            if not asking.done() and client.read_at < began:
                raise nats.errors.TimeoutError
        return bytes((await asking).data)
    finally:
        asking.cancel()
