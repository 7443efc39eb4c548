"""What a reader of the log gets to see: every limit on a scan is here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.event import LOG_SCHEMA, OFFSET, SCHEMA
from fraiseql_events.ticket import MAX_INT, Ticket
from fraiseql_events.timestamps import TIMESTAMP


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A condition on events, and the columns wanted of them.

    Attributes:
        entity: one entity type; None is all.
        start, end: microseconds since the epoch, from `start` on and before `end`; None is open.
        after: only offsets after this one.
        before: only offsets before this one.
        event_types: only these; None is all.
        columns: of `LOG_SCHEMA`, in this order.
        limit: the most events; None is all.
    """

    entity: str | None = None
    start: int | None = None
    end: int | None = None
    after: int = -1
    before: int = MAX_INT
    event_types: frozenset[str] | None = None
    columns: tuple[str, ...] = tuple(SCHEMA.names)
    limit: int | None = None

    @classmethod
    def of(cls, ticket: Ticket) -> Filter:
        """The condition that a ticket states."""
        return cls(
            entity=ticket.entity,
            start=ticket.start,
            end=ticket.end,
            after=-1 if ticket.after_offset is None else ticket.after_offset,
            event_types=None if ticket.event_types is None else frozenset(ticket.event_types),
            columns=ticket.columns or tuple(SCHEMA.names),
            limit=ticket.limit,
        )

    def wants_entity(self, name: str) -> bool:
        """Whether events of this type can pass."""
        return self.entity is None or self.entity == name

    def may_hold(self, span: Span) -> bool:
        """Whether some event within these ranges can pass."""
        return not (
            span.last_offset <= self.after
            or span.first_offset >= self.before
            or (self.start is not None and span.last_time < self.start)
            or (self.end is not None and span.first_time >= self.end)
        )

    def holds_all(self, span: Span) -> bool:
        """Whether every event within these ranges passes, as far as its time and offset go."""
        return (
            span.first_offset > self.after
            and span.last_offset < self.before
            and (self.start is None or span.first_time >= self.start)
            and (self.end is None or span.last_time < self.end)
        )

    def condition(self, span: Span) -> pc.Expression | None:
        """What is left to ask of each row within these ranges; None when all pass."""
        terms: list[pc.Expression] = []
        if span.first_offset <= self.after:
            terms.append(pc.field("offset") > self.after)
        if span.last_offset >= self.before:
            terms.append(pc.field("offset") < self.before)
        if self.start is not None and span.first_time < self.start:
            terms.append(pc.field("timestamp") >= _time(self.start))
        if self.end is not None and span.last_time >= self.end:
            terms.append(pc.field("timestamp") < _time(self.end))
        if self.event_types is not None:
            terms.append(pc.field("event_type").isin(pa.array(sorted(self.event_types), pa.string())))
        return reduce(and_, terms) if terms else None

    @property
    def output_schema(self) -> pa.Schema:
        """The columns wanted, and the offset behind them: what a scan yields."""
        return _output_schema(self.columns)


@lru_cache(maxsize=256)
def _output_schema(columns: tuple[str, ...]) -> pa.Schema:
    fields = [LOG_SCHEMA.field(name) for name in columns if name != OFFSET.name]
    return pa.schema([*fields, OFFSET])


@dataclass(frozen=True, slots=True)
class Span:
    """The ranges, both ends included, that the offsets and times of some events lie in."""

    first_offset: int
    last_offset: int
    first_time: int
    last_time: int


def _time(micros: int) -> pa.Scalar:
    return pa.scalar(micros, pa.int64()).cast(TIMESTAMP)
