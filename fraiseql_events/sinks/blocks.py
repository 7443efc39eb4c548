"""Batches of a stream, put together to the blocks that ClickHouse is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.sinks.spool import BATCH_ROWS, Spool

#: A block has so many rows at the most: what is larger comes no faster.
MOST_ROWS: Final = 1_000_000
#: Nor much more than so many bytes, which ClickHouse has in memory.
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
        spool: the events, with their offsets.
    """

    after_offset: int
    offset: int
    history: str
    spool: Spool

    @property
    def events(self) -> int:
        """How many events it has."""
        return self.spool.rows


class Collector(Closing):
    """Collects batches until a block of them is due.

    Args:
        after_offset: where the first block begins.
        compression: how the blocks are compressed.
    """

    def __init__(self, after_offset: int, compression: Literal["lz4"] | None) -> None:
        self._compression = compression
        self._spool = Spool(compression)
        self._after = self._last = after_offset
        self._history = ""
        self._since = 0.0

    @property
    def rows(self) -> int:
        """How many it has."""
        return self._spool.rows

    def add(self, batch: pa.RecordBatch, history: str) -> None:
        """Takes a batch of up to `BATCH_ROWS` rows, and what its last offset is an offset of."""
        if not self.rows:
            self._since = time.monotonic()
        self._spool.add(batch)
        self._last, self._history = batch.column("offset")[-1].as_py(), history

    @property
    def is_full(self) -> bool:
        """Whether it must not be given more."""
        return self.rows > MOST_ROWS - BATCH_ROWS or self._spool.bytes >= MOST_BYTES

    def is_due(self, *, ended: bool) -> bool:
        """Whether what it has should be inserted."""
        if not self.rows:
            return False
        return ended or self.rows >= ENOUGH_ROWS or self.is_full or time.monotonic() - self._since >= WAIT_SECONDS

    def take(self) -> Block:
        """What it has, as a block."""
        spool, self._spool = self._spool, Spool(self._compression)
        spool.finish()
        block = Block(self._after, self._last, self._history, spool)
        self._after = self._last
        return block

    def close(self) -> None:
        """Drops what it has; again does nothing."""
        self._spool.close()
