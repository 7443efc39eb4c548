"""What a dashboard counts: totals, and a rolling window of bins. Its size does not depend on what it has seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

BINS: Final = 60
NEWEST: Final = 8
#: So many groups are told apart; those that come later are counted together.
MOST_GROUPS: Final = 200
#: So many of them, the largest, have a colour of their own.
COLOURED: Final = 6
#: Of a name or a value that is text, so many characters are kept.
MOST_TEXT: Final = 80
#: The rate is that of so many whole seconds.
_RATE_SECONDS: Final = 5
_SECOND: Final = 1_000_000
_COLUMNS: Final = ("timestamp", "event_type", "entity_id")
#: One that is more than so far ahead of the clock here is of a clock that is wrong.
_AHEAD: Final = 2 * _SECOND


class Own(Enum):
    """Groups of the dashboard's own; a group of the data may be called the same, and is another one."""

    NONE = "none"  #: of the events without the field
    OTHERS = "others"  #: of those that are not told apart


Name = str | Own


@dataclass(slots=True)
class Sums:
    """So many events, so many with a value, and the sum of these."""

    events: int = 0
    values: int = 0
    total: float = 0.0

    def add(self, events: int, values: int, total: float) -> None:
        """Adds to all three."""
        self.events += events
        self.values += values
        self.total += total


