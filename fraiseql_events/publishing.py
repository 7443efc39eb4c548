"""Files of events on their way into the stream: newline-delimited JSON, Parquet, Arrow IPC.

Every event is checked by the bridge's own decoder before it is sent, so that a file does not become dead letters. A
file is checked as a whole first: when something in it is wrong, nothing of it is published.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from fraiseql_events.bridge.arrow_payload import READ_ERRORS, check_batch
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.publisher import Message, subject_of
from fraiseql_events.bridge.unreadable import Unreadable
from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import SCHEMA, DeadLetter
from fraiseql_events.event_columns import check_columns
from fraiseql_events.json_text import json_text
from fraiseql_events.timestamps import format_time

CHUNK: Final = 2_000
_PARQUET: Final = b"PAR1"
_ARROW_FILE: Final = b"ARROW1"
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"


def read_messages(path: Path) -> Iterator[Message]:
    """The events of a file as messages, the file having been checked from end to end.

    Raises:
        InvalidArgument: the first thing that is wrong, and where.
    """
    if path.is_dir():
        raise InvalidArgument(f"{path} is a folder: name a file of events")
    if path.exists() and not path.is_file():
        return _messages_of(path)  # a pipe by another name: it can be read once only
    for _ in _messages_of(path):
        pass
    return _messages_of(path)


def read_messages_once(source: BinaryIO, name: str) -> Iterator[Message]:
    """The events of a pipe as messages; those before a wrong one have been yielded when it is found.

    Raises:
        InvalidArgument: what is wrong, and where.
    """
    head: bytes = cast("io.BufferedReader", source).peek(8)[:8]
    if head.startswith((_PARQUET, _ARROW_FILE)):
        yield from _columnar(pa.BufferReader(source.read()), head, name)
    elif head.startswith(_ARROW_STREAM):
        yield from _columnar(source, head, name)
    else:
        yield from _json_lines(source, name)


def stream_of(status: Mapping[str, Any], nats: str | None = None) -> StreamOptions:
    """The stream that a server reads, as its status tells it, to publish to; at another NATS server if one is named."""
    return StreamOptions(nats=nats or status["nats"], stream=status["stream"])


def frame_messages(frame: Any) -> Iterator[Message]:
    """The rows of a frame as messages, all of them having been checked; its columns are an event's fields.

    Args:
        frame: anything that gives an Arrow stream: a Polars or pandas frame, an Arrow table. Its `data` is JSON text;
            structs and dictionaries become that, exactly.

    Raises:
        InvalidArgument: it is no frame; all columns that are missing; or the first row that is no event, and why.
    """
    if not hasattr(frame, "__arrow_c_stream__"):
        raise InvalidArgument(f"{type(frame).__name__} is no frame: Polars, pandas or Arrow is expected")
    frame = _without_objects(frame)
    try:
        table = pa.table(frame)
    except READ_ERRORS as error:
        raise InvalidArgument(f"the frame cannot be read as Arrow: {_first_line(error)}") from error
    batches = [part for batch in table.to_batches() for part in _cut(batch)] or [_empty(table.schema)]
    for _ in _checked(batches, "the frame"):
        pass
    return _checked(batches, "the frame")


def _without_objects(frame: Any) -> Any:
    """A frame whose `data` are no dictionaries any more: of these Arrow would make one struct of all their fields."""
    column: Any = frame["data"] if "data" in getattr(frame, "columns", ()) else None
    if str(getattr(column, "dtype", "")).lower() != "object":
        return frame
    missing = column.isna() if hasattr(column, "isna") else column.is_null()
    values = [None if null else value for value, null in zip(column.to_list(), missing.to_list(), strict=True)]
    texts = _texts(values, "the frame", 0)
    if hasattr(frame, "with_columns"):
        return frame.with_columns(type(column)("data", texts))
    return frame.assign(data=texts)


def _texts(values: Iterable[Any], name: str, seen: int) -> list[str | None]:
    """Values as JSON text; what is text is taken for that already."""
    texts: list[str | None] = []
    for row, value in enumerate(values, seen + 1):
        try:
            texts.append(value if value is None or isinstance(value, str) else json_text(value))
        except InvalidArgument as error:
            raise InvalidArgument(f"{name}, row {row}: data: {error}") from None
    return texts


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, CHUNK) for start in range(0, batch.num_rows, CHUNK))


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file of newline-delimited JSON, Parquet or Arrow IPC, each with where it stands.

    Raises:
        InvalidArgument: the file cannot be read.
    """
    try:
        with path.open("rb") as source:
            head = source.peek(8)[:8]
            if head.startswith((_PARQUET, _ARROW_FILE, _ARROW_STREAM)):
                rows = (row for batch in _batches(source, head) for row in batch.to_pylist())
                yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
                return
            for number, line in enumerate(source, 1):
                if line.strip():
                    yield f"{path}, line {number}", msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidArgument(
            f"{path}, line {number}: {error}; newline-delimited JSON, Parquet or Arrow IPC is expected"
        ) from error
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror or error}") from error
    except READ_ERRORS as error:
        raise InvalidArgument(f"{path}: {_first_line(error)}") from error


