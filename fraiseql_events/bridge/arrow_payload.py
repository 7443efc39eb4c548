"""Arrow IPC payloads: a stream of record batches whose columns are an event's fields.

Columns are found by name and cast to the contract's types: strings of any width or encoding, times of any unit and
zone. A row that is no event is a bad row by itself; a stream that cannot be read is one bad payload.
"""

from __future__ import annotations

from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.bridge.unreadable import BadRow, Unreadable
from fraiseql_events.event import MAX_ENTITY_TYPE_BYTES, SCHEMA
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS, TIMESTAMP, parse_times

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_ALIASES: Final = {"event_id": ("id", "event_id"), "org_id": ("org_id", "tenant_id")}
_read_lines: Final = msgspec.json.Decoder(msgspec.Raw).decode_lines
_read_value: Final = msgspec.json.Decoder(msgspec.Raw).decode
_READ_ERRORS: Final = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError, EOFError)


def is_arrow(payload: bytes) -> bool:
    """Whether the first bytes are those of an Arrow IPC stream."""
    return payload.startswith(_CONTINUATION)


def read_arrow(payload: bytes) -> tuple[list[pa.RecordBatch], list[BadRow]]:
    """Reads an Arrow IPC stream of events.

    Returns:
        Batches of `SCHEMA`, and the rows that are no events (their payload: an Arrow IPC stream of that one row).

    Raises:
        Unreadable: the stream is broken, or lacks a column.
    """
    try:
        return _read_batches(payload)
    except _READ_ERRORS as error:
        raise Unreadable(f"not a readable Arrow IPC stream: {_first_line(error)}") from None


def _read_batches(payload: bytes) -> tuple[list[pa.RecordBatch], list[BadRow]]:
    events: list[pa.RecordBatch] = []
    bad: list[BadRow] = []
    seen = 0
    with pa.ipc.open_stream(payload) as reader:
        for source in reader:
            source.validate(full=True)
            batch, wrong = check_batch(source)
            bad += [BadRow(seen + row + 1, reason, _one_row(source, row)) for row, reason in sorted(wrong.items())]
            events.append(batch)
            seen += source.num_rows
    return events, bad


def check_batch(source: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """A batch's events (`SCHEMA`), and the reason for each row that is none.

    Raises:
        Unreadable: a column is missing, or of a type that is not its own.
    """
    wrong: dict[int, str] = {}
    columns = {name: _column(source, name, wrong) for name in SCHEMA.names}
    for field in SCHEMA:
        if not field.nullable:
            _note(wrong, pc.is_null(columns[field.name]), f"the field {field.name} is null")
    sizes = pc.binary_length(columns["entity_type"])
    _note(wrong, pc.equal(sizes, 0), "entity_type is empty")
    _note(wrong, pc.greater(sizes, MAX_ENTITY_TYPE_BYTES), f"entity_type has over {MAX_ENTITY_TYPE_BYTES} bytes")
    _note(wrong, pc.equal(pc.binary_length(columns["event_type"]), 0), "event_type is empty")
    _check_json(columns["data"], wrong)
    arrays = list(columns.values())
    if wrong:
        right = pa.array([row not in wrong for row in range(source.num_rows)], pa.bool_())
        arrays = [array.filter(right) for array in arrays]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), wrong


def _column(source: pa.RecordBatch, name: str, wrong: dict[int, str]) -> pa.Array:
    field = SCHEMA.field(name)
    found = [source.column(alias) for alias in _ALIASES.get(name, (name,)) if alias in source.schema.names]
    if not found:
        if field.nullable:
            return pa.nulls(source.num_rows, field.type)
        raise Unreadable(f"there is no column {name}")
    column = found[0] if len(found) == 1 else pc.coalesce(*found)
    try:
        return _times(column, wrong) if name == "timestamp" else _texts(column)
    except _READ_ERRORS as error:
        raise Unreadable(
            f"the column {name} is {column.type}; {field.type} is expected: {_first_line(error)}"
        ) from None


def _texts(column: pa.Array) -> pa.StringArray:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise pa.ArrowInvalid("bytes are no text")
    return column.cast(pa.string())


def _times(column: pa.Array, wrong: dict[int, str]) -> pa.TimestampArray:
    if not pa.types.is_timestamp(column.type):
        times, bad = parse_times(pc.fill_null(_texts(column), ""))
        wrong |= {row: f"timestamp {reason}" for row, reason in bad.items() if column[row].is_valid}
        return times
    if column.type.unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    zoned = column.cast(pa.timestamp("us", column.type.tz), safe=column.type.unit != "ns")
    times = zoned.view(pa.int64())
    outside = pc.or_(pc.less(times, MIN_MICROS), pc.greater(times, MAX_MICROS))
    _note(wrong, outside, "timestamp is outside the years 0001 to 9999 in UTC")
    return times.view(TIMESTAMP)


def _check_json(texts: pa.StringArray, wrong: dict[int, str]) -> None:
    """Notes the rows whose text is not one JSON value; all at once where no text holds a line break."""
    if not pc.any(pc.match_substring(texts, "\n"), min_count=0).as_py():
        values = [text for text in texts.cast(pa.binary()).to_pylist() if text is not None]
        try:
            if len(_read_lines(b"\n".join(values))) == len(values):
                return
        except (msgspec.DecodeError, RecursionError):
            pass
    for row, text in enumerate(texts.to_pylist()):
        try:
            if text is not None:
                _read_value(text)
        except (msgspec.DecodeError, RecursionError) as error:
            wrong.setdefault(row, f"data is not JSON text: {_first_line(error)}")


def _note(wrong: dict[int, str], rows: pa.BooleanArray, reason: str) -> None:
    if pc.any(rows, min_count=0).as_py():
        for row in pc.indices_nonzero(pc.fill_null(rows, False)).to_pylist():
            wrong.setdefault(row, reason)


def _one_row(source: pa.RecordBatch, row: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, source.schema) as writer:
        writer.write_batch(source.slice(row, 1))
    row_bytes: bytes = sink.getvalue().to_pybytes()
    return row_bytes


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
