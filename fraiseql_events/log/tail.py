"""The hot tail: the newest events in memory, the uncommitted ones among them."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.arrays import integers, to_integers
from fraiseql_events.bridge.decode import Decoded
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.event import LOG_SCHEMA, DeadLetter
from fraiseql_events.log.filter import Span

#: What a chunk costs beside its events: its arrays' own overhead, and a piece that held no event must count too.
CHUNK_BYTES: Final = 4096
#: Committed chunks are put together up to this size: about a batch on the wire.
MERGED_BYTES: Final = 2 << 20
#: So many chunks of live events that follow one another, each up to so many bytes, are put together.
SMALL_CHUNKS: Final = 64
SMALL_BYTES: Final = 16 << 10
_END: Final = attrgetter("end")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the stream as it was appended: its events (`LOG_SCHEMA`), its dead letters, where it reaches.

    Attributes:
        replays: numbers of dead letters that it holds in readable form, each with its message's sequence.
        parts: its events by entity type, as far as they have been asked for.
    """

    events: pa.RecordBatch
    dead: list[DeadLetter]
    replays: Mapping[int, int]
    stream: StreamPosition
    span: Span | None
    end: int
    size: int
    appended: float
    parts: dict[str, pa.RecordBatch] = field(default_factory=dict, compare=False, repr=False)

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
        offsets = integers(np.arange(offset, offset + rows))
        events = pa.RecordBatch.from_arrays([*decoded.events.columns, offsets], schema=LOG_SCHEMA)
        span = None
        if rows:
            times = to_integers(events.column("timestamp").view(pa.int64()))
            span = Span(offset, offset + rows - 1, int(times.min()), int(times.max()))
        size = _size_of(events, decoded.dead)
        return cls(events, decoded.dead, replays, stream, span, offset + rows, size, now)

    @property
    def first(self) -> int:
        """The offset of its first event."""
        return self.end - int(self.events.num_rows)

    def joined(self, following: Sequence[Chunk]) -> Chunk:
        """This chunk and those that follow it in the same epoch as one."""
        chunks = (self, *following)
        parts = [chunk for chunk in chunks if chunk.span is not None]
        last = following[-1]
        events = pa.concat_batches([part.events for part in parts] or [self.events])
        spans = [part.span for part in parts if part.span is not None]
        span = None
        if spans:
            earliest, latest = min(span.first_time for span in spans), max(span.last_time for span in spans)
            span = Span(spans[0].first_offset, spans[-1].last_offset, earliest, latest)
        dead = [letter for chunk in chunks for letter in chunk.dead]
        replays = {number: sequence for chunk in chunks for number, sequence in chunk.replays.items()}
        return Chunk(events, dead, replays, last.stream, span, last.end, _size_of(events, dead), self.appended)

    def alone(self) -> Chunk:
        """Its events without what is committed beside them."""
        return replace(self, dead=[], replays={}, size=_size_of(self.events, [])) if self.dead or self.replays else self

    def of_entity(self, name: str) -> pa.RecordBatch | None:
        """Its events of one entity type, made once for all readers; None where there is none."""
        part = self.parts.get(name)
        if part is None:
            types = self.events.column("entity_type")
            if len(types) == 1:
                return self.events if types[0].as_py() == name else None
            part = self.events.filter(pc.equal(types, name))
            if not part.num_rows:
                return None
            self.parts[name] = part
        return part


