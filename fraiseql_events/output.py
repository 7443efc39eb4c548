"""Record batches as text or files: a table to look at, newline-delimited JSON, CSV, Parquet, Arrow IPC."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import text_or_base64
from fraiseql_events.timestamps import format_time

FORMATS: Final = ("table", "ndjson", "csv", "parquet", "arrow")
_BINARY: Final = ("parquet", "arrow")
_ENDINGS: Final = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".parquet": "parquet",
    ".arrow": "arrow", ".arrows": "arrow", ".ipc": "arrow", ".feather": "arrow", ".txt": "table",
}  # fmt: skip
_SHOWN_ROWS: Final = 10
_CELL: Final = 36
#: What one came for is shown whole.
_WIDE: Final = 120


class Writer(Protocol):
    """Takes batches one after the other; `close` writes what comes last."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Writes a batch."""

    def close(self) -> None:
        """Writes what comes last."""


def format_for(kind: str | None, path: Path | None) -> str:
    """The format to write: the one that was named, else by the file's ending, else a table."""
    if path is not None and path.is_dir():
        raise InvalidArgument(f"{path} is a folder: name a file in it")
    if path is not None and not path.parent.is_dir():
        raise InvalidArgument(f"there is no folder {path.parent} to write {path.name} into")
    if kind is not None:
        return kind
    if path is None:
        return "table"
    try:
        return _ENDINGS[path.suffix.lower()]
    except KeyError:
        raise InvalidArgument(
            f"the ending {path.suffix!r} of {path.name} tells no format: add --format with one of {', '.join(FORMATS)}"
        ) from None


def write(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, kind: str, path: Path | None, *, live: bool = False
) -> None:
    """Writes batches to a file, or to standard output; a file is there only once it is whole.

    Args:
        batches: what to write.
        schema: their columns.
        kind: one of `FORMATS`.
        path: the file; None is standard output.
        live: the batches come as things happen: each is shown at once, and Ctrl-C is their end.
    """
    with _sink(kind, path) as sink:
        make = _Lines if live and kind == "table" else _WRITERS[kind]
        writer = make(sink, schema, path)
        try:
            for batch in batches:
                writer.write(batch)
                if live:
                    sink.flush()
        except KeyboardInterrupt:
            if not live:
                raise
        writer.close()


