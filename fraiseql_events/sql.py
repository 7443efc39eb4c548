"""SQL over entity types as tables, by DuckDB; the columns and the range of times that a query needs are asked for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.duck import connect
from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.wording import near

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from fraiseql_events.stream import EventStream

#: The table of all entity types.
EVERYTHING: Final = "events"
_SCAN: Final = "PYTHON_ARROW_SCAN"
_COMPARISON: Final = re.compile(
    r"timestamp (>=|>|<) '(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00'::TIMESTAMP WITH TIME ZONE"
)
#: The offset first: DuckDB counts by the first column, and it is the smallest.
_OFFSET_FIRST: Final = pa.schema([OFFSET, *(each for each in LOG_SCHEMA if each.name != OFFSET.name)])


#: One step of a plan, as DuckDB explains it.
Node = dict[str, Any]


@dataclass(slots=True)
class Needed:
    """What a query needs of a table: columns and a range of times; and whether it may read them more than once."""

    columns: set[str] = field(default_factory=set)
    start: str | None = None
    end: str | None = None
    often: bool = False

    @property
    def listed(self) -> list[str]:
        """The columns in an event's order; one at the least."""
        return [name for name in LOG_SCHEMA.names if name in self.columns] or [OFFSET.name]


def run(query: str, entities: Callable[[], Iterable[str]], stream: Callable[..., EventStream[Any]]) -> pl.DataFrame:
    """The answer to a query.

    Args:
        query: one SELECT; its tables are entity types, and ``events``, which is all of them.
        entities: the entity types that there are.
        stream: as `EventClient.stream`.

    Raises:
        InvalidArgument: it is no such query, or a table is none.
    """
    import duckdb
    import polars as pl

    with connect() as connection:
        try:
            tables = _tables(connection, query)
            _check(tables, entities)
            needed = _needed(connection, query, tables)
            for table, wants in needed.items():
                entity = "*" if table == EVERYTHING else table
                found = stream(entity, wants.start, wants.end, columns=wants.listed)
                _add(connection, table, found.to_arrow() if wants.often else found.to_reader())
            return pl.DataFrame(connection.sql(query).to_arrow_table())
        except duckdb.Error as error:
            raise InvalidArgument(f"this SQL cannot be answered: {_said(error)}") from error


def _tables(connection: duckdb.DuckDBPyConnection, query: str) -> Counter[str]:
    """The tables that a query names, and how often."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    parsed = json.loads(text)
    if parsed["error"] or len(parsed["statements"]) != 1:
        said = parsed.get("error_message") or f"{len(parsed['statements'])} statements"
        raise InvalidArgument(f"this SQL cannot be answered: {said}; one SELECT is expected")
    own = set(_values(parsed, "cte_map", lambda found: [each["key"] for each in found["map"]]))
    return Counter(name for name in _values(parsed, "table_name", lambda found: [found]) if name and name not in own)


def _values(node: Any, key: str, take: Callable[[Any], list[str]]) -> Iterator[str]:
    if isinstance(node, dict):
        if key in node and (key != "table_name" or node.get("type") == "BASE_TABLE"):
            yield from take(node[key])
        for each in node.values():
            yield from _values(each, key, take)
    elif isinstance(node, list):
        for each in node:
            yield from _values(each, key, take)


def _check(tables: Iterable[str], entities: Callable[[], Iterable[str]]) -> None:
    unknown = set(tables) - {EVERYTHING}
    if not unknown:
        return
    known = [each for each in entities() if each != EVERYTHING]
    for name in sorted(unknown - set(known)):
        there = f"there are {', '.join([*known, EVERYTHING])}" if known else "there are no events yet"
        raise InvalidArgument(f"there is no table {name!r}{near(name, [*known, EVERYTHING])}; {there}")
    alike = Counter(name.casefold() for name in tables)
    for name in sorted(tables):
        if alike[name.casefold()] > 1:
            raise InvalidArgument(
                f"{name!r} and another table differ only in upper and lower case, which SQL takes for one: ask for "
                f"one at a time, or {EVERYTHING} with a condition on entity_type"
            )


def _needed(connection: duckdb.DuckDBPyConnection, query: str, tables: Counter[str]) -> dict[str, Needed]:
    """What the query reads of each table, by DuckDB's own plan for it over empty ones."""
    for table in tables:
        _add(connection, table, _OFFSET_FIRST.empty_table())
    ((_, text),) = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    scans = list(_scans(json.loads(text), None))
    columns = {name for scan, _ in scans for name in _listed(scan["extra_info"].get("Projections", []))}
    alone = len(scans) == 1 and len(tables) == 1
    needed = {}
    for table, count in tables.items():
        wants = Needed(columns & set(LOG_SCHEMA.names), often=count > 1 or len(scans) > len(tables))
        if alone:
            wants.start, wants.end = _range(scans[0][1])
        needed[table] = wants
    return needed


def _scans(
    nodes: list[dict[str, Any]], above: dict[str, Any] | None
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The scans of a plan, each with what stands right above it."""
    for node in nodes:
        if node["name"].strip() == _SCAN:
            yield node, above
        yield from _scans(node["children"], node)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _range(above: Node | None) -> tuple[str | None, str | None]:
    """The range of times that a filter lets pass; it may be narrower."""
    if above is None or above["name"].strip() != "FILTER":
        return None, None
    start = end = None
    for condition in _conditions(above["extra_info"].get("Expression", "")):
        found = _COMPARISON.fullmatch(condition)
        if found and found[1] == "<":
            end = f"{found[2]}T{found[3]}Z"
        elif found:
            start = f"{found[2]}T{found[3]}Z"
    return start, end


def _conditions(text: str) -> Iterator[str]:
    """The conditions of which all must hold."""
    parts = _split(text)
    if len(parts) > 1:
        for part in parts:
            yield from _conditions(part)
    elif text.startswith("(") and text.endswith(")"):
        yield from _conditions(text[1:-1])
    else:
        yield text


def _split(text: str) -> list[str]:
    """A condition at its outermost ANDs."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, letter in enumerate(text):
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
        if not quoted and depth == 0 and text.startswith(" AND ", place):
            parts.append(text[start:place])
            start = place + len(" AND ")
    return [*parts, text[start:]]


def _add(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table | pa.RecordBatchReader) -> None:
    """Makes a table of rows, with a column of nulls for each that an event has and they lack."""
    quoted = '"' + table.replace('"', '""') + '"'
    connection.register("rows of " + table, rows)
    there = rows.schema.names
    kinds = {"timestamp": "TIMESTAMP WITH TIME ZONE", "offset": "BIGINT"}
    columns = [
        f'"{name}"' if name in there else f'NULL::{kinds.get(name, "VARCHAR")} AS "{name}"' for name in LOG_SCHEMA.names
    ]
    source = '"' + ("rows of " + table).replace('"', '""') + '"'
    connection.execute(f"CREATE OR REPLACE VIEW {quoted} AS SELECT {', '.join(columns)} FROM {source}")  # noqa: S608


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].partition(": ")[2] or lines[0] if lines else type(error).__name__
