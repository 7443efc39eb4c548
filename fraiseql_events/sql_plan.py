"""What a query reads of each of its tables, by DuckDB's own plan for it: columns, and what bounds the rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from fraiseql_events.bounds import Bounds, between
from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.timestamps import DAY, parse_date, parse_time

if TYPE_CHECKING:
    import duckdb

#: One step of a plan, as DuckDB explains it.
Node = dict[str, Any]

_SCAN: Final = "PYTHON_ARROW_SCAN"
_VALUE: Final = r"(?:'(?:[^']|'')*'(?:::TIMESTAMP WITH TIME ZONE|::DATE)?|-?\d+)"
_COLUMN: Final = r"(timestamp|date|offset|event_type|entity_type)"
_COMPARISON: Final = re.compile(rf"{_COLUMN} (=|>=|>|<=|<) ({_VALUE})", re.DOTALL)
_BETWEEN: Final = re.compile(rf"{_COLUMN} BETWEEN ({_VALUE}) AND ({_VALUE})", re.DOTALL)
_IN: Final = re.compile(rf"{_COLUMN} IN \(({_VALUE}(?:, {_VALUE})*)\)", re.DOTALL)
_TIME: Final = re.compile(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?)\+00'::TIMESTAMP WITH TIME ZONE", re.ASCII)
_DATE: Final = re.compile(r"'(\d{4}-\d\d-\d\d)'::DATE", re.ASCII)
#: How a plan writes a date, with the name that the query has for the time.
_DATE_OF_TIME: Final = "CAST(timestamp AS DATE)"


@dataclass(slots=True)
class Needed:
    """What a query needs of a table.

    Attributes:
        columns: those that it reads.
        rows: what bounds the rows of each scan.
        again: it reads a scan more than once, perhaps.
    """

    columns: set[str] = field(default_factory=set)
    rows: list[Bounds] = field(default_factory=list)
    again: bool = False

    @classmethod
    def all(cls) -> Needed:
        """Every column and every row, more than once."""
        return cls(set(LOG_SCHEMA.names), [Bounds()], again=True)

    @property
    def listed(self) -> list[str]:
        """The columns in an event's order; one at the least."""
        return [name for name in LOG_SCHEMA.names if name in self.columns] or [OFFSET.name]

    @property
    def bounds(self) -> Bounds:
        """What bounds the rows of all scans."""
        return reduce(Bounds.either, self.rows)

    @property
    def often(self) -> bool:
        """Whether the rows must be there to be read more than once."""
        return self.again or len(self.rows) > 1


def needed(
    connection: duckdb.DuckDBPyConnection, query: str, marks: dict[str, str], parsed: object
) -> dict[str, Needed]:
    """What a query reads, table by table; a table that it does not read is left out.

    Args:
        connection: has the tables, empty, whose columns are those of an event with a mark before their names.
        query: a SELECT.
        marks: of each table.
        parsed: the query as DuckDB reads it.
    """
    found: dict[str, Needed] = {}
    plan = _plan(connection, query)
    again = any("REC" in node["name"] and "CTE" in node["name"] for node, _ in _steps(plan))
    for scan, _ in _scans(plan):
        table, columns = _read(scan, marks)
        found.setdefault(table, Needed(again=again)).columns |= columns
    date = "" if _names_a_time(parsed) else _DATE_OF_TIME
    connection.execute("SET disabled_optimizers = 'in_clause'")  # which hides a list of values in a join
    try:
        for scan, above in _scans(_plan(connection, query)):
            table, _ = _read(scan, marks)
            found[table].rows.append(_filtered(above, marks[table], date))
    finally:
        connection.execute("RESET disabled_optimizers")
    return found


def _plan(connection: duckdb.DuckDBPyConnection, query: str) -> list[Node]:
    ((_, text),) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    return list(json.loads(text))


def _steps(nodes: Iterable[Node], above: tuple[Node, ...] = ()) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """The steps of a plan, each with those above it, the nearest first."""
    for node in nodes:
        yield node, above
        yield from _steps(node["children"], (node, *above))


