"""Counts the messages of a stream that were removed before they could be read: none is skipped in silence."""

from __future__ import annotations

from fraiseql_events.bridge.messages import Integers


class Missed:
    """Follows the sequences that are read, and those that the stream still holds; each method returns what is missed.

    Attributes:
        reads_all: whether all subjects of the stream are read; otherwise nothing is counted, for what is gone may have
            been other subjects' messages, never meant for us.
    """

    def __init__(self) -> None:
        self.reads_all = True
        #: Up to here what was not read is known to be gone.
        self._floor = 0
        #: Gaps up to here may be older than the history.
        self._baseline = 0
        self._gaps: list[tuple[int, int]] = []
        self._given_up = range(0)

    @property
    def is_in_doubt(self) -> bool:
        """Whether sequences were passed over of which only the stream's first one tells whether they are missed."""
        return bool(self._gaps)

    @property
    def floor(self) -> int:
        """Up to here everything is read, or counted already."""
        return self._floor

    def begin_history(self, first: int) -> None:
        """A history begins with a stream whose first sequence is this one: what is gone by now was gone before it."""
        self._floor = max(self._floor, first - 1)

    def doubt(self, last: int) -> None:
        """Gaps up to this sequence may be older than the history."""
        self._baseline = max(self._baseline, last)

    def begin_stream(self, after: int) -> None:
        """Reading goes on with another stream, after this sequence of it."""
        self._floor, self._baseline, self._gaps, self._given_up = after, 0, [], range(0)

    def pass_over(self, read: int, sequence: int) -> int:
        """A message came, and before it the one with the sequence `read`: those between did not come."""
        first, last = max(read, self._floor) + 1, sequence - 1
        if first > last or not self.reads_all:
            return 0
        if first > self._baseline:
            return last - first + 1
        self._gaps.append((first, last))
        return 0

    def come_late(self, sequences: Integers) -> int:
        """Of messages that came: how many had been given up, and count as missed no more."""
        if not self._given_up:
            return 0
        return int(((sequences >= self._given_up.start) & (sequences < self._given_up.stop)).sum())

    def give_up(self, read: int, first: int) -> int:
        """The stream holds nothing before `first` any more, and `read` has been read.

        What is neither read nor there is given up; some of it may be under way still (`come_late`).
        """
        gaps, self._gaps = self._gaps, []
        if not self.reads_all:
            return 0
        behind = max(read, self._floor)
        gone = sum(max(0, min(last, first - 1) - start + 1) for start, last in gaps) + max(0, first - 1 - behind)
        if first - 1 > behind:
            follows = self._given_up and self._given_up.stop == behind + 1
            self._given_up = range(self._given_up.start if follows else behind + 1, first)
            self._floor = first - 1
        return gone

    def reach_end(self, read: int, last: int) -> int:
        """All that the stream holds up to `last` has come, and `read` is the last of it: the rest is given up."""
        self._floor = max(self._floor, min(self._baseline, last))
        return self.give_up(read, last + 1)
