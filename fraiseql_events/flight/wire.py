"""Batches as they go over the wire: of a size that every Flight client takes, each with its place in the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import pyarrow as pa

from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.log import Cursor
from fraiseql_events.log.table import rows_within

#: Some clients refuse messages over 4 MiB; only a single event larger than that may make one.
MAX_BATCH_BYTES: Final = 2 << 20
#: A client that hears nothing for a few of these may take the server for dead.
HEARTBEAT_SECONDS: Final = 2.0
#: So soon, on a quiet stream, a client that has gone is noticed.
LOOK_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True)
class Request:
    """How an answer is sent.

    Attributes:
        batch_size: the most rows in a batch.
        until: the offset that it will reach to. None where it goes on: then a batch is sent as soon as nothing more is
            there to fill it.
        wanted: whether anybody listens still; asked a few times a second.
    """

    batch_size: int
    until: int | None
    wanted: Callable[[], bool]


def wire_schema(columns: Iterable[str]) -> pa.Schema:
    """The schema of a stream with these columns."""
    return pa.schema([LOG_SCHEMA.field(name) for name in columns])


def wire_batches(
    looks: Iterable[Iterator[pa.RecordBatch]], cursor: Cursor, columns: tuple[str, ...], request: Request
) -> Iterator[tuple[pa.RecordBatch, pa.Buffer]]:
    """What a cursor finds, as Flight sends it.

    Each batch comes with app_metadata, a JSON object with ``first_offset``, ``last_offset``, ``history``, which says
    what these are offsets of, and, where the answer has an end, ``until``, the offset that it will reach to without a
    limit. The last one has ``"end": true`` instead, by
    which a client tells an end from a cut, and ``next_offset``, the offset that the answer reaches to. A silence longer
    than `HEARTBEAT_SECONDS` is broken by a batch without rows, with ``"heartbeat": true`` and ``next_offset``. Where a
    batch has no rows its first and last offset are null.

    Args:
        looks: the cursor's, each read to its end before the next.
        cursor: tells how far they have come.
        columns: the ones to send, in this order.
        request: how to send them.
    """
    schema = wire_schema(columns)
    about: dict[str, object] = {} if request.until is None else {"until": request.until}
    held: pa.RecordBatch | None = None
    sent = time.monotonic()
    for look in looks:
        for batch in _fill(look, request.batch_size):
            if held is not None:
                yield _select(held, schema), _place(held, cursor, about)
                sent = time.monotonic()
            held = batch
        if not request.wanted():
            return
        if held is not None and (request.until is None or time.monotonic() - sent >= HEARTBEAT_SECONDS):
            # nothing follows at once: it is not kept for an end mark
            yield _select(held, schema), _place(held, cursor, about)
            held, sent = None, time.monotonic()
        if time.monotonic() - sent >= HEARTBEAT_SECONDS:
            yield _nothing(schema, cursor, {"heartbeat": True, "next_offset": cursor.offset, **about})
            sent = time.monotonic()
    end: dict[str, object] = {"end": True, "next_offset": cursor.offset}
    yield (_select(held, schema), _place(held, cursor, end)) if held is not None else _nothing(schema, cursor, end)


def _nothing(schema: pa.Schema, cursor: Cursor, about: dict[str, object]) -> tuple[pa.RecordBatch, pa.Buffer]:
    empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    return empty, _metadata(cursor, None, None, about)


def _fill(batches: Iterable[pa.RecordBatch], batch_size: int) -> Iterator[pa.RecordBatch]:
    """Puts small batches together and cuts large ones."""
    parts: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for piece, piece_size in _cut(batch, batch_size):
            if parts and (rows + piece.num_rows > batch_size or size + piece_size > MAX_BATCH_BYTES):
                yield _join(parts)
                parts, rows, size = [], 0, 0
            parts.append(piece)
            rows, size = rows + piece.num_rows, size + piece_size
    if parts:
        yield _join(parts)


def _cut(batch: pa.RecordBatch, batch_size: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Pieces that are small enough, each with its size in bytes."""
    size = batch.nbytes
    if batch.num_rows <= batch_size and size <= MAX_BATCH_BYTES:
        yield batch, size
        return
    rows = rows_within(batch, MAX_BATCH_BYTES, batch_size)
    for start in range(0, batch.num_rows, rows):
        piece = batch.slice(start, rows)
        size = piece.nbytes
        if piece.num_rows > 1 and size > 2 * MAX_BATCH_BYTES:  # its rows are of very unequal size
            yield from _cut(piece, piece.num_rows // 2)
        else:
            yield piece, size


def _join(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def _select(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema)


def _place(batch: pa.RecordBatch, cursor: Cursor, about: dict[str, object]) -> pa.Buffer:
    offsets = batch.column(OFFSET.name)
    return _metadata(cursor, offsets[0].as_py(), offsets[-1].as_py(), about)


def _metadata(cursor: Cursor, first: int | None, last: int | None, about: dict[str, object]) -> pa.Buffer:
    """A batch's app_metadata; its place in the log is that of the offset which a client would go on behind."""
    reached = about.get("next_offset")
    place = cursor.place(reached - 1 if isinstance(reached, int) else last if last is not None else -1)
    known = {} if place is None else {"history": place}
    return pa.py_buffer(msgspec.json.encode({"first_offset": first, "last_offset": last, **known, **about}))
