"""A scan: history, then tail, of one moment, in offset order, with bounded memory whatever the length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fraiseql_events.arrays import integers
from fraiseql_events.log.ahead import Batches
from fraiseql_events.log.files import count_rows, read_files
from fraiseql_events.log.filter import Filter
from fraiseql_events.log.snapshot import Snapshot
from fraiseql_events.log.storage import Storage
from fraiseql_events.log.tail import Chunk

#: Rows that all entity types of a scan together hold in memory, about.
MERGE_ROWS: Final = 32 * 1024
MIN_BATCH_ROWS: Final = 1024
MAX_BATCH_ROWS: Final = 8 * 1024
#: So many files may be opened to count a range that cuts through them.
MAX_COUNTED_FILES: Final = 16


@dataclass(frozen=True, slots=True)
class View:
    """The whole log at one moment: files for the offsets before `seam`, chunks from there to `end`."""

    storage: Storage
    snapshot: Snapshot
    chunks: Sequence[Chunk]
    seam: int
    end: int

    def scan(self, condition: Filter) -> Iterator[pa.RecordBatch]:
        """What passes, in offset order, as batches of `condition.output_schema`, none of them empty."""
        if condition.limit is None:
            yield from self._scan_all(condition)
        elif condition.limit > 0:
            left = condition.limit
            for batch in self._scan_all(condition):
                yield batch.slice(0, left)
                left -= batch.num_rows
                if left <= 0:
                    return

    def count(self, condition: Filter) -> int | None:
        """How many events pass, where that is known without reading much; None where it is not."""
        old = self._before_seam(condition)
        files = [file for group in self.snapshot.select(old).values() for file in group]
        cut = [file for file in files if not old.holds_all(file.span)]
        if len(cut) > MAX_COUNTED_FILES or (condition.event_types is not None and len(files) > MAX_COUNTED_FILES):
            return None
        rows: int = sum(count_rows(self.storage, file, old) for file in files)
        rows += sum(batch.num_rows for batch in self._scan_chunks(condition))
        return rows if condition.limit is None else min(rows, condition.limit)

    def _scan_all(self, condition: Filter) -> Iterator[pa.RecordBatch]:
        old = self._before_seam(condition)
        selected = self.snapshot.select(old)
        rows = max(MIN_BATCH_ROWS, min(MAX_BATCH_ROWS, MERGE_ROWS // max(1, len(selected))))
        streams = [read_files(self.storage, files, old, batch_rows=rows) for files in selected.values()]
        yield from streams[0] if len(streams) == 1 else merge(streams)
        yield from self._scan_chunks(condition)

    def _before_seam(self, condition: Filter) -> Filter:
        """The condition on what is read from files."""
        return replace(condition, before=min(condition.before, self.seam))

    def _scan_chunks(self, condition: Filter) -> Iterator[pa.RecordBatch]:
        for chunk in self.chunks:
            if chunk.span is None or chunk.end <= self.seam or not condition.may_hold(chunk.span):
                continue
            batch = chunk.events if condition.entity is None else chunk.of_entity(condition.entity)
            if batch is not None and (rest := condition.condition(chunk.span)) is not None:
                batch = batch.filter(rest)
            if batch is not None and batch.num_rows:
                yield batch.select(condition.output_schema.names)


def merge(streams: Sequence[Batches]) -> Iterator[pa.RecordBatch]:
    """Several streams, each in offset order, as one in offset order.

    Of each stream one batch is held. All rows up to the least of their last offsets are complete: they are taken from
    every batch, put together and sorted.
    """
    iterators = list(streams)
    try:
        heads: list[pa.RecordBatch | None] = [next(stream, None) for stream in iterators]
        while any(head is not None for head in heads):
            complete = min(_offsets(head)[-1] for head in heads if head is not None)
            parts = []
            for index, head in enumerate(heads):
                if head is None:
                    continue
                rows = int(np.searchsorted(_offsets(head), complete, side="right"))
                if rows:
                    parts.append(head.slice(0, rows))
                heads[index] = head.slice(rows) if rows < head.num_rows else next(iterators[index], None)
            yield _sorted(parts)
    finally:
        for stream in iterators:  # where one failed, the others would be held by the error's traceback
            stream.close()


def _offsets(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(batch.column("offset").to_numpy(zero_copy_only=True))


def _sorted(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    together = pa.concat_batches(parts)
    return together.take(integers(_order(_offsets(together))))


def _order(offsets: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows in offset order; where no offset between the least and the greatest is missing, each has its place."""
    first, rows = offsets.min(), len(offsets)
    if offsets.max() - first + 1 != rows:
        return np.argsort(offsets, kind="stable")
    order = np.empty(rows, np.int64)
    order[offsets - first] = np.arange(rows)
    return order
