"""The place that a sink has come to, kept in ClickHouse beside the events.

Before each block goes a row that says which block it is, under a number that ClickHouse takes once. So whoever starts
knows the last block that may be there in part, and of two sinks at one table one learns that the other has gone on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa

from fraiseql_events.errors import SinkError, SinkUnavailable
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.schema import Tables

_SCHEMA: Final = pa.schema(
    [
        ("number", pa.int64()),
        ("entity", pa.string()),
        ("history", pa.string()),
        ("after_offset", pa.int64()),
        ("offset", pa.int64()),
        ("events", pa.int64()),
        ("sink", pa.string()),
        ("written", pa.timestamp("ms", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Position:
    """A row of the position's table: a block, which is being inserted or has been.

    Attributes:
        number: 1, 2, …: ClickHouse takes each once.
        entity: which events the table is filled with, as in a ticket.
        history: what the offsets are offsets of.
        after_offset: the offset before the block's first event.
        offset: that of its last event.
        events: how many events the block has; with none, all before it are complete.
    """

    number: int
    entity: str
    history: str
    after_offset: int
    offset: int
    events: int

    @property
    def token(self) -> str:
        """By which ClickHouse recognises the block."""
        return f"{self.history} {self.entity} {self.after_offset} {self.offset}"


class Positions:
    """The position's table.

    Args:
        engine: where it is.
        tables: their names.
        sink: which sink writes.
    """

    def __init__(self, engine: Engine, tables: Tables, sink: str) -> None:
        self._engine = engine
        self._table = tables.position
        self._sink = sink
        self._has_written = False

    def newest(self) -> Position | None:
        """The last row; None when there is none."""
        columns = ", ".join(_SCHEMA.names[:6])
        rows = self._engine.ask(f"SELECT {columns} FROM {self._table} ORDER BY number DESC LIMIT 1")  # noqa: S608 - our names
        return Position(*rows[0]) if rows else None

    def write(self, position: Position) -> Position:
        """Writes the next row.

        Raises:
            SinkError: another sink has written one since this one wrote its last.
            SinkUnavailable: another one than this has come late, of this sink's or of one that may have died.
        """
        written = replace(position, number=position.number + 1)
        values = (getattr(written, name) for name in _SCHEMA.names[:6])
        row = [*values, self._sink, datetime.now(UTC)]
        rows = pa.table([[value] for value in row], schema=_SCHEMA)
        self._engine.insert_rows(self._table, rows, f"position {written.number}")
        columns = ", ".join(["sink", *_SCHEMA.names[:6]])
        query = f"SELECT {columns} FROM {self._table} ORDER BY number DESC LIMIT 1"  # noqa: S608 - our names
        ((sink, *found),) = self._engine.ask(query)
        if sink != self._sink and not self._has_written:  # it may have died, and its row has come late
            raise SinkUnavailable(f"another sink has written to {self._table} just now")
        if sink != self._sink:
            raise SinkError(
                f"another sink fills {self._table.removesuffix('_position')}, since this one began: it goes on, "
                "and this one ends"
            )
        if Position(*found) != written:  # a row that was given up has come after all
            raise SinkUnavailable(f"{self._table} is behind what it was told")
        self._has_written = True
        return written
