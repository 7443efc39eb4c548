"""Batches of a stream, put together to the blocks that ClickHouse is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

#: A block has so many rows at the most: what is larger comes no faster.
MOST_ROWS: Final = 1_000_000
#: Nor more than so many bytes, of which several blocks are in memory.
MOST_BYTES: Final = 256 * 2**20
#: What came first waits so long for more.
WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """Events that are inserted together.

    Attributes:
        after_offset: the offset before its first; of the events in between, none is wanted.
        offset: that of its last event.
        batches: the events, with their offsets.
    """

    after_offset: int
    offset: int
    batches: tuple[pa.RecordBatch, ...]

    @property
    def events(self) -> int:
        """How many events it has."""
        return sum(batch.num_rows for batch in self.batches)


class Collector:
    """Collects batches until a block of them is due.

    Args:
        after_offset: where the first block begins.
    """

    def __init__(self, after_offset: int) -> None:
        self._after = after_offset
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._since = 0.0

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes a batch with rows, which is cut where a block would have too many."""
        if not self._batches:
            self._since = time.monotonic()
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing."""
        return not self._batches

    @property
    def is_full(self) -> bool:
        """Whether it should not be given more."""
        return self._rows >= MOST_ROWS or self._bytes >= MOST_BYTES

    def is_due(self, *, ended: bool) -> bool:
        """Whether what it has should be inserted."""
        if not self._batches:
            return False
        return ended or self.is_full or time.monotonic() - self._since >= WAIT_SECONDS

    def take(self) -> Block:
        """What it has, as a block."""
        rows, kept = 0, 0
        for batch in self._batches:
            if rows + batch.num_rows > MOST_ROWS and rows:
                break
            rows, kept = rows + batch.num_rows, kept + 1
        batches, rest = self._batches[:kept], self._batches[kept:]
        block = Block(self._after, batches[-1].column("offset")[-1].as_py(), tuple(batches))
        self._after, self._batches = block.offset, []
        self._rows = self._bytes = 0
        for batch in rest:
            self.add(batch)
        return block
