"""Opens a sink's tables: makes them where they are not there, and refuses those that it would spoil."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Final

from fraiseql_events.errors import SinkError, SinkUnavailable
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.position import Position, Positions
from fraiseql_events.sinks.schema import COLUMNS, POSITION, Counts, Tables, days_kept, difference

log: Final = logging.getLogger(__name__)

_TABLE: Final = "SELECT create_table_query FROM system.tables WHERE database = {a:String} AND name = {b:String}"
_COLUMNS: Final = "SELECT name, type FROM system.columns WHERE database = {a:String} AND table = {b:String}"
_ENGINE: Final = re.compile(r"\bENGINE = `?(\w+)")
_LOSING: Final = re.compile(r"Null|\w*(?:Replacing|Summing|Aggregating|Collapsing|Coalescing|Graphite)MergeTree")


@dataclass(frozen=True, slots=True)
class Opened:
    """Tables that can be filled.

    Attributes:
        positions: the table of the position.
        position: its last row; None while nothing has been inserted.
        keeps_all: whether no event is removed from the table by its age.
        days: after how many days one is; None where it is by another rule, or never.
        counts: the tables of counts that there are.
    """

    positions: Positions
    position: Position | None
    keeps_all: bool
    days: int | None
    counts: tuple[Counts, ...]


def open_tables(engine: Engine, tables: Tables, entity: str, sink: str) -> Opened:
    """The tables, made where they are not there.

    Args:
        engine: where they are.
        tables: their names.
        entity: what the table is filled with, as in a ticket.
        sink: which sink asks.

    Raises:
        SinkError: a table has another shape, or other events, or is gone.
    """
    positions = Positions(engine, tables, sink)
    if not engine.ask("SELECT 1 FROM system.databases WHERE name = {a:String}", a=tables.database):
        engine.run(f"CREATE DATABASE IF NOT EXISTS {tables.database}")
    if _table(engine, tables.position) is None:  # who may not make tables may fill those that there are
        engine.run(tables.position_table())
    _check_columns(engine, tables.position, POSITION)
    position = positions.newest()
    if position is None:
        _make(engine, tables, positions)
    _check_position(position, tables, entity)
    statement = _table(engine, tables.events)
    if statement is None:
        raise SinkError(
            f"{tables.events} is gone, while {tables.position} says that it was filled: drop that, too, and "
            f"{' and '.join(counts.name for counts in tables.counts)}, and it is filled anew"
        )
    _check_columns(engine, tables.events, COLUMNS)
    _check_rows_are_kept(tables.events, statement)
    _check_days(tables, statement)
    counts = _counts(engine, tables)
    return Opened(positions, position, " TTL " not in statement, days_kept(statement), counts)


def _make(engine: Engine, tables: Tables, positions: Positions) -> None:
    """Makes what is not there yet, unless there is a table that somebody else has filled, or a sink of before."""
    for name in (tables.events, *(counts.name for counts in tables.counts)):
        if _table(engine, name) is None:
            continue
        if name == tables.events:
            _check_columns(engine, name, COLUMNS)
        ((rows,),) = engine.ask(f"SELECT count() FROM {name}")  # noqa: S608 - our names
        if rows and positions.newest() is not None:
            raise SinkUnavailable(f"another sink has begun to fill {tables.events} just now")
        if rows:
            raise SinkError(
                f"{name} has {rows:,} {'row' if rows == 1 else 'rows'}, and {tables.position} does not say how they "
                "came there: name another table, or drop this one"
            )
    for statement in tables.migration():
        engine.run(statement)


def _counts(engine: Engine, tables: Tables) -> tuple[Counts, ...]:
    """The tables of counts that there are."""
    found = tuple(each for each in tables.counts if _table(engine, each.name) is not None)
    for each in tables.counts:
        if each not in found and _table(engine, each.view) is not None:
            raise SinkError(f"{each.name} is gone, and {each.view}, which fills it, is not: DROP VIEW {each.view}")
        if each in found and _table(engine, each.view) is None:
            log.warning(
                "%s is gone: %s counts nothing any more, drop it too if you do not want it", each.view, each.name
            )
    return found


def _table(engine: Engine, name: str) -> str | None:
    """The statement that would make a table; None when there is none."""
    database, _, table = name.partition(".")
    found = engine.ask(_TABLE, a=database, b=table)
    return str(found[0][0]) if found else None


def _check_columns(engine: Engine, name: str, expected: dict[str, str]) -> None:
    database, _, table = name.partition(".")
    found: dict[str, str] = dict(engine.ask(_COLUMNS, a=database, b=table))
    if not found.keys() & expected.keys():
        raise SinkError(f"{name} is a table of something else: name another table")
    if differences := difference(found, expected):
        raise SinkError(f"{name} is a table of another shape: {differences}; name another table")


def _check_rows_are_kept(name: str, statement: str) -> None:
    """Some engines make one row of several, or none."""
    found = _ENGINE.search(statement)
    if found is not None and _LOSING.fullmatch(found[1]):
        raise SinkError(
            f"{name} has the engine {found[1]}, which does not keep each row: make it a MergeTree, or name another "
            "table"
        )


def _check_position(position: Position | None, tables: Tables, entity: str) -> None:
    if position is not None and position.entity != entity:
        raise SinkError(
            f"{tables.events} is filled with the events of {position.entity!r}: for those of {entity!r} "
            "name another table"
        )


def _check_days(tables: Tables, statement: str) -> None:
    wanted, found = tables.keep_days, days_kept(statement)
    if wanted is not None and wanted != found:
        now = "all events" if found is None else f"events for {found} days"
        raise SinkError(
            f"{tables.events} keeps {now}, not for {wanted} days: "
            f"ALTER TABLE {tables.events} MODIFY TTL timestamp + INTERVAL {wanted} DAY changes that"
        )
