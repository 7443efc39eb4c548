"""A Delta table beside the events: rows that belong to messages of the stream, committed before the events are.

A crash between the two commits leaves rows of messages that the events have not reached. They are removed at the next
start: the messages are read again, or others have come in their place.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.errors import StoreError
from fraiseql_events.log.faults import STORE_ERRORS, first_line
from fraiseql_events.log.storage import Storage
from fraiseql_events.log.table import NewFile, Table

SEQUENCE: Final = "sequence"


class SideTable:
    """Rows of messages, in the stream's order.

    Args:
        storage: its folder.
        schema: its columns; `sequence` is the message's, in its epoch.
        description: what another reader of the table is told.

    Raises:
        StoreError: it cannot be opened or created.
    """

    def __init__(self, storage: Storage, schema: pa.Schema, description: str) -> None:
        self.table = Table(storage, schema, description=description)
        self._schema = schema
        self._written: tuple[StreamPosition, NewFile] | None = None

    def begin(self, reached: StreamPosition | None) -> None:
        """Removes the rows of messages that the events have not reached.

        Raises:
            StoreError: it cannot be written.
        """
        last = (reached.epoch, reached.sequence) if reached is not None else (0, 0)
        orphans = [path for path in self._paths() if _place_of(path) > last]
        if orphans:
            self.table.commit([], orphans, numbers={SEQUENCE: last[1], "epoch": last[0]})

    def commit(self, rows: pa.RecordBatch, reached: StreamPosition) -> None:
        """Adds rows, in the stream's order, of messages up to a position; those that are there already are left out.

        Raises:
            StoreError: nothing was added, or it is not known; the same call may be made again.
        """
        if rows.num_rows == 0:
            return
        if self._written is None or self._written[0] != reached:  # a second try commits the file of the first
            file = self._write(rows, reached)
            if file is None:
                return
            self._written = reached, file
        self.table.commit([self._written[1]], numbers={SEQUENCE: reached.sequence, "epoch": reached.epoch})
        self._written = None

    def _write(self, rows: pa.RecordBatch, reached: StreamPosition) -> NewFile | None:
        known = self.table.number(SEQUENCE) or 0
        if (self.table.number("epoch") or 0) == reached.epoch:
            rows = rows.filter(pc.field(SEQUENCE) > known)
        if rows.num_rows == 0:
            return None
        first = rows.column(SEQUENCE)[0].as_py()
        path = f"part-{reached.epoch:06d}-{first:020d}-{uuid.uuid4().hex}.parquet"
        try:
            return self.table.write_file(path, [rows], partition={}, bounds=(SEQUENCE,))
        except STORE_ERRORS as error:
            raise StoreError(f"{self.table.storage.url} cannot be written: {first_line(error)}") from error

    def read(self, until: StreamPosition) -> Iterator[pa.RecordBatch]:
        """The rows of the messages up to a position, in the order in which the messages were read."""
        for path in self._paths():
            epoch, _ = _place_of(path)
            if epoch > until.epoch:
                return
            with self.table.storage.open_input(path) as source:
                for batch in pq.ParquetFile(source, page_checksum_verification=True).iter_batches(1000):
                    kept = batch.filter(pc.field(SEQUENCE) <= until.sequence) if epoch == until.epoch else batch
                    if kept.num_rows:
                        yield kept.cast(self._schema)

    def _paths(self) -> list[str]:
        return sorted(action["path"] for action in self.table.add_actions())


def _place_of(path: str) -> tuple[int, int]:
    """The epoch and the first sequence that a file's name tells."""
    _, epoch, sequence, _ = path.split("-", 3)
    return int(epoch), int(sequence)
