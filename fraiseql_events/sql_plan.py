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
from fraiseql_events.timestamps import parse_time

if TYPE_CHECKING:
    import duckdb

#: One step of a plan, as DuckDB explains it.
Node = dict[str, Any]

_SCAN: Final = "PYTHON_ARROW_SCAN"
_VALUE: Final = r"(?:'(?:[^']|'')*'(?:::TIMESTAMP WITH TIME ZONE)?|-?\d+)"
_COLUMN: Final = r"(timestamp|offset|event_type|entity_type)"
_COMPARISON: Final = re.compile(rf"{_COLUMN} (=|>=|>|<=|<) ({_VALUE})", re.DOTALL)
_BETWEEN: Final = re.compile(rf"{_COLUMN} BETWEEN ({_VALUE}) AND ({_VALUE})", re.DOTALL)
_IN: Final = re.compile(rf"{_COLUMN} IN \(({_VALUE}(?:, {_VALUE})*)\)", re.DOTALL)
_TIME: Final = re.compile(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?)\+00'::TIMESTAMP WITH TIME ZONE", re.ASCII)


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


def needed(connection: duckdb.DuckDBPyConnection, query: str, marks: dict[str, str]) -> dict[str, Needed]:
    """What a query reads, table by table; a table that it does not read is left out.

    Args:
        connection: has the tables, empty, whose columns are those of an event with a mark before their names.
        query: a SELECT.
        marks: of each table.
    """
    found: dict[str, Needed] = {}
    plan = _plan(connection, query)
    again = any("REC" in node["name"] and "CTE" in node["name"] for node, _ in _steps(plan))
    for scan, _ in _scans(plan):
        table, columns = _read(scan, marks)
        found.setdefault(table, Needed(again=again)).columns |= columns
    connection.execute("SET disabled_optimizers = 'in_clause'")  # which hides a list of values in a join
    try:
        for scan, above in _scans(_plan(connection, query)):
            table, _ = _read(scan, marks)
            found[table].rows.append(_filtered(above, marks[table]))
    finally:
        connection.execute("RESET disabled_optimizers")
    return found


def _plan(connection: duckdb.DuckDBPyConnection, query: str) -> list[Node]:
    ((_, text),) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    return list(json.loads(text))


def _steps(nodes: Iterable[Node], above: Node | None = None) -> Iterator[tuple[Node, Node | None]]:
    """The steps of a plan, each with what stands right above it."""
    for node in nodes:
        yield node, above
        yield from _steps(node["children"], node)


def _scans(plan: list[Node]) -> Iterator[tuple[Node, Node | None]]:
    return ((node, above) for node, above in _steps(plan) if node["name"].strip() == _SCAN)


def _read(scan: Node, marks: dict[str, str]) -> tuple[str, set[str]]:
    """The table that a scan reads, and its columns."""
    names = scan["extra_info"]["Projections"]
    names = [names] if isinstance(names, str) else names
    table = next(table for table, mark in marks.items() if names[0].startswith(mark))
    return table, {name.removeprefix(marks[table]) for name in names}


def _filtered(above: Node | None, mark: str) -> Bounds:
    """What the filter right above a scan says, as far as it is understood."""
    if above is None or above["name"].strip() != "FILTER":
        return Bounds()
    expression = above["extra_info"].get("Expression")
    return _bounds(expression, mark) if isinstance(expression, str) else Bounds()


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
    numbers = [_moment(value) if column == "timestamp" else int(value) for value in values]
    first, second = between(operator, min(numbers), max(numbers))
    return Bounds(start=first, end=second) if column == "timestamp" else Bounds(first=first, stop=second)


def _moment(value: str) -> int:
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError(value)
    return parse_time(found[1] + "Z")


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
