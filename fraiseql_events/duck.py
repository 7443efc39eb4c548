"""DuckDB over Arrow: connections of our own, and tables whose rows change beneath a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB of our own, which works in the thread that asks; times without a zone are UTC.

    It has no threads: a child of `os.fork` drops what other threads held, and DuckDB would wait there for threads that
    the child has not. A notebook's ``!command`` forks, and so does `multiprocessing`.
    """
    import duckdb  # it takes a tenth of a second to load

    config: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "autoinstall_known_extensions": False}
    try:
        connection = duckdb.connect(":memory:", config=config | {"async_threads": 0})
    except duckdb.Error:  # before DuckDB 2 there were none
        connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class ChangingTable:
    """A table that a query reads, with other rows each time: binding the query anew would cost a millisecond.

    Args:
        schema: its columns.
    """

    def __init__(self, schema: pa.Schema) -> None:
        empty = pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
        self._empty = self._table = empty

    def answer(self, query: duckdb.DuckDBPyRelation, table: pa.Table) -> pa.Table:
        """What a query gives on these rows, which are not held afterwards."""
        self._table = table
        try:
            return query.to_arrow_table()
        finally:
            self._table = self._empty

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)
