"""Arrow IPC payloads: a stream of record batches whose columns are an event's fields.

Columns are found by name and cast to the contract's types: strings of any width or encoding, times of any unit and
zone. A row that is no event is a bad row by itself; a stream that cannot be read is one bad payload.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.arrays import integers, truths
from fraiseql_events.bridge.messages import Integers
from fraiseql_events.bridge.unreadable import BadRow, Unreadable
from fraiseql_events.event import MAX_ENTITY_TYPE_BYTES, SCHEMA
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS, TIMESTAMP, parse_times

#: What pyarrow raises for bytes, names and types that are not as expected.
READ_ERRORS: Final = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError, EOFError, OverflowError)
#: A compressed or dictionary-encoded payload may not grow to more than this.
MAX_EXPANDED_BYTES: Final = 256 << 20
#: Nor, all of it together, to more than so many times its own bytes: many such payloads may wait to be decoded.
MAX_GROWTH: Final = 64
#: Nor, in any case, to more than this: a column of a piece of the stream has room for 2 GiB.
MAX_PAYLOAD_BYTES: Final = 512 << 20

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_ALIASES: Final = {"event_id": ("id", "event_id"), "org_id": ("org_id", "tenant_id")}
_KNOWN: Final = frozenset({*SCHEMA.names, "id", "tenant_id"})
_UNITS: Final = {"s": 1_000_000, "ms": 1_000}
_OUTSIDE: Final = "timestamp is outside the years 0001 to 9999 in UTC"
_read_value: Final = msgspec.json.Decoder(msgspec.Raw).decode


def is_arrow(payload: bytes) -> bool:
    """Whether the first bytes are those of an Arrow IPC stream."""
    return payload.startswith(_CONTINUATION)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one batch of a payload with the types of `SCHEMA`; what is in them has not been looked at.

    Attributes:
        events: the rows, in their order.
        source: the batch as it came.
        rows: of each event, its row in `source`.
        line: the number of the first row of `source` in the payload, from 1.
    """

    events: pa.RecordBatch
    source: pa.RecordBatch
    rows: Integers
    line: int

    def bad_row(self, event: int, reason: str) -> BadRow:
        """One of the events, which is none."""
        return _bad_row(self.source, int(self.rows[event]), self.line, reason)


def read_arrow(payload: bytes) -> tuple[list[Part], list[BadRow]]:
    """Reads an Arrow IPC stream of events, or several one behind the other.

    Returns:
        The rows, which `find_wrong` is to look at; and those that cannot be read (their payload: an Arrow IPC stream of
        that one row). When a later part cannot be read, it is one bad row with the bytes that are left.

    Raises:
        Unreadable: nothing of it can be read.
    """
    parts: list[Part] = []
    bad: list[BadRow] = []
    seen = start = 0
    room = min(MAX_GROWTH * len(payload), MAX_PAYLOAD_BYTES)
    source = pa.BufferReader(payload)
    while start < len(payload):
        try:
            found, wrong, rows, size = _read_stream(source, seen, room)
        except (Unreadable, *READ_ERRORS) as error:
            reason = str(error) if isinstance(error, Unreadable) else _unreadable(error)
            if not start:
                raise Unreadable(reason) from None
            bad.append(BadRow(seen + 1, reason, payload[start:]))
            break
        parts, bad, seen, start = parts + found, bad + wrong, seen + rows, source.tell()
        room -= size
    return parts, bad


def _read_stream(source: pa.BufferReader, seen: int, room: int) -> tuple[list[Part], list[BadRow], int, int]:
    """One stream as a whole, or an error: its events (of `room` bytes at the most), bad rows, count and size."""
    parts: list[Part] = []
    bad: list[BadRow] = []
    rows = size = 0
    for batch in _batches(source):
        events, kept, wrong = _convert(batch)
        size += max(batch.nbytes, events.nbytes)
        if size > room:
            raise ValueError(f"it grows to more than {MAX_GROWTH} times its size, or {MAX_PAYLOAD_BYTES >> 20} MiB")
        line = seen + rows + 1
        bad += [_bad_row(batch, row, line, reason) for row, reason in sorted(wrong.items())]
        parts.append(Part(events, batch, kept, line))
        rows += batch.num_rows
    return parts, bad, rows, size


def _unreadable(error: BaseException) -> str:
    return f"not a readable Arrow IPC stream: {_first_line(error)}"


