"""Events on their way to ClickHouse: in a temporary file that has no name, and goes with the process."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
from collections.abc import Generator
from typing import Any, BinaryIO, Final, Literal

import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.errors import SinkUnavailable

#: What a block is sent in.
BATCH_ROWS: Final = 10_000
_PIECE_BYTES: Final = 1 << 20


@contextlib.contextmanager
def no_room_is_told() -> Generator[None, None, None]:
    """What the system says of a temporary file, as a trouble that may pass."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise SinkUnavailable(f"a block cannot be written to {tempfile.gettempdir()}: {why}") from error


class Whole(io.FileIO):
    """Writes all that it is given, or raises: a file on a disk that is nearly full takes a part, and says how much."""

    def write(self, data: Any, /) -> int:
        """Writes all of it; how many bytes that is."""
        rest = memoryview(data).cast("B")
        written = rest.nbytes
        while rest:
            rest = rest[super().write(rest) :]
        return written


class Files(Closing):
    """Temporary files that have no name, used again: room that the system has found once is not looked for anew."""

    def __init__(self) -> None:
        self._free: list[BinaryIO] = []
        self._closed = False
        self._lock = threading.Lock()

    def take(self) -> BinaryIO:
        """One that nobody uses; it is given back when it is done with.

        Raises:
            SinkUnavailable: none can be made.
        """
        with self._lock:
            file = self._free.pop() if self._free else None
        if file is None:
            with no_room_is_told():
                return tempfile.TemporaryFile(prefix="fraiseql-events-", buffering=0)
        file.seek(0)
        return file

    def give_back(self, file: BinaryIO) -> None:
        """Takes it back; after the end it goes."""
        with self._lock:
            if self._closed:
                file.close()
            else:
                self._free.append(file)

    def close(self) -> None:
        """Drops those that nobody uses, and from now on those that are given back; again does nothing."""
        with self._lock:
            self._closed = True
            for file in self._free:
                file.close()
            self._free.clear()


class Spool(Closing):
    """Batches of one schema in Arrow's stream format, cut anew into batches of one size, however they came.

    ClickHouse recognises a block by its batches: the same rows, cut otherwise, would be another one.

    Args:
        compression: of the batches; None for none.
        files: where its file is from.

    Attributes:
        rows: how many it has.
        bytes: how much memory they took.
        names: the columns.

    Raises:
        SinkUnavailable: from what writes: there is no room for temporary files.
    """

    def __init__(self, compression: Literal["lz4"] | None, files: Files) -> None:
        self._options = pa.ipc.IpcWriteOptions(compression=compression)
        self._files = files
        self._file = files.take()
        self._closed = False
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self.rows = self.bytes = 0
        self.names: list[str] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes a batch."""
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        self.names = batch.schema.names
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= BATCH_ROWS:
            self._write(self._waiting_rows // BATCH_ROWS * BATCH_ROWS)

    def finish(self) -> None:
        """Ends it: nothing more is added."""
        self._write(self._waiting_rows)
        with no_room_is_told():
            if self._writer is not None:
                self._writer.close()
            self._file.truncate()

    @property
    def path(self) -> str:
        """By which this process reads it (POSIX)."""
        return f"/dev/fd/{self._file.fileno()}"

    def pieces(self) -> Generator[bytes, None, None]:
        """What is in it, once: what cannot be read again is not sent twice behind our back."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            yield piece

    def table(self) -> pa.Table:
        """All of it in memory."""
        self._file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(self._file, mode="r")) as reader:
            return reader.read_all()

    def close(self) -> None:
        """Drops it; again does nothing."""
        if not self._closed:
            self._closed = True
            self._files.give_back(self._file)

    def _write(self, rows: int) -> None:
        """So many of the rows that wait."""
        if rows == 0:
            return
        waiting = pa.Table.from_batches(self._waiting)
        with no_room_is_told():
            if self._writer is None:
                whole = Whole(self._file.fileno(), "r+", closefd=False)
                target = pa.PythonFile(whole, mode="w")
                self._writer = pa.ipc.new_stream(target, waiting.schema, options=self._options)
            for start in range(0, rows, BATCH_ROWS):
                (batch,) = waiting.slice(start, min(BATCH_ROWS, rows - start)).combine_chunks().to_batches()
                self._writer.write_batch(batch)
        self._waiting = waiting.slice(rows).to_batches()
        self._waiting_rows -= rows
