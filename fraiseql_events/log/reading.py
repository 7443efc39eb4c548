"""A reader is a cursor over the log: history first, then the tail, then, if it follows, what arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pyarrow as pa

from fraiseql_events.log.filter import Filter
from fraiseql_events.log.log import Log

#: So many offsets are looked at between two signs of life; and so many where what passes is a sign itself: each look
#: begins anew to read ahead.
LOOK_OFFSETS: Final = 1_000_000
LONG_LOOK_OFFSETS: Final = 8_000_000
#: One in so many is enough for that.
DENSE: Final = 100


class Cursor:
    """Goes through a log with a filter, as fast or as slowly as it is asked.

    It holds no place in the log but an offset, so it needs no queue, is never too slow, and slows nobody.

    Attributes:
        offset: the next offset to look at.
        passed: how many events have passed.
        left: how many events may pass still; None is any number.
    """

    def __init__(self, log: Log, condition: Filter) -> None:
        self._log = log
        self._condition = condition
        self.offset = condition.after + 1
        self.passed = 0
        self.left = condition.limit

    def place(self, offset: int) -> str | None:
        """What an offset is an offset of, to be kept with it; None where the log has not come so far."""
        place = self._log.place(offset)
        return None if place is None else str(place)

    @property
    def is_full(self) -> bool:
        """Whether as many events have passed as were wanted."""
        return self.left is not None and self.left <= 0

    def read(self, until: int) -> Iterator[pa.RecordBatch]:
        """What passes of the offsets before `until`, in offset order, none of the batches empty.

        An offset never changes its event, so what is read in several steps is what it was at the first.
        """
        while self.offset < until and not self.is_full:
            view = self._log.view_from(self.offset)
            condition = replace(self._condition, after=self.offset - 1, limit=self.left, before=until)
            for batch in view.scan(condition):
                self.offset = batch.column("offset")[-1].as_py() + 1
                self.passed += batch.num_rows
                if self.left is not None:
                    self.left -= batch.num_rows
                yield batch
            if not self.is_full:
                self.offset = max(self.offset, min(view.end, until))

    def looks(self, until: int) -> Iterator[Iterator[pa.RecordBatch]]:
        """The same in pieces, each to be read to its end before the next: a filter may find nothing for long.

        There is one piece at least, be it an empty one.
        """
        long = False
        while True:
            start, passed = self.offset, self.passed
            yield self.read(min(until, start + (LONG_LOOK_OFFSETS if long else LOOK_OFFSETS)))
            if self.offset >= until or self.is_full:
                return
            long = self.passed - passed > (self.offset - start) // DENSE

    def follow(self, *, end: float | None, patience: float) -> Iterator[Iterator[pa.RecordBatch]]:
        """What passes, now and as it arrives, in pieces as of `looks`.

        Args:
            end: what is there when the clock (`time.time`) has passed this is the last; None goes on for ever.
            patience: the longest wait for something new, in seconds; the piece after it may be empty.
        """
        while True:
            over = end is not None and time.time() >= end
            reached = self._log.offset
            yield from self.looks(reached)
            if over or self.is_full:
                return
            self._log.wait_beyond(reached, patience if end is None else min(patience, end - time.time()))