@dataclass(frozen=True, slots=True)
class Group:
    """A kind of events: its name, its colour (None: the others'), its sums in all and in each bin."""

    name: Name
    colour: int | None
    sums: Sums
    bins: tuple[Sums, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """A window at one moment.

    Attributes:
        now: the moment, in microseconds since the epoch; the last bin ends at its end.
        width: of a bin, in microseconds.
        rate: events a second, of the last five whole seconds.
        sums: of all events.
        groups: the largest ones, largest first, and the others together behind them.
        newest: the newest events, newest first, as `timestamp`, `event_type`, `entity_id`, and what is counted: `group`
            and `value`, whatever the columns are called.
    """

    now: int
    width: int
    rate: float
    sums: Sums
    groups: tuple[Group, ...]
    newest: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class Window:
    """Counts events by group and by time.

    Args:
        seconds: how much time the chart has.
        by: the column whose values are the groups.
        value: the column that is summed.

    Attributes:
        misfits: how many values were not finite; with one of these no sum would be a number any more.
    """

    seconds: float
    by: str
    value: str | None = None
    misfits: int = 0
    sums: Sums = field(default_factory=Sums)
    _groups: dict[Name, Sums] = field(default_factory=dict)
    _bins: dict[int, dict[Name, Sums]] = field(default_factory=dict)
    _per_second: dict[int, int] = field(default_factory=dict)
    _newest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=NEWEST))
    _colours: dict[Name, int] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Of a bin, in microseconds."""
        return max(1, round(self.seconds * _SECOND / BINS))

    def add(self, batch: pa.RecordBatch, *, now: int, live: bool) -> None:
        """Counts events. Each stands in the chart at its timestamp.

        Args:
            batch: the events.
            now: the clock here, in microseconds since the epoch.
            live: they have just happened: one whose timestamp is not in the window has a clock that is wrong, and
                stands at `now`.
        """
        if not batch.num_rows:
            return
        times = batch.column("timestamp").cast(pa.int64())
        ahead = pc.less_equal(times, now + _AHEAD)
        inside = pc.and_(pc.greater(times, now - BINS * self.width), ahead)
        at = pc.if_else(inside, pc.min_element_wise(times, now), pa.scalar(now if live else None, pa.int64()))
        values = self._finite(batch.column(self.value)) if self.value else pa.nulls(batch.num_rows, pa.float64())
        groups = pc.utf8_slice_codeunits(batch.column(self.by).cast(pa.string()), 0, MOST_TEXT)
        table = pa.table({"bin": pc.divide(at, self.width), "group": groups, "value": values})
        counted = table.group_by(["bin", "group"]).aggregate([([], "count_all"), ("value", "count"), ("value", "sum")])
        for row in counted.to_pylist():
            name = Own.NONE if row["group"] is None else row["group"]
            self._count(row["bin"], name, row["count_all"], row["value_count"], row["value_sum"] or 0.0)
        for each in pc.value_counts(pc.divide(at.drop_null(), _SECOND)).to_pylist():
            self._per_second[each["values"]] = self._per_second.get(each["values"], 0) + each["counts"]
        self._newest.extend(self._rows(batch.slice(max(0, batch.num_rows - NEWEST))))
        self._forget(now)

    def look(self, now: int) -> Look:
        """The window as it is at a moment, in microseconds since the epoch."""
        self._forget(now)
        last = now // self.width
        bins = [self._bins.get(number, {}) for number in range(last - BINS + 1, last + 1)]
        second = now // _SECOND
        recent = sum(self._per_second.get(each, 0) for each in range(second - _RATE_SECONDS, second))
        chosen = self._choose()
        groups = [Group(name, self._colours[name], self._groups[name], _series(bins, {name})) for name in chosen]
        rest = self._groups.keys() - chosen
        if rest:
            sums = Sums()
            for name in rest:
                each = self._groups[name]
                sums.add(each.events, each.values, each.total)
            groups.append(Group(Own.OTHERS, None, sums, _series(bins, rest)))
        newest = tuple(reversed(self._newest))
        return Look(now, self.width, recent / _RATE_SECONDS, self.sums, tuple(groups), newest)

    def totals(self) -> dict[Name, Sums]:
        """Of each group, in all: the largest first."""
        return dict(sorted(self._groups.items(), key=lambda each: -each[1].events))

    def _count(self, number: int | None, group: Name, events: int, values: int, total: float) -> None:
        if group not in self._groups and len(self._groups) >= MOST_GROUPS:
            group = Own.OTHERS
        self.sums.add(events, values, total)
        self._groups.setdefault(group, Sums()).add(events, values, total)
        if number is not None:
            self._bins.setdefault(number, {}).setdefault(group, Sums()).add(events, values, total)

    def _forget(self, now: int) -> None:
        """What is older than the window."""
        oldest = now // self.width - BINS + 1
        for number in [number for number in self._bins if number < oldest]:
            del self._bins[number]
        for number in [number for number in self._per_second if number < now // _SECOND - _RATE_SECONDS]:
            del self._per_second[number]

    def _choose(self) -> list[Name]:
        """The groups that have a colour: the largest, each with the colour that it had."""
        named = [name for name in self.totals() if name is not Own.OTHERS]
        chosen: list[Name] = [*named[:COLOURED]]
        self._colours = {name: colour for name, colour in self._colours.items() if name in chosen}
        free = [colour for colour in range(COLOURED) if colour not in self._colours.values()]
        for name in chosen:
            if name not in self._colours:
                self._colours[name] = free.pop(0)
        return chosen

    def _finite(self, values: pa.Array) -> pa.Array:
        finite = pc.is_finite(values)
        self.misfits += finite.false_count
        return pc.if_else(finite, values, None)

    def _rows(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        shown = {name: name for name in _COLUMNS} | {"group": self.by} | ({"value": self.value} if self.value else {})
        columns = [batch.column(name).to_pylist() for name in shown.values()]
        return [{name: _cut(each) for name, each in zip(shown, row, strict=True)} for row in zip(*columns, strict=True)]


def _cut(value: Any) -> Any:
    return value[:MOST_TEXT] if isinstance(value, str) else value


def _series(bins: list[dict[Name, Sums]], names: set[Name]) -> tuple[Sums, ...]:
    """Of some groups together, the sums of each bin."""
    series = []
    for counted in bins:
        sums = Sums()
        for name in counted.keys() & names:
            each = counted[name]
            sums.add(each.events, each.values, each.total)
        series.append(sums)
    return tuple(series)
