"""Events as a Polars LazyFrame: what a query asks of times, event types, columns and rows is asked of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.timestamps import EPOCH

if TYPE_CHECKING:
    import polars as pl

    from fraiseql_events.stream import EventStream

_MICROSECOND: Final = timedelta(microseconds=1)
_PER_SECOND: Final = {"Nanoseconds": 10**9, "Microseconds": 10**6, "Milliseconds": 10**3}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a condition says of every event that it lets pass; it may say more.

    Attributes:
        start, end: the time is not before `start`, and before `end`.
        event_type: the event type.
    """

    start: datetime | None = None
    end: datetime | None = None
    event_type: str | None = None

    def both(self, other: Bounds) -> Bounds:
        """What two conditions say together."""
        starts = [each for each in (self.start, other.start) if each is not None]
        ends = [each for each in (self.end, other.end) if each is not None]
        return Bounds(max(starts, default=None), min(ends, default=None), self.event_type or other.event_type)


def lazy_frame(open_stream: Callable[..., EventStream[pl.DataFrame]], schema: pa.Schema) -> pl.LazyFrame:
    """A LazyFrame whose rows come from streams.

    Args:
        open_stream: takes the ``start``, ``end``, ``event_types``, ``columns`` and ``limit`` of `EventClient.stream`.
        schema: all columns.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns or schema.names
        needed = [*wanted, *(predicate.meta.root_names() if predicate is not None else ())]
        # Polars means the first rows of all, and the condition for these: a `head` behind a filter stays with Polars
        bounds = Bounds() if predicate is None or n_rows is not None else bounds_of(predicate)
        if bounds.start is not None and bounds.end is not None and bounds.start >= bounds.end:
            return
        with open_stream(
            start=bounds.start,
            end=bounds.end,
            event_types=None if bounds.event_type is None else [bounds.event_type],
            columns=[name for name in schema.names if name in needed],
            limit=n_rows,
        ) as stream:
            for frame in stream:
                yield (frame if predicate is None else frame.filter(predicate)).select(wanted)

    frame = pl.DataFrame(schema.empty_table())
    return register_io_source(read, schema=frame.schema, is_pure=False)


def bounds_of(predicate: pl.Expr) -> Bounds:
    """What a condition says of the time and the event type, as far as it is understood."""
    try:
        return _bounds(json.loads(predicate.meta.serialize(format="json")))
    except (AttributeError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        return Bounds()  # another spelling of Polars' own: then all is read, and filtered here


def _bounds(node: Any) -> Bounds:
    if "BinaryExpr" in node:
        left, operator, right = (node["BinaryExpr"][name] for name in ("left", "op", "right"))
        if operator == "And":
            return _bounds(left).both(_bounds(right))
        if "Column" in left:
            return _comparison(left["Column"], operator, right)
        if "Column" in right:
            return _comparison(right["Column"], _TURNED.get(operator, ""), left)
    elif "Function" in node and "IsBetween" in node["Function"]["function"].get("Boolean", {}):
        column, low, high = node["Function"]["input"]
        closed = node["Function"]["function"]["Boolean"]["IsBetween"]["closed"]
        above = "GtEq" if closed in ("Both", "Left") else "Gt"
        below = "LtEq" if closed in ("Both", "Right") else "Lt"
        return _comparison(column["Column"], above, low).both(_comparison(column["Column"], below, high))
    return Bounds()


_TURNED: Final = {"Gt": "Lt", "GtEq": "LtEq", "Lt": "Gt", "LtEq": "GtEq", "Eq": "Eq"}


def _comparison(column: str, operator: str, value: Any) -> Bounds:
    literal = value["Literal"]["Scalar"]
    if column == "event_type" and operator == "Eq":
        return Bounds(event_type=literal["String"])
    if column != "timestamp":
        return Bounds()
    number, unit, *_ = literal["Datetime"]
    moment, left = _moment(number, _PER_SECOND[unit])
    start, end = Bounds(start=moment), Bounds(end=moment)
    after = moment + _MICROSECOND
    return {
        "GtEq": replace(start, start=after) if left else start,
        "Gt": replace(start, start=after),
        "Lt": replace(end, end=after) if left else end,
        "LtEq": replace(end, end=after),
        "Eq": Bounds(moment, after),
    }.get(operator, Bounds())


def _moment(number: int, per_second: int) -> tuple[datetime, int]:
    """A time in whole microseconds, and what is left of it."""
    micros, left = divmod(number * 10**6, per_second)
    return EPOCH + timedelta(microseconds=micros), left