def _messages_of(path: Path) -> Iterator[Message]:
    try:
        with path.open("rb") as source:
            yield from read_messages_once(source, str(path))
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror or error}") from error


def _json_lines(source: BinaryIO, name: str) -> Iterator[Message]:
    numbered = ((number, line.strip()) for number, line in enumerate(source, 1))
    lines = ((number, line) for number, line in numbered if line)
    while chunk := list(islice(lines, CHUNK)):
        numbers, payloads = [number for number, _ in chunk], [line for _, line in chunk]
        decoded = decode(Messages.of(numbers, [b""] * len(chunk), [0] * len(chunk), payloads))
        good = len(chunk) if not decoded.dead else numbers.index(decoded.dead[0].sequence)
        entities = decoded.events.column("entity_type").to_pylist()
        types = decoded.events.column("event_type").to_pylist()
        for index in range(good):
            yield subject_of(entities[index], types[index]), payloads[index]
        if decoded.dead:
            raise InvalidArgument(f"{name}, line {decoded.dead[0].sequence}: {_explain(decoded.dead[0])}")


def _explain(letter: DeadLetter) -> str:
    """The reason, and what the file may be instead."""
    if letter.sequence == 1 and letter.payload.strip() in (b"{", b"["):
        return f"{letter.reason}; write one event a line"
    if letter.sequence == 1 and not letter.payload.lstrip().startswith(b"{"):
        return f"{letter.reason}; newline-delimited JSON, Parquet or Arrow IPC is expected"
    return letter.reason


def _columnar(source: BinaryIO, head: bytes, name: str) -> Iterator[Message]:
    yield from _checked(_batches(source, head), name)


def _checked(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[Message]:
    seen = 0
    try:
        for batch in batches:
            check_columns(batch.schema.names, name)
            events, bad = check_batch(_with_texts(batch, name, seen))
            good = min(bad) if bad else batch.num_rows
            yield from _rows(events.slice(0, good))
            if bad:
                raise InvalidArgument(f"{name}, row {seen + good + 1}: {bad[good]}")
            seen += batch.num_rows
    except InvalidArgument:
        raise
    except (Unreadable, *READ_ERRORS) as error:
        raise InvalidArgument(f"{name}: {_first_line(error)}") from error


def _with_texts(batch: pa.RecordBatch, name: str, seen: int) -> pa.RecordBatch:
    """A batch whose `data` is text, where it was structs, maps or lists."""
    place = batch.schema.get_field_index("data")
    if place < 0 or not pa.types.is_nested(batch.column(place).type):
        return batch
    values = batch.column(place).to_pylist(maps_as_pydicts="strict")
    return batch.set_column(place, "data", pa.array(_texts(values, name, seen), pa.string()))


def _batches(source: BinaryIO, head: bytes) -> Iterator[pa.RecordBatch]:
    if head.startswith(_PARQUET):
        yield from pq.ParquetFile(source).iter_batches(CHUNK)
    elif head.startswith(_ARROW_FILE):
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from pa.ipc.open_stream(source)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["it cannot be read"])[0]


def _rows(events: pa.RecordBatch) -> Iterator[Message]:
    """Events as JSON objects, in FraiseQL's own spelling."""
    columns = {name: events.column(name).to_pylist() for name in SCHEMA.names if name != "timestamp"}
    columns["timestamp"] = [format_time(micros) for micros in events.column("timestamp").view(pa.int64()).to_pylist()]
    columns["data"] = [msgspec.Raw(text.encode()) for text in columns["data"]]
    columns["id"] = columns.pop("event_id")
    encode = msgspec.json.Encoder().encode
    for row in zip(*columns.values(), strict=True):
        event = dict(zip(columns, row, strict=True))
        yield subject_of(event["entity_type"], event["event_type"]), encode(event)
