"""The tables in ClickHouse: their SQL, which is also that of docs/clickhouse.md, and whether a table is ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.sinks.address import check_name

#: What a column is in ClickHouse, in the table's order.
COLUMNS: Final = {
    "offset": "UInt64",
    "event_id": "String",
    "event_type": "LowCardinality(String)",
    "entity_type": "LowCardinality(String)",
    "entity_id": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "data": "String",
    "user_id": "Nullable(String)",
    "org_id": "LowCardinality(Nullable(String))",
}
#: What is written of each block before the block itself; see `Position`.
POSITION: Final = {
    "number": "UInt64",
    "entity": "String",
    "history": "String",
    "after_offset": "Int64",
    "offset": "Int64",
    "events": "UInt64",
    "sink": "String",
    "written": "DateTime64(3, 'UTC')",
}
#: Of so many parts ClickHouse remembers what block they came from. A block has one in each month: 4 800 at the most.
WINDOW: Final = 10_000
_CODECS: Final = {"offset": " CODEC(Delta, ZSTD)", "timestamp": " CODEC(Delta, ZSTD)"}
_DAYS: Final = re.compile(r"\bTTL timestamp \+ (?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)")


@dataclass(frozen=True, slots=True)
class Counts:
    """A table of counts, which a materialized view fills.

    Attributes:
        name: the table's.
        period: its first column, with its type.
        keys: what its columns are of an event; the first is the period.
    """

    name: str
    period: str
    keys: Mapping[str, str]

    @property
    def view(self) -> str:
        """The name of the view that fills it."""
        return f"{self.name}_view"

    def migration(self, events: str) -> list[str]:
        """The statements that make table and view."""
        columns = [f"    {self.period}"]
        columns += [f"    {name} {COLUMNS[name]}" for name in list(self.keys)[1:]]
        order = ", ".join([*list(self.keys)[1:], next(iter(self.keys))])
        table = (
            f"CREATE TABLE IF NOT EXISTS {self.name} (\n" + ",\n".join([*columns, "    events Int64"]) + "\n)\n"
            f"ENGINE = SummingMergeTree(events)\nORDER BY ({order})\n"
            f"SETTINGS non_replicated_deduplication_window = {WINDOW}, allow_nullable_key = 1"
        )
        chosen = ", ".join(name if name == value else f"{value} AS {name}" for name, value in self.keys.items())
        view = (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self.view} TO {self.name} AS\n"
            f"SELECT {chosen}, count() AS events\nFROM {events}\nGROUP BY {', '.join(self.keys)}"
        )
        return [table, view]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """A sink's tables.

    Args:
        database: where they are.
        table: that of the events; the names of the others begin with it.
        keep_days: ClickHouse removes events that are older; None keeps them.

    Raises:
        InvalidArgument: a name is none, or the days are no whole number above 0.
    """

    database: str
    table: str
    keep_days: int | None = None

    def __post_init__(self) -> None:
        check_name("database", self.database)
        check_name("table", self.table)
        days = self.keep_days
        if days is not None and (not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 36_500):
            raise InvalidArgument(f"keep_days is {days!r}: a whole number of days is expected, from 1 to 36500")

    @property
    def events(self) -> str:
        """The table of the events."""
        return f"{self.database}.{self.table}"

    @property
    def position(self) -> str:
        """The table of the place that the sink has come to."""
        return f"{self.events}_position"

    @property
    def counts(self) -> tuple[Counts, Counts]:
        """Those of the counts: by hour, entity type and event type; by day and organisation."""
        hour = {"hour": "toStartOfHour(timestamp)", "entity_type": "entity_type", "event_type": "event_type"}
        day = {"day": "toDate32(timestamp)", "org_id": "org_id"}
        return (
            Counts(f"{self.events}_hourly", "hour DateTime('UTC')", hour),
            Counts(f"{self.events}_daily", "day Date32", day),
        )

    def migration(self) -> list[str]:
        """The statements that make what is not there yet."""
        views = [statement for counts in self.counts for statement in counts.migration(self.events)]
        return [_events_table(self.events, self.keep_days), *views]

    def position_table(self) -> str:
        """The statement that makes the table of the position."""
        return (
            f"CREATE TABLE IF NOT EXISTS {self.position} (\n{_lines(POSITION)}\n)\n"
            "ENGINE = ReplacingMergeTree(number)\nORDER BY entity\n"
            f"SETTINGS non_replicated_deduplication_window = {WINDOW}"
        )


def difference(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """What a table of another shape has otherwise; nothing when it can be filled. Columns that are more do no harm."""
    return ", ".join(
        f"{name} is {found[name]} instead of {kind}" if name in found else f"{name} ({kind}) is missing"
        for name, kind in expected.items()
        if name not in found or _plain(found[name]) != _plain(kind)
    )


def days_kept(create_statement: str) -> int | None:
    """After how many days a table of ours removes events; None when it keeps them."""
    found = _DAYS.search(create_statement)
    return int(found[1] or found[2]) if found else None


def _plain(kind: str) -> str:
    """A type without LowCardinality, which changes how values are stored and not what they are."""
    return re.sub(r"LowCardinality\((.*)\)\Z", r"\1", kind)


def _events_table(name: str, keep_days: int | None) -> str:
    removal = "" if keep_days is None else f"TTL timestamp + INTERVAL {keep_days} DAY\n"
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (\n{_lines(COLUMNS)},\n    INDEX by_offset offset TYPE minmax\n)\n"
        "ENGINE = MergeTree\nPARTITION BY toYYYYMM(timestamp)\nORDER BY (entity_type, timestamp)\n"
        f"{removal}SETTINGS non_replicated_deduplication_window = {WINDOW}"
    )


def _lines(columns: Mapping[str, str]) -> str:
    return ",\n".join(f"    {name} {kind}{_CODECS.get(name, '')}" for name, kind in columns.items())
