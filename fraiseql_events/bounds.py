"""What a condition says of times, offsets and types: as much of it as a server can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import and_, or_
from typing import Any, Final, TypeVar

from fraiseql_events.event import check_entity_type
from fraiseql_events.ticket import ALL, MAX_INT
from fraiseql_events.timestamps import EPOCH, MAX_MICROS, MIN_MICROS

T = TypeVar("T")

#: A ticket has room for more, and a server asks each event of them all.
_MOST_TYPES: Final = 1_000
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a condition says of every event that it lets pass; it may say more.

    Attributes:
        start, end: the time is not before `start`, and before `end`; microseconds since the epoch, UTC.
        first, stop: the offset is not less than `first`, and less than `stop`.
        event_types: the event type is one of these.
        entity_types: so is the entity type.
    """

    start: int | None = None
    end: int | None = None
    first: int | None = None
    stop: int | None = None
    event_types: frozenset[str] | None = None
    entity_types: frozenset[str] | None = None

    @property
    def empty(self) -> bool:
        """Whether no event can pass."""
        whole = self.both(Bounds(MIN_MICROS, MAX_MICROS + 1, 0, MAX_INT))
        crossed = whole.start >= whole.end or whole.first >= whole.stop  # type: ignore[operator]
        return crossed or frozenset() in (self.event_types, self.entity_types)

    def both(self, other: Bounds) -> Bounds:
        """What two conditions say together."""
        return self._combined(other, _together, (max, min, max, min, and_, and_))

    def either(self, other: Bounds) -> Bounds:
        """What is true where one of two conditions is."""
        if self.empty or other.empty:
            return other if self.empty else self
        return self._combined(other, _instead, (min, max, min, max, or_, or_))

    def _combined(self, other: Bounds, how: Callable[..., Any], ways: tuple[Callable[..., Any], ...]) -> Bounds:
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return Bounds(*(how(way, *pair) for way, pair in zip(ways, pairs, strict=True)))

    def entity(self, asked: str) -> str:
        """The entity type to ask for, where `asked` would be: of all, it may be one."""
        only = next(iter(self.entity_types)) if self.entity_types is not None and len(self.entity_types) == 1 else ALL
        return only if asked == ALL and check_entity_type(only) is None else asked

    def options(self) -> dict[str, Any]:
        """As `EventClient.stream` takes them; without those that say nothing. Not of empty ones."""
        first = max(self.first or 0, 0)
        types = sorted(self.event_types or ())
        short = len(types) <= _MOST_TYPES and sum(len(each.encode()) for each in types) <= _MOST_BYTES
        found = {
            "start": _moment(self.start),
            "end": _moment(self.end),
            "after_offset": first - 1 if first else None,
            "limit": None if self.stop is None else self.stop - first,  # there cannot be more, and the least come first
            "event_types": types if types and short else None,
        }
        return {name: value for name, value in found.items() if value is not None}


#: What a condition says that nothing passes.
NOTHING: Final = Bounds(event_types=frozenset())


def between(operator: str, low: int, high: int, unit: int = 1) -> tuple[int | None, int | None]:
    """Where a whole number of units is that compares so with a value: not less than the first, less than the second.

    Args:
        operator: ``>``, ``>=``, ``<``, ``<=`` or ``=``.
        low: the value, or the least of several; rounded down where it is no whole number.
        high: the same or the greatest, rounded up.
        unit: what both numbers are multiplied by.
    """
    start = {">": low + 1, ">=": low, "=": low}.get(operator)
    end = {"<": high, "<=": high + 1, "=": high + 1}.get(operator)
    return None if start is None else start * unit, None if end is None else end * unit


def _moment(micros: int | None) -> datetime | None:
    """None too where it bounds nothing that can be."""
    if micros is None or not MIN_MICROS <= micros <= MAX_MICROS:
        return None
    return EPOCH + timedelta(microseconds=micros)


def _together(combine: Callable[[T, T], T], one: T | None, other: T | None) -> T | None:
    """Where one says nothing, what the other says."""
    if one is None or other is None:
        return other if one is None else one
    return combine(one, other)


def _instead(combine: Callable[[T, T], T], one: T | None, other: T | None) -> T | None:
    """Where one says nothing, nothing."""
    return None if one is None or other is None else combine(one, other)