def check_batch(source: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """A batch's events (`SCHEMA`), and the reason for each row that is none.

    Raises:
        Unreadable: a column is missing, or of a type that is not its own.
    """
    events, rows, wrong = _convert(source)
    found = find_wrong(events)
    return without(events, found), wrong | {int(rows[row]): reason for row, reason in found.items()}


def find_wrong(events: pa.RecordBatch) -> dict[int, str]:
    """The rows that are no events, though each column is of its type, with the reason."""
    wrong: dict[int, str] = {}
    columns = dict(zip(SCHEMA.names, events.columns, strict=True))
    times = columns["timestamp"].view(pa.int64())
    bounds = pc.min_max(times)
    if events.num_rows and not _are_within(bounds["min"].as_py(), bounds["max"].as_py()):
        outside = pc.or_(pc.less(times, MIN_MICROS), pc.greater(times, MAX_MICROS))
        _note(wrong, outside, _OUTSIDE)
    for field in SCHEMA:
        if not field.nullable and columns[field.name].null_count:
            _note(wrong, pc.is_null(columns[field.name]), f"the field {field.name} is null")
    sizes = pc.binary_length(columns["entity_type"])
    _note(wrong, pc.equal(sizes, 0), "entity_type is empty")
    _note(wrong, pc.greater(sizes, MAX_ENTITY_TYPE_BYTES), f"entity_type has over {MAX_ENTITY_TYPE_BYTES} bytes")
    _note(wrong, pc.equal(pc.binary_length(columns["event_type"]), 0), "event_type is empty")
    _check_json(columns["data"], wrong)
    return wrong


def without(events: pa.RecordBatch, rows: Collection[int]) -> pa.RecordBatch:
    """A batch without some of its rows."""
    if not rows:
        return events
    right = np.ones(events.num_rows, bool)
    right[list(rows)] = False
    return events.filter(truths(right))


def _convert(source: pa.RecordBatch) -> tuple[pa.RecordBatch, Integers, dict[int, str]]:
    """The rows whose columns can be brought to the types of `SCHEMA`, their numbers, and why the others cannot."""
    damaged = _damaged_rows(source)
    rows = np.delete(np.arange(source.num_rows), list(damaged))
    sound = source.take(integers(rows)) if damaged else source
    wrong: dict[int, str] = {}
    columns = [_column(sound, name, wrong) for name in SCHEMA.names]
    events = without(pa.RecordBatch.from_arrays(columns, schema=SCHEMA), wrong)
    return events, np.delete(rows, list(wrong)), damaged | {int(rows[row]): why for row, why in wrong.items()}


def _batches(source: pa.BufferReader) -> Iterator[pa.RecordBatch]:
    with pa.ipc.open_stream(source) as reader:
        for field in reader.schema:
            _check_type(field.name, field.type)
        for batch in reader:
            batch.validate()  # before anything else: pyarrow's own look at damaged buffers may end the process
            if batch.nbytes > MAX_EXPANDED_BYTES:
                raise ValueError(f"it grows to more than {MAX_EXPANDED_BYTES >> 20} MiB")
            yield batch


def _check_type(name: str, kind: pa.DataType) -> None:
    """Refuses types of which a damaged batch ends the process: pyarrow does not look at them before it follows them."""
    if pa.types.is_union(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        raise ValueError(f"the column {name} holds a {kind}, which is not read here")
    if pa.types.is_dictionary(kind):
        _check_type(name, kind.value_type)
    for index in range(kind.num_fields):
        _check_type(name, kind.field(index).type)


def _damaged_rows(source: pa.RecordBatch) -> dict[int, str]:
    """The rows whose bytes are not what their types say, such as text that is not UTF-8."""
    try:
        source.validate(full=True)
    except READ_ERRORS:
        source.validate()
        damaged: dict[int, str] = {}
        for row in range(source.num_rows):
            try:
                source.slice(row, 1).validate(full=True)
            except READ_ERRORS as error:
                damaged[row] = f"not readable Arrow data: {_first_line(error)}"
        if len(damaged) == source.num_rows or not damaged:
            raise
        return damaged
    return {}


def _column(source: pa.RecordBatch, name: str, wrong: dict[int, str]) -> pa.Array:
    field = SCHEMA.field(name)
    names = source.schema.names
    found = [source.column(names.index(alias)) for alias in _ALIASES.get(name, (name,)) if alias in names]
    if not found:
        if field.nullable:
            return pa.nulls(source.num_rows, field.type)
        raise Unreadable(f"there is no column {name}")
    try:
        if name == "timestamp":
            return _times(found[0], wrong)
        texts = [_texts(column) for column in found]
        return texts[0] if len(texts) == 1 else pc.coalesce(*texts)  # which would copy the one
    except READ_ERRORS as error:
        wrong_type = f"the column {name} is {found[0].type}; {field.type} is expected"
        raise Unreadable(f"{wrong_type}: {_first_line(error)}") from None


def _texts(column: pa.Array) -> pa.StringArray:
    if pa.types.is_dictionary(column.type):
        values = _texts(column.dictionary)
        _check_growth((pc.max(pc.binary_length(values)).as_py() or 0) * len(column))
        return values.take(column.indices)
    if pa.types.is_string_view(column.type):
        views = np.frombuffer(column.buffers()[1], np.int32)[4 * column.offset : 4 * (column.offset + len(column)) : 4]
        _check_growth(int(views.sum(dtype=np.int64)))  # many may be of the same bytes
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise pa.ArrowInvalid("bytes are no text")
    return column.cast(pa.string())


def _check_growth(size: int) -> None:
    if size > MAX_EXPANDED_BYTES:
        raise ValueError(f"it may grow to more than {MAX_EXPANDED_BYTES >> 20} MiB")


def _times(column: pa.Array, wrong: dict[int, str]) -> pa.TimestampArray:
    if not pa.types.is_timestamp(column.type):
        times, bad = parse_times(pc.fill_null(_texts(column), ""))
        wrong |= {row: f"timestamp {reason}" for row, reason in bad.items() if column[row].is_valid}
        return times
    if column.type.unit == "us":
        return column.view(pa.int64()).view(TIMESTAMP)
    numbers = pc.fill_null(column.view(pa.int64()), 0).to_numpy()
    if column.type.unit == "ns":
        micros = np.floor_divide(numbers, 1000)
    else:
        factor = _UNITS[column.type.unit]
        outside = (numbers < -(-MIN_MICROS // factor)) | (numbers > MAX_MICROS // factor)
        _note(wrong, truths(outside), _OUTSIDE)
        micros = np.where(outside, 0, numbers) * factor
    missing = pc.is_null(column).to_numpy(zero_copy_only=False)
    return pa.array(micros, pa.int64(), mask=missing).view(TIMESTAMP)


def _are_within(earliest: int | None, latest: int | None) -> bool:
    return earliest is None or latest is None or (earliest >= MIN_MICROS and latest <= MAX_MICROS)


def _check_json(texts: pa.StringArray, wrong: dict[int, str]) -> None:
    """Notes the rows whose text is not one JSON value."""
    for row, text in enumerate(texts.view(pa.binary()).to_pylist()):
        try:
            if text is not None:
                _read_value(text)
        except (msgspec.DecodeError, RecursionError) as error:
            wrong.setdefault(row, f"data is not JSON text: {_first_line(error)}")


def _note(wrong: dict[int, str], rows: pa.BooleanArray, reason: str) -> None:
    if pc.any(rows, min_count=0).as_py():
        for row in pc.indices_nonzero(pc.fill_null(rows, False)).to_pylist():
            wrong.setdefault(row, reason)


def _bad_row(source: pa.RecordBatch, row: int, line: int, reason: str) -> BadRow:
    return BadRow(line + row, reason, _one_row(source, row))


def _one_row(source: pa.RecordBatch, row: int) -> bytes:
    """A row as an Arrow IPC stream of its own: an event's columns, without what they share with other rows.

    Where that cannot be made of it, its values as text.
    """
    names = [name for name in source.schema.names if name in _KNOWN]
    one = source.select(names).slice(row, 1)
    try:
        alone = pa.RecordBatch.from_arrays([_alone(column) for column in one.columns], names=names)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, alone.schema) as writer:
            writer.write_batch(alone)
        row_bytes: bytes = sink.getvalue().to_pybytes()
        return row_bytes
    except READ_ERRORS:
        return repr(dict(zip(names, map(str, one.columns), strict=True))).encode("utf-8", "replace")


def _alone(value: pa.Array) -> pa.Array:
    """One value without the others of its dictionary or its buffers."""
    if pa.types.is_dictionary(value.type):
        index = value.indices[0].as_py()
        return pa.nulls(1, pa.string()) if index is None else _alone(value.dictionary.slice(index, 1))
    if pa.types.is_string_view(value.type) or pa.types.is_binary_view(value.type):
        return value.cast(pa.large_string() if pa.types.is_string_view(value.type) else pa.large_binary())
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
