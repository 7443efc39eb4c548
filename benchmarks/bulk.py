"""Messages for a stream that is long and fast: a block is encoded once, and gets new ids and days each time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

import msgspec
import numpy as np

from benchmarks.events import BLOCK, events
from benchmarks.history import PER_DAY, new_ids
from fraiseql_events.bridge.publisher import Message, subject_of

#: One event in so many is a message of its own; the others share payloads of `EACH` lines.
SINGLE_IN: Final = 10
EACH: Final = 100
_DATE_BYTES: Final = len("2026-01-31")
Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Block:
    """Events as lines of JSON in one buffer, in which the ids and the days are written over."""

    def __init__(self, rows: int, *, seed: int = 1) -> None:
        encode = msgspec.json.encode
        found = list(events(rows, seed=seed, per_day=PER_DAY))
        lines = [encode(event) + b"\n" for event in found]
        self.rows = rows
        self.subjects = [subject_of(event["entity_type"], event["event_type"]) for event in found]
        self.ends = np.cumsum([len(line) for line in lines]).tolist()
        self._buffer = np.frombuffer(bytearray(b"".join(lines)), np.uint8)
        starts = np.array([0, *self.ends[:-1]])
        ids = starts + [line.index(event["id"].encode()) for line, event in zip(lines, found, strict=True)]
        self._ids = ids[:, None] + np.arange(36)
        times = starts + [line.index(event["timestamp"].encode()) for line, event in zip(lines, found, strict=True)]
        days = np.array([event["timestamp"][:_DATE_BYTES] for event in found])
        self._days = {
            date.fromisoformat(str(day)): times[days == day][:, None] + np.arange(_DATE_BYTES)
            for day in np.unique(days)
        }
        self._draw = np.random.default_rng(seed)

    def later(self, days: int) -> memoryview:
        """The lines, with new ids, so many days after the first; good until the next call."""
        self._buffer[self._ids] = new_ids(self.rows, self._draw)
        for day, places in self._days.items():
            text = (day + timedelta(days=days)).isoformat().encode()
            self._buffer[places] = np.frombuffer(text, np.uint8)
        return self._buffer.data


def mixed_messages(count: int, *, rows: int = BLOCK) -> Iterator[Message]:
    """Messages of so many events: one event in `SINGLE_IN` alone, the others in payloads of newline-delimited JSON.

    After so many rows, up to `BLOCK`, they are those again with new ids, a day later.
    """
    block = Block(min(count, rows))
    for number in range(-(-count // block.rows)):
        wanted = min(block.rows, count - number * block.rows)
        lines = block.later(number)
        starts = [0, *block.ends]
        single = wanted // SINGLE_IN
        for row in range(single):
            yield block.subjects[row], bytes(lines[starts[row] : starts[row + 1] - 1])
        for row in range(single, wanted, EACH):
            yield "entity.change.many.ndjson", bytes(lines[starts[row] : starts[min(row + EACH, wanted)]])