def _scans(plan: list[Node]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    return ((node, above) for node, above in _steps(plan) if node["name"].strip() == _SCAN)


def _read(scan: Node, marks: dict[str, str]) -> tuple[str, set[str]]:
    """The table that a scan reads, and its columns."""
    names = scan["extra_info"]["Projections"]
    names = [names] if isinstance(names, str) else names
    table = next(table for table, mark in marks.items() if names[0].startswith(mark))
    return table, {name.removeprefix(marks[table]) for name in names}


def _names_a_time(parsed: object) -> bool:
    """Whether a query may call something else ``timestamp``."""
    if isinstance(parsed, dict):
        return any(_names_a_time(each) for key, each in parsed.items() if key not in ("column_names", "cast_type"))
    if isinstance(parsed, list):
        return any(map(_names_a_time, parsed))
    return isinstance(parsed, str) and "timestamp" in parsed.casefold()


def _filtered(above: Iterable[Node], mark: str, date: str) -> Bounds:
    """What the filters right above a scan say, as far as it is understood.

    Args:
        above: what stands there, the nearest first.
        mark: of the table.
        date: how the date of its time is written; empty where that is not certain.
    """
    bounds = Bounds()
    for node in above:
        expression = node["extra_info"].get("Expression")
        if node["name"].strip() == "FILTER" and isinstance(expression, str):
            bounds = bounds.both(_bounds(_dated(expression, date, mark), mark))
        elif node["name"].strip() not in ("FILTER", "PROJECTION"):
            break
    return bounds


def _dated(text: str, date: str, mark: str) -> str:
    """A condition with the date of the time as a column of its own, outside of texts."""
    if not date:
        return text
    parts = text.split("'")
    return "'".join([part.replace(date, f"{mark}date") if not place % 2 else part for place, part in enumerate(parts)])


def _bounds(text: str, mark: str) -> Bounds:
    text = _bare(text)
    if text.startswith(mark) and (leaf := _leaf(text.removeprefix(mark))) is not None:
        return leaf
    for word, combine in ((" AND ", Bounds.both), (" OR ", Bounds.either)):
        parts = _split(text, word)
        if len(parts) > 1:
            return reduce(combine, (_bounds(part, mark) for part in parts))
    return Bounds()


def _leaf(text: str) -> Bounds | None:
    """What a comparison says; None where it is none that is understood."""
    try:
        if found := _COMPARISON.fullmatch(text):
            return _compared(found[1], found[2], [found[3]])
        if found := _BETWEEN.fullmatch(text):
            return _compared(found[1], ">=", [found[2]]).both(_compared(found[1], "<=", [found[3]]))
        if found := _IN.fullmatch(text):
            return _compared(found[1], "=", re.findall(_VALUE, found[2]))
    except ValueError:
        pass  # a time that is none in RFC 3339, such as infinity
    return None


def _compared(column: str, operator: str, values: list[str]) -> Bounds:
    if column in ("event_type", "entity_type"):
        if operator != "=":
            return Bounds()
        types = frozenset(value[1:-1].replace("''", "'") for value in values)
        return Bounds(event_types=types) if column == "event_type" else Bounds(entity_types=types)
    if column == "offset":
        numbers = [int(value) for value in values]
        first, stop = between(operator, min(numbers), max(numbers))
        return Bounds(first=first, stop=stop)
    unit = DAY if column == "date" else 1
    moments = [_moment(value, _DATE if column == "date" else _TIME) // unit for value in values]
    start, end = between(operator, min(moments), max(moments), unit)
    return Bounds(start=start, end=end)


def _moment(value: str, form: re.Pattern[str]) -> int:
    found = form.fullmatch(value)
    if found is None:
        raise ValueError(value)
    day = parse_date(found[1])
    return parse_time(found[1] + "Z") if day is None else day


def _bare(text: str) -> str:
    """A condition without the brackets around all of it."""
    while text.startswith("(") and next(_outside(text), None) == len(text) - 1:
        text = text[1:-1]
    return text


def _split(text: str, word: str) -> list[str]:
    """A condition at a word outside all brackets and quotes."""
    parts, start = [], 0
    for place in _outside(text):
        if place >= start and text.startswith(word, place):
            parts.append(text[start:place])
            start = place + len(word)
    return [*parts, text[start:]]


def _outside(text: str) -> Iterator[int]:
    """The places outside all brackets and quotes; a bracket that closes the outermost is one."""
    quoted, depth = False, 0
    for place, letter in enumerate(text):
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if not quoted and depth == 0:
            yield place
