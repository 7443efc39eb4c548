"""The hot tail: the newest events in memory, the uncommitted ones among them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.bridge.decode import Decoded
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.event import LOG_SCHEMA, SCHEMA, DeadLetter
from fraiseql_events.log.filter import Span

#: What a chunk costs beside its events: its arrays' own overhead, and a piece that held no event must count too.
CHUNK_BYTES: Final = 4096
#: Committed chunks are put together up to this size.
MERGED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the stream as it was appended: its events (`LOG_SCHEMA`), its dead letters, where it reaches.

    Attributes:
        replays: numbers of dead letters that it holds in readable form, each with its message's sequence.
    """

    events: pa.RecordBatch
    dead: list[DeadLetter]
    replays: Mapping[int, int]
    stream: StreamPosition
    span: Span | None
    end: int
    size: int
    appended: float

    @classmethod
    def of(
        cls,
        decoded: Decoded,
        stream: StreamPosition,
        offset: int,
        now: float,
        replays: Mapping[int, int] = MappingProxyType({}),
    ) -> Chunk:
        """A chunk whose events get the offsets from `offset` on."""
        rows = decoded.events.num_rows
        offsets = pa.array(np.arange(offset, offset + rows))
        events = pa.RecordBatch.from_arrays([*decoded.events.columns, offsets], schema=LOG_SCHEMA)
        span = None
        if rows:
            times = pc.min_max(events.column("timestamp").view(pa.int64())).as_py()
            span = Span(offset, offset + rows - 1, times["min"], times["max"])
        size = events.nbytes + CHUNK_BYTES + sum(len(letter.payload) + CHUNK_BYTES for letter in decoded.dead)
        return cls(events, decoded.dead, replays, stream, span, offset + rows, size, now)

    def joined(self, following: Sequence[Chunk]) -> Chunk:
        """This chunk and those that follow it as one, without what is committed beside their events."""
        parts = [chunk for chunk in (self, *following) if chunk.span is not None]
        last = following[-1]
        events = pa.concat_batches([part.events for part in parts] or [self.events])
        spans = [part.span for part in parts if part.span is not None]
        span = None
        if spans:
            earliest, latest = min(span.first_time for span in spans), max(span.last_time for span in spans)
            span = Span(spans[0].first_offset, spans[-1].last_offset, earliest, latest)
        return Chunk(events, [], {}, last.stream, span, last.end, events.nbytes + CHUNK_BYTES, self.appended)


class Tail:
    """Chunks in offset order: the committed ones are kept up to a size, the uncommitted ones all.

    Not locked: the log locks.
    """

    def __init__(self, offset: int, *, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._committed: deque[Chunk] = deque()
        self._uncommitted: deque[Chunk] = deque()
        self._committed_bytes = 0
        self.uncommitted_bytes = 0
        self.start = offset
        self.end = offset

    @property
    def uncommitted_rows(self) -> int:
        """Events that only the memory (and JetStream) holds."""
        if not self._uncommitted:
            return 0
        first = self._uncommitted[0]
        rows: int = self.end - (first.end - first.events.num_rows)
        return rows

    @property
    def oldest_uncommitted(self) -> float | None:
        """When the first uncommitted chunk was appended (`time.monotonic`)."""
        return self._uncommitted[0].appended if self._uncommitted else None

    def append(self, chunk: Chunk) -> None:
        """Adds a chunk behind the others."""
        self._uncommitted.append(chunk)
        self.uncommitted_bytes += chunk.size
        self.end = chunk.end

    def uncommitted(self) -> list[Chunk]:
        """What is not committed yet."""
        return list(self._uncommitted)

    def uncommitted_epoch(self) -> list[Chunk]:
        """What the next commit is to hold: chunks of one epoch, whose sequences rise."""
        chunks = self.uncommitted()
        return [chunk for chunk in chunks if chunk.stream.epoch == chunks[0].stream.epoch]

    def event(self, offset: int) -> pa.RecordBatch | None:
        """The event at an offset, one row of `SCHEMA`; None where none of the chunks holds it."""
        for chunk in itertools.chain(reversed(self._uncommitted), reversed(self._committed)):
            first = chunk.end - chunk.events.num_rows
            if first <= offset < chunk.end:
                return chunk.events.slice(offset - first, 1).select(SCHEMA.names)
            if chunk.end <= offset:
                return None
        return None

    def mark_committed(self, count: int) -> None:
        """The first so many uncommitted chunks are in the history now."""
        chunks = [self._uncommitted.popleft() for _ in range(count)]
        self.uncommitted_bytes -= sum(chunk.size for chunk in chunks)
        for chunk in _joined(chunks):
            self._committed.append(chunk)
            self._committed_bytes += chunk.size
        while self._committed and self._committed_bytes > self._keep_bytes:
            chunk = self._committed.popleft()
            self._committed_bytes -= chunk.size
            self.start = chunk.end

    def chunks(self, offset: int = 0, *, most_bytes: int | None = None) -> list[Chunk]:
        """The chunks that reach beyond an offset, in offset order.

        Args:
            offset: no chunk that ends at it or before.
            most_bytes: the first ones of them, up to about this size; at least one.
        """
        found: list[Chunk] = []
        for chunk in itertools.chain(reversed(self._uncommitted), reversed(self._committed)):
            if chunk.end <= offset:
                break
            found.append(chunk)
        found.reverse()
        if most_bytes is None:
            return found
        sizes = itertools.accumulate(chunk.size for chunk in found)
        return [chunk for chunk, size in zip(found, sizes, strict=True) if size - chunk.size < most_bytes]


def _joined(chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """Small neighbouring chunks put together."""
    run: list[Chunk] = []
    for chunk in chunks:
        if run and sum(each.size for each in run) + chunk.size > MERGED_BYTES:
            yield run[0].joined(run[1:]) if len(run) > 1 else run[0]
            run = []
        run.append(chunk)
    if run:
        yield run[0].joined(run[1:]) if len(run) > 1 else run[0]
