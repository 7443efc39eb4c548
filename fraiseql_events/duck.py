"""DuckDB over Arrow: connections of our own, and tables whose rows change beneath a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB of our own with one thread; times without a zone are UTC."""
    import duckdb  # it takes a tenth of a second to load

    connection = duckdb.connect(":memory:", config={"threads": 1, "autoinstall_known_extensions": False})
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