class Tail:
    """Chunks in offset order: the committed ones are kept up to a size, the uncommitted ones all.

    Not locked: the log locks.
    """

    def __init__(self, offset: int, *, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._committed: list[Chunk] = []
        self._uncommitted: list[Chunk] = []
        self._committed_bytes = 0
        self._small = 0
        self.uncommitted_bytes = 0
        self.start = offset
        self.end = offset

    @property
    def uncommitted_rows(self) -> int:
        """Events that only the memory (and JetStream) holds."""
        if not self._uncommitted:
            return 0
        return self.end - self._uncommitted[0].first

    @property
    def oldest_uncommitted(self) -> float | None:
        """When the first uncommitted chunk was appended (`time.monotonic`)."""
        return self._uncommitted[0].appended if self._uncommitted else None

    def append(self, chunk: Chunk) -> None:
        """Adds a chunk behind the others."""
        self._uncommitted.append(chunk)
        self.uncommitted_bytes += chunk.size
        self.end = chunk.end
        self._join_small()

    def _join_small(self) -> None:
        """Puts the last chunks but one together when they are many and small: a commit of thousands would take long.

        The newest stays as it is: that is the one which followers have yet to read.
        """
        last = self._uncommitted[-2:]
        if last[-1].size > SMALL_BYTES or last[0].stream.epoch != last[-1].stream.epoch:
            self._small = 0
            return
        self._small += 1
        if self._small <= SMALL_CHUNKS:
            return
        run = self._uncommitted[-self._small : -1]
        self._uncommitted[-self._small : -1] = [run[0].joined(run[1:])]
        self.uncommitted_bytes += self._uncommitted[-2].size - sum(chunk.size for chunk in run)
        self._small = 1

    def uncommitted(self) -> list[Chunk]:
        """What is not committed yet."""
        return list(self._uncommitted)

    def uncommitted_epoch(self) -> list[Chunk]:
        """What the next commit is to hold: chunks of one epoch, whose sequences rise."""
        chunks = [chunk for chunk in self._uncommitted if chunk.stream.epoch == self._uncommitted[0].stream.epoch]
        self._small = 0  # these stay as they are until they are committed
        return chunks

    def event(self, offset: int) -> tuple[pa.RecordBatch, int] | None:
        """The event at an offset, as a row of a batch; None where none of the chunks holds it."""
        chunk = next(self._from(offset), None)
        if chunk is None or offset < chunk.first:
            return None
        return chunk.events, offset - chunk.first

    def mark_committed(self, chunks: Sequence[Chunk], settled: Sequence[Chunk]) -> None:
        """The first uncommitted chunks are in the history now; what is kept of them is what `settle` made of them."""
        del self._uncommitted[: len(chunks)]
        self.uncommitted_bytes -= sum(chunk.size for chunk in chunks)
        first = settled[0].first if settled else chunks[-1].end
        if first > chunks[0].first:  # so much at once that not even all of it is kept
            self._committed, self._committed_bytes, self.start = [], 0, first
        self._committed += settled
        self._committed_bytes += sum(chunk.size for chunk in settled)
        gone = 0
        while gone < len(self._committed) and self._committed_bytes > self._keep_bytes:
            self._committed_bytes -= self._committed[gone].size
            self.start = self._committed[gone].end
            gone += 1
        del self._committed[:gone]

    def chunks(self, offset: int = 0, *, most_bytes: int | None = None) -> list[Chunk]:
        """The chunks that reach beyond an offset, in offset order.

        Args:
            offset: no chunk that ends at it or before.
            most_bytes: the first ones of them, up to about this size; at least one.
        """
        found: list[Chunk] = []
        size = 0
        for chunk in self._from(offset):
            if most_bytes is not None and size >= most_bytes:
                break
            found.append(chunk)
            size += chunk.size
        return found

    def _from(self, offset: int) -> Iterator[Chunk]:
        """The chunks that reach beyond an offset."""
        for chunks in (self._committed, self._uncommitted):
            first = bisect_right(chunks, offset, key=_END)
            yield from itertools.islice(chunks, first, None)


def _size_of(events: pa.RecordBatch, dead: Sequence[DeadLetter]) -> int:
    return int(events.nbytes) + CHUNK_BYTES + sum(len(letter.payload) + CHUNK_BYTES for letter in dead)


def settle(chunks: Sequence[Chunk], most_bytes: int) -> list[Chunk]:
    """What is kept of committed chunks, the last ones up to about so many bytes: small neighbours put together."""
    kept: list[Chunk] = []
    for chunk in reversed(list(_joined(chunks))):
        if most_bytes <= 0:
            break
        kept.append(chunk.alone())
        most_bytes -= kept[-1].size
    return kept[::-1]


def _joined(chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """Small neighbouring chunks put together."""
    run: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if run and size + chunk.size > MERGED_BYTES:
            yield run[0].joined(run[1:]) if len(run) > 1 else run[0]
            run, size = [], 0
        run.append(chunk)
        size += chunk.size
    if run:
        yield run[0].joined(run[1:]) if len(run) > 1 else run[0]
