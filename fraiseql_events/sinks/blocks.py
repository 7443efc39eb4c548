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
#: So many rows do not wait for more, if ClickHouse is idle.
ENOUGH_ROWS: Final = 250_000
#: Fewer wait so long, from when the first came.
WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """Events that are inserted together.

    Attributes:
        after_offset: the offset before its first; of the events in between, none is wanted.
        offset: that of its last event.
        history: what that is an offset of, as `EventStream.history` told it then.
        batches: the events, with their offsets.
    """

    after_offset: int
    offset: int
    history: str
    batches: tuple[pa.RecordBatch, ...]

    @property
    def events(self) -> int:
        """How many events it has."""
        return sum(batch.num_rows for batch in self.batches)


class Collector:
    """Collects batches until a block of them is due.

    Args:
        after_offset: where the first block begins.

    Attributes:
        rows: how many it has.
    """

    def __init__(self, after_offset: int) -> None:
        self._after = after_offset
        self._batches: list[tuple[pa.RecordBatch, str]] = []
        self.rows = self._bytes = 0
        self._since = 0.0

    def add(self, batch: pa.RecordBatch, history: str) -> None:
        """Takes a batch with rows, and what its last offset is an offset of."""
        if not self._batches:
            self._since = time.monotonic()
        self._batches.append((batch, history))
        self.rows += batch.num_rows
        self._bytes += batch.nbytes

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing."""
        return not self._batches

    @property
    def is_full(self) -> bool:
        """Whether it should not be given more."""
        return self.rows >= MOST_ROWS or self._bytes >= MOST_BYTES

    def is_due(self, *, ended: bool) -> bool:
        """Whether what it has should be inserted."""
        if not self._batches:
            return False
        return ended or self.is_full or self.rows >= ENOUGH_ROWS or time.monotonic() - self._since >= WAIT_SECONDS

    def take(self) -> Block:
        """What it has, as a block; what would be too much for one is kept."""
        taken, rows = 0, 0
        for batch, _ in self._batches:
            if taken and rows + batch.num_rows > MOST_ROWS:
                break
            taken, rows = taken + 1, rows + batch.num_rows
        first, rest = self._batches[:taken], self._batches[taken:]
        last, history = first[-1]
        block = Block(self._after, last.column("offset")[-1].as_py(), history, tuple(batch for batch, _ in first))
        self._after, self._batches = block.offset, []
        self.rows = self._bytes = 0
        for batch, place in rest:
            self.add(batch, place)
        return block