@contextmanager
def _sink(kind: str, path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        if kind in _BINARY and sys.stdout.isatty():
            raise InvalidArgument(f"{kind} is not for a terminal: name a file with -o, or a pipe")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with part.open("wb") as sink:
            yield sink
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Ndjson:
    """One JSON object a line; JSON text in `data` becomes the value that it is."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        self._sink = sink

    def write(self, batch: pa.RecordBatch) -> None:
        columns: dict[str, list[Any]] = {}
        for name in batch.schema.names:
            columns |= _json_columns(name, batch.column(name))
        encode = msgspec.json.Encoder().encode
        lines = [encode(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        self._sink.write(b"".join([line + b"\n" for line in lines]))

    def close(self) -> None:
        pass


class _Csv:
    """Times as RFC 3339; bytes as text where they are UTF-8, else in base64 in a column of their own."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        plain = [_plain(field.name, pa.array([], field.type)) for field in schema]
        self._schema = pa.schema([(name, column.type) for columns in plain for name, column in columns.items()])
        self._writer = pa.csv.CSVWriter(sink, self._schema)

    def write(self, batch: pa.RecordBatch) -> None:
        columns: dict[str, pa.Array] = {}
        for name in batch.schema.names:
            columns |= _plain(name, batch.column(name))
        self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class _Parquet:
    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        self._writer = pq.ParquetWriter(sink, schema, compression="zstd")

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


class _Arrow:
    """Arrow IPC: the file format for a file, the stream format for a pipe."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        make = pa.ipc.new_stream if path is None else pa.ipc.new_file
        self._writer = make(sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


class _Table:
    """The first and the last rows, however many there are between."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        self._sink = sink
        self._names = schema.names
        self._first: list[tuple[str, ...]] = []
        self._last: deque[tuple[str, ...]] = deque(maxlen=_SHOWN_ROWS)
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        room = 2 * _SHOWN_ROWS - len(self._first)
        if room:
            self._first += _cells(batch.slice(0, room))
        rest = batch.slice(min(room, batch.num_rows))
        self._last += _cells(rest.slice(max(0, rest.num_rows - _SHOWN_ROWS)))

    def close(self) -> None:
        left_out = self._rows - len(self._first) - len(self._last)
        first, last = self._first, list(self._last)
        if left_out:
            left_out += len(first) - _SHOWN_ROWS
            first = first[:_SHOWN_ROWS]
        rows = first + last
        widths = [max(map(len, column)) for column in zip(self._names, *rows, strict=True)]
        lines = [_line(self._names, widths), "  ".join("─" * width for width in widths)]
        lines += [_line(row, widths) for row in first]
        if left_out:
            lines.append(f"… {left_out:,} more …")
        lines += [_line(row, widths) for row in last]
        lines.append(f"{self._rows:,} {'row' if self._rows == 1 else 'rows'}")
        self._sink.write(("\n".join(lines) + "\n").encode())


class _Lines:
    """Each row as it comes, in columns as wide as the first rows ask for."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, path: Path | None) -> None:
        self._sink = sink
        self._names = schema.names
        self._widths: list[int] = []

    def write(self, batch: pa.RecordBatch) -> None:
        rows = _cells(batch)
        lines = [_line(row, self._widths) for row in rows] if self._widths else self._begin(rows)
        self._sink.write(("\n".join(lines) + "\n").encode())

    def close(self) -> None:
        pass

    def _begin(self, rows: list[tuple[str, ...]]) -> list[str]:
        self._widths = [max(map(len, column)) for column in zip(self._names, *rows, strict=True)]
        rule = "  ".join("─" * width for width in self._widths)
        return [_line(self._names, self._widths), rule, *(_line(row, self._widths) for row in rows)]


_WRITERS: Final[dict[str, Callable[[BinaryIO, pa.Schema, Path | None], Writer]]] = {
    "table": _Table, "ndjson": _Ndjson, "csv": _Csv, "parquet": _Parquet, "arrow": _Arrow,
}  # fmt: skip


def _json_columns(name: str, column: pa.Array) -> dict[str, list[Any]]:
    if pa.types.is_timestamp(column.type):
        return {name: _texts_of_times(column)}
    if pa.types.is_binary(column.type):
        return _texts_of_bytes(name, column)
    if name == "data":
        return {name: [_one_line(text) for text in column.to_pylist()]}
    return {name: column.to_pylist()}


def _plain(name: str, column: pa.Array) -> dict[str, pa.Array]:
    if pa.types.is_timestamp(column.type):
        return {name: pa.array(_texts_of_times(column), pa.string())}
    if pa.types.is_binary(column.type):
        return {key: pa.array(texts, pa.string()) for key, texts in _texts_of_bytes(name, column).items()}
    return {name: column}


def _texts_of_bytes(name: str, column: pa.Array) -> dict[str, list[str | None]]:
    """Two columns: the text where the bytes are UTF-8, else base64."""
    pairs = [text_or_base64(value) for value in column.to_pylist()]
    return {name: [text for text, _ in pairs], f"{name}_base64": [encoded for _, encoded in pairs]}


def _one_line(text: str) -> msgspec.Raw:
    value = text.encode()
    return msgspec.Raw(msgspec.json.format(value, indent=-1) if b"\n" in value or b"\r" in value else value)


def _texts_of_times(column: pa.Array) -> list[str | None]:
    return [None if micros is None else format_time(micros) for micros in column.view(pa.int64()).to_pylist()]


def _cells(batch: pa.RecordBatch) -> list[tuple[str, ...]]:
    columns = [
        _texts_of_times(column) if pa.types.is_timestamp(column.type) else column.to_pylist()
        for column in batch.columns
    ]
    widths = [_WIDE if name == "reason" else _CELL for name in batch.schema.names]
    return [tuple(map(_cell, row, widths)) for row in zip(*columns, strict=True)]


def _cell(value: object, width: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = "" if value is None else " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _line(cells: Iterable[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
