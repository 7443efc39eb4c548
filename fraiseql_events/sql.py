"""SQL over entity types as tables, by DuckDB; only the columns and the rows that a query needs are asked for."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.caller import caller_level
from fraiseql_events.duck import connect
from fraiseql_events.errors import EventsError, InvalidArgument, brief_when_stopped
from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.interruptible import interruptible
from fraiseql_events.names import UnknownName
from fraiseql_events.sql_errors import sentence
from fraiseql_events.sql_frame import frame_of
from fraiseql_events.sql_plan import Needed, needed
from fraiseql_events.ticket import ALL
from fraiseql_events.wording import near

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from fraiseql_events.stream import EventStream

#: The table of all entity types.
EVERYTHING: Final = "events"
#: So much DuckDB holds; the rest is in files, until the query ends.
MEMORY_LIMIT: Final = "1GiB"
#: So long an interrupt waits for DuckDB and the server to let go.
_PATIENCE_SECONDS: Final = 0.7
_MISSING: Final = re.compile(
    r"Table with name (?P<name>.+) does not exist!|Circular reference to CTE \"(?P<own>.+)\", use", re.DOTALL
)
#: What a query with a PIVOT in it begins with; DuckDB makes several statements of it.
_READS: Final = re.compile(r"\(*\s*(pivot|with|select|from|unpivot|describe|summarize|table|values)\b", re.IGNORECASE)
_COMMENTS: Final = re.compile(r"^(\s|--[^\n]*(\n|$)|/\*.*?\*/)*", re.DOTALL)
#: The offset first: DuckDB counts by the first column, and it is the smallest.
_OFFSET_FIRST: Final = pa.schema([OFFSET, *(each for each in LOG_SCHEMA if each.name != OFFSET.name)])


def run(query: str, entities: Callable[[], Iterable[str]], stream: Callable[..., EventStream[Any]]) -> pl.DataFrame:
    """The answer to a query.

    Args:
        query: one SELECT; its tables are entity types, and ``events``, which is all of them.
        entities: the entity types that there are.
        stream: as `EventClient.stream`.

    Raises:
        InvalidArgument: it is no such query, or a table is none.
        KeyboardInterrupt: it was stopped; what it held has been let go.
    """
    asked = Query(query, entities, stream)
    with brief_when_stopped(KeyboardInterrupt):
        asked.prepare()
        try:
            answer = interruptible(asked.answer)
        except KeyboardInterrupt:
            asked.stop()
            raise
    for said in asked.unknown:
        warnings.warn(said, UnknownName, stacklevel=caller_level())
    return answer


class Query:
    """One query: prepared, then answered in a thread that may be another, where it may be stopped.

    Args:
        query: as for `run`.
        entities: likewise.
        stream: likewise.
    """

    def __init__(
        self, query: str, entities: Callable[[], Iterable[str]], stream: Callable[..., EventStream[Any]]
    ) -> None:
        self._query = query
        self._entities = entities
        self._stream = stream
        self._tables = Tables(query)
        self._names: set[str] = set()
        self._pivots = False
        self._listed: list[str] | None = None
        self._wanted: dict[str, Needed] = {}
        self._streams: list[EventStream[Any]] = []
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._held = ExitStack()
        self._failure: EventsError | None = None
        self._stopped = False
        self._done = threading.Event()

    def prepare(self) -> None:
        """Finds out what is to be read.

        Raises:
            InvalidArgument: it cannot be answered; nothing is held any more.
        """
        with ExitStack() as held, self._told():
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="fraiseql-events-sql-"))
            self._connection = held.enter_context(connect())
            self._connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
            self._connection.execute(f"SET temp_directory = {_text(folder)}")
            self._connection.execute("SET python_enable_replacements = false")  # a variable of ours is no table
            self._connection.execute("SET enable_progress_bar = false")  # it would be among what a program prints
            self._prepare(self._connection)
            self._held = held.pop_all()

    def answer(self) -> pl.DataFrame:
        """The answer; what is held for it is let go."""
        assert self._connection is not None
        try:
            with self._held, self._told():
                return self._answer(self._connection)
        finally:
            self._done.set()

    @property
    def unknown(self) -> list[str]:
        """A sentence on each name that no event has."""
        return [each.unknown for each in self._streams if each.unknown]

    def stop(self) -> None:
        """Ends the answering soon, and waits for it."""
        import duckdb

        self._stopped = True
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while not self._done.wait(0.05) and time.monotonic() < give_up:
            for each in self._streams:
                each.close()
            if (connection := self._connection) is not None:
                with suppress(duckdb.Error):  # it was closed meanwhile
                    connection.interrupt()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Makes DuckDB's errors ours."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            if self._failure is not None:
                raise self._failure from error
            raise InvalidArgument(sentence(error, self._entities)) from error

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        parsed = _parsed(connection, self._query)
        if parsed is None:
            known = list(self._entities())
            self._entities = lambda: known  # asked for where an interrupt ends the wait
            self._names = {name for name in (*known, EVERYTHING) if name in self._query}
            self._pivots = True
        elif "tables" in _names(parsed, "SHOW_REF"):
            self._listed = sorted({*self._entities(), EVERYTHING})
        else:
            self._names = _names(parsed, "BASE_TABLE")
            self._bind(lambda: connection.execute(f"EXPLAIN {self._query}"))
            connection.begin()  # in which the time is one
            self._wanted = needed(connection, self._query, self._tables.marks, parsed)

    def _answer(self, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
        import polars as pl

        if self._listed is not None:
            return pl.DataFrame({"name": self._listed})
        if self._pivots:
            self._bind(lambda: connection.sql(self._query))  # which runs a part of it
            self._wanted = {table: Needed.all() for table in self._tables.marks}
        for table, wants in self._wanted.items():
            self._fill(connection, table, wants)
        relation = connection.sql(self._query)
        return frame_of(relation.to_arrow_table(), relation.types)

    def _bind(self, attempt: Callable[[], object]) -> None:
        """Attempts it until all tables are there that it asks for, empty."""
        import duckdb

        while True:
            try:
                attempt()
                return
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                found = _MISSING.search(str(error))
                name = None if found is None else found["name"] or found["own"]
                if name is None or name in self._tables.marks:
                    raise
                self._check(name)
                assert self._connection is not None
                self._tables.add(self._connection, name)
                self._check_spelling()

    def _check(self, name: str) -> None:
        if name == EVERYTHING:
            return
        known = [each for each in self._entities() if each != EVERYTHING]
        if name not in known:
            there = f"there are {', '.join([*known, EVERYTHING])}" if known else "there are no events yet"
            raise InvalidArgument(f"there is no table {name!r}{near(name, [*known, EVERYTHING])}; {there}")

    def _check_spelling(self) -> None:
        """Whether two names that the query has are one for SQL."""
        spelled = Counter(name.casefold() for name in {*self._names, *self._tables.marks})
        for name in sorted(self._tables.marks):
            if spelled[name.casefold()] > 1:
                raise InvalidArgument(
                    f"{name!r} and another table differ only in upper and lower case, which SQL takes for one: ask for "
                    f"one at a time, or {EVERYTHING} with a condition on entity_type"
                )

    def _fill(self, connection: duckdb.DuckDBPyConnection, table: str, wants: Needed) -> None:
        """Puts the rows that are wanted into a table."""
        bounds = wants.bounds
        if bounds.empty or self._stopped:
            return
        entity = bounds.entity(ALL if table == EVERYTHING else table)
        stream = self._held.enter_context(self._stream(entity, columns=wants.listed, **bounds.options()))
        stream.warns = False  # it is read by DuckDB, which takes a warning that is an error for a fault
        self._streams.append(stream)
        reader = pa.RecordBatchReader.from_batches(stream.schema, self._batches(stream))
        self._tables.fill(connection, table, reader, often=wants.often)

    def _batches(self, stream: EventStream[Any]) -> Iterator[pa.RecordBatch]:
        try:
            yield from stream.batches()
        except EventsError as error:
            self._failure = error  # DuckDB would tell it in its own words
            raise


class Tables:
    """The tables of a query, as views of what there is of each.

    Args:
        query: which must not know the names of what is beneath.

    Attributes:
        marks: of each table, what the names of its columns begin with beneath.
    """

    def __init__(self, query: str) -> None:
        self.marks: dict[str, str] = {}
        self._prefix = "source"
        while self._prefix in query:
            self._prefix += "_"

    def add(self, connection: duckdb.DuckDBPyConnection, table: str) -> None:
        """Makes a table without rows, by whose columns a plan tells which table it reads."""
        mark = self.marks[table] = f"{self._prefix}{len(self.marks)}."
        rows = _OFFSET_FIRST.empty_table().rename_columns([mark + name for name in _OFFSET_FIRST.names])
        connection.register(self._beneath(table), rows)
        self._view(connection, table, {name: mark + name for name in LOG_SCHEMA.names})

    def fill(
        self, connection: duckdb.DuckDBPyConnection, table: str, rows: pa.RecordBatchReader, *, often: bool
    ) -> None:
        """Gives it rows; what is read often is kept, in files where it is large."""
        beneath = self._beneath(table)
        connection.unregister(beneath)
        connection.register(f"{beneath} once" if often else beneath, rows)
        if often:
            connection.execute(f"CREATE TEMP TABLE {_quoted(beneath)} AS FROM {_quoted(f'{beneath} once')}")
        self._view(connection, table, {name: name for name in rows.schema.names})

    def _view(self, connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str]) -> None:
        chosen = [f"{_column(name, columns)} AS {_quoted(name)}" for name in LOG_SCHEMA.names]
        source = f"SELECT {', '.join(chosen)} FROM {_quoted(self._beneath(table))}"  # noqa: S608
        connection.execute(f"CREATE OR REPLACE VIEW {_quoted(table)} AS {source}")

    def _beneath(self, table: str) -> str:
        return f"{self.marks[table]}rows"


def _column(name: str, beneath: dict[str, str]) -> str:
    """A column by its name beneath; one that is not there is an error to use."""
    if name in beneath:
        return _quoted(beneath[name])
    kind = {"timestamp": "TIMESTAMP WITH TIME ZONE", "offset": "BIGINT"}.get(name, "VARCHAR")
    return f"CAST(error('{name} was not read') AS {kind})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _parsed(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """A query as DuckDB reads it; None where it has a PIVOT, of which DuckDB makes several statements."""
    import duckdb

    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise InvalidArgument(f"this SQL cannot be answered: {len(statements)} statements; one SELECT is expected")
    if statements[0].type == duckdb.StatementType.MULTI and _READS.match(_COMMENTS.sub("", query)):
        return None
    if statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidArgument("this SQL cannot be answered: it is no SELECT, and events are only read")
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    return json.loads(text)


def _names(node: Any, kind: str) -> set[str]:
    """The tables that a query names in one way."""
    found = set()
    if isinstance(node, dict):
        if node.get("type") == kind:
            found.add(str(node["table_name"]).strip('"'))
        node = list(node.values())
    if isinstance(node, list):
        found.update(*(_names(each, kind) for each in node))
    return found
