"""Events on their way to ClickHouse: in a temporary file that has no name, and goes with the process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from typing import Final, Literal

import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.errors import SinkUnavailable

#: What a block is sent in.
BATCH_ROWS: Final = 10_000
_PIECE_BYTES: Final = 1 << 20


class Spool(Closing):
    """Batches of one schema in Arrow's stream format, cut anew into batches of one size, however they came.

    ClickHouse recognises a block by its batches: the same rows, cut otherwise, would be another one.

    Args:
        compression: of the batches; None for none.

    Attributes:
        rows: how many it has.
        bytes: how much memory they took.
        names: the columns.

    Raises:
        SinkUnavailable: from what writes: there is no room for temporary files.
    """

    def __init__(self, compression: Literal["lz4"] | None) -> None:
        self._options = pa.ipc.IpcWriteOptions(compression=compression)
        self._file = tempfile.TemporaryFile(prefix="fraiseql-events-", buffering=0)  # noqa: SIM115 - until it is closed
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
        if self._writer is not None:
            self._writer.close()

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
        self._file.close()

    def _write(self, rows: int) -> None:
        """So many of the rows that wait."""
        if rows == 0:
            return
        waiting = pa.Table.from_batches(self._waiting)
        try:
            if self._writer is None:
                target = pa.PythonFile(self._file, mode="w")
                self._writer = pa.ipc.new_stream(target, waiting.schema, options=self._options)
            for start in range(0, rows, BATCH_ROWS):
                (batch,) = waiting.slice(start, min(BATCH_ROWS, rows - start)).combine_chunks().to_batches()
                self._writer.write_batch(batch)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise SinkUnavailable(f"a block cannot be written to {tempfile.gettempdir()}: {why}") from error
        self._waiting = waiting.slice(rows).to_batches()
        self._waiting_rows -= rows
