"""Batches of a stream, put together to the blocks that ClickHouse is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.sinks.spool import BATCH_ROWS, Files, Spool

#: A block has so many rows at the most: what is larger comes no faster.
MOST_ROWS: Final = 1_000_000
#: Nor much more than so many bytes, which ClickHouse has in memory.
MOST_BYTES: Final = 256 * 2**20
#: So many rows do not wait for more, if ClickHouse is idle.
ENOUGH_ROWS: Final = 250_000
#: Fewer wait so long, from when the first came.
WAIT_SECONDS: Final = 1.0
_FIRST_MONTH: Final = np.datetime64(-(2**40), "M")


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

    A block of enough rows ends where a month does: of events of two months ClickHouse makes two parts, and takes a
    third longer. Events that come late, from the month before, end none.

    Args:
        after_offset: where the first block begins.
        compression: how the blocks are compressed.
        in_one: all is one block, however much it is.
    """

    def __init__(self, after_offset: int, compression: Literal["lz4"] | None, *, in_one: bool = False) -> None:
        self._compression = compression
        self._in_one = in_one
        self._files = Files()
        self._spool = Spool(compression, self._files)
        #: What came of a new month, for the next block.
        self._rest: pa.RecordBatch | None = None
        self._month = _FIRST_MONTH
        self._after = self._last = after_offset
        self._history = ""
        self._since = 0.0

    @property
    def rows(self) -> int:
        """How many it has."""
        return self._spool.rows

    def add(self, batch: pa.RecordBatch, history: str) -> None:
        """Takes a batch of up to `BATCH_ROWS` rows, and what its last offset is an offset of; not when it is full."""
        if not self.rows:
            self._since = time.monotonic()
        self._history = history
        if not self._in_one:
            batch = self._until_new_month(batch)
        if batch.num_rows:
            self._spool.add(batch)
            self._last = batch.column("offset")[-1].as_py()

    @property
    def is_full(self) -> bool:
        """Whether it must not be given more."""
        return self._rest is not None or self.rows > MOST_ROWS - BATCH_ROWS or self._spool.bytes >= MOST_BYTES

    def is_due(self, *, ended: bool) -> bool:
        """Whether what it has should be inserted."""
        if not self.rows:
            return False
        return ended or self.rows >= ENOUGH_ROWS or self.is_full or time.monotonic() - self._since >= WAIT_SECONDS

    def take(self) -> Block:
        """What it has, as a block."""
        self._spool.finish()
        spool, self._spool = self._spool, Spool(self._compression, self._files)
        block = Block(self._after, self._last, self._history, spool)
        self._after = self._last
        rest, self._rest = self._rest, None
        if rest is not None:
            self.add(rest, self._history)
        return block

    def close(self) -> None:
        """Drops what it has; again does nothing."""
        self._spool.close()
        self._files.close()

    def _until_new_month(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What of a batch belongs to the block; what does not is kept as the rest."""
        months = batch.column("timestamp").to_numpy(zero_copy_only=False).astype("M8[M]")
        newest = months.max()
        if newest > self._month and self.rows >= ENOUGH_ROWS:
            first = int((months > self._month).argmax())
            self._rest = batch.slice(first)
            return batch.slice(0, first)
        self._month = max(self._month, newest)
        return batch
