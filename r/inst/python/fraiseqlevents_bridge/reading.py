"""A stream, read in steps that are short enough for R to see its interrupts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from fraiseql_events import EventClient, EventStream, Ticket
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.payload import path_of, takes_each
from fraiseql_events.time_range import format_end, format_start
from fraiseqlevents_bridge.answering import answering, in_one_go
from fraiseqlevents_bridge.columns import column_of, columns_of, whole

_PAYLOAD: Final = {
    "double": pa.float64(),
    "integer": pa.int32(),
    "integer64": pa.int64(),
    "character": pa.string(),
    "logical": pa.bool_(),
    "POSIXct": pa.timestamp("us", "UTC"),
    "Date": pa.date32(),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """What R has of a stream: so many events, up to an offset of a history, with so many values that did not fit."""

    rows: int
    offset: int | None
    history: str | None
    misfits: Counter[str]


class Reading:
    """A stream that is read in short steps: between two of them R sees whether it was interrupted.

    What a step had found when it was interrupted is asked for again in the next one. A follow whose types are to be
    found begins when there is an event to find them in; so far it has an event's own columns.

    Args:
        client: the client.
        ticket: what is asked for, in either spelling.
        payload: "infer", or the types of fields by their paths; None for none.
        bigint: as what whole numbers of 64 bits cross: "numeric", "integer64" or "character".
    """

    def __init__(self, client: EventClient, ticket: str, payload: str | dict[str, str] | None, bigint: str) -> None:
        self._client = client
        self._ticket = Ticket.decode(ticket)
        self._bigint = bigint
        self._payload: Any = _types(payload) if isinstance(payload, dict) else payload
        self._step = 0
        self._places = {0: _Place(0, self._ticket.after_offset, self._ticket.history, Counter())}
        self._gathered: list[pa.RecordBatch] = []
        self._awaits_types = payload == "infer" and self._ticket.mode == "streaming"
        self._stream: Any = self._first_event() if self._awaits_types else self._typed(0)
        self.schema: pa.Schema = self._stream.schema

    @answering
    @in_one_go
    def take(self, step: int, rows: int, seconds: float, arrow: bool) -> dict[str, Any]:
        """What comes within so many seconds, up to about so many events.

        Args:
            step: the number of the last step whose events R has.
            rows: how many are enough.
            seconds: how long the first of them is waited for.
            arrow: whether they come as a batch for R's package arrow, in the place of columns.
        """
        try:
            if self._awaits_types and not self._find_types(seconds):
                return self._known(0) | {"step": step}
            return self._take(step, rows, seconds, arrow)
        except BaseException:
            self.close()
            raise

    @answering
    @in_one_go
    def has_types(self, seconds: float) -> bool:
        """Whether the columns are known, within so many seconds."""
        return not self._awaits_types or self._find_types(seconds)

    def _find_types(self, seconds: float) -> bool:
        """Whether there is an event by now to find the types of the fields in."""
        self._stream = self._stream or self._first_event()
        if self._stream.poll(seconds) is None:
            return False
        self.close()
        self._stream = self._typed(0)
        self.schema, self._awaits_types = self._stream.schema, False
        return True

    def _take(self, step: int, rows: int, seconds: float, arrow: bool) -> dict[str, Any]:
        if self._stream is None or step != self._step:
            self.close()
            self._stream = self._ask(step)
        stream, found, had = self._stream, [], 0
        while had < rows and not stream.ended:
            batch = stream.poll(seconds)
            if batch is None:
                break
            found.append(batch)
            had += batch.num_rows
        if stream.offset is not None:  # a stream that was asked anew has none before its first batch
            self._offset, self._history = stream.offset, stream.history
        place = self._places[step]
        there = _Place(place.rows + had, self._offset, self._history, self._before + Counter(stream.misfits))
        self._step = step + 1
        self._places = {step: place, self._step: there}
        known = self._known(had) | {"step": self._step}
        if not had:
            return known
        table = _together(found, self.schema)
        return known | ({"batch": table.to_batches()[0]} if arrow else {"columns": columns_of(table, self._bigint)})

    @answering
    @in_one_go
    def gather(self, seconds: float) -> dict[str, Any]:
        """Keeps what comes within so many seconds, to be fetched column by column when all is there."""
        end = time.monotonic() + seconds
        while not self._stream.ended and (left := end - time.monotonic()) > 0:
            batch = self._stream.poll(left)
            if batch is not None:
                self._gathered.append(batch)
        self._offset, self._history = self._stream.offset, self._stream.history
        return self._known(self._stream.rows)

    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)

    def column(self, name: str) -> dict[str, Any]:
        """A column of what was gathered."""
        index = self.schema.get_field_index(name)
        chunks = [batch.column(index) for batch in self._gathered]
        return column_of(whole(pa.chunked_array(chunks, self.schema.field(index).type)), self._bigint)

    def _known(self, rows: int) -> dict[str, Any]:
        stream = self._stream
        return {
            "rows": rows,
            "ended": stream.ended,
            "offset": None if self._offset is None else str(self._offset),
            "history": self._history,
            "state": stream.state,
            "misfits": dict(self._before + Counter(stream.misfits)),
            "unknown": stream.unknown,
        }

    def close(self) -> None:
        """Ends the stream, on the server too; again does nothing."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _first_event(self) -> EventStream[pa.RecordBatch]:
        """A stream that ends with the first event of the range, and tells nothing of its own place."""
        place = self._places[0]
        self._offset, self._history, self._before = place.offset, place.history, place.misfits
        limit = 1 if self._ticket.limit is None else min(1, self._ticket.limit)
        return self._open(replace(self._ticket, limit=limit, after_offset=None, history=None), None)

    def _typed(self, step: int) -> EventStream[pa.RecordBatch]:
        """The same as `_ask`; the types of fields that it has found stay."""
        stream = self._ask(step)
        if self._payload is not None:
            own = LOG_SCHEMA.names
            self._payload = {path_of(field.name): field.type for field in stream.schema if field.name not in own}
        return stream

    def _ask(self, step: int) -> EventStream[pa.RecordBatch]:
        """A stream behind the events of a step."""
        place, limit = self._places[step], self._ticket.limit
        self._step, self._offset, self._history, self._before = step, place.offset, place.history, place.misfits
        left = None if limit is None else limit - place.rows
        rest = replace(self._ticket, limit=left, after_offset=place.offset, history=place.history)
        return self._open(rest, self._payload)

    def _open(self, ticket: Ticket, payload: Any) -> EventStream[pa.RecordBatch]:
        stream = self._client.stream(
            "*" if ticket.entity is None else ticket.entity,
            None if ticket.start is None else format_start(ticket.start),
            None if ticket.end is None else format_end(ticket.end),
            limit=ticket.limit,
            columns=ticket.columns,
            event_types=ticket.event_types,
            after_offset=ticket.after_offset,
            history=ticket.history,
            batch_size=ticket.batch_size,
            compression=ticket.compression,
            follow=ticket.mode == "streaming",
            payload=payload,
            frames="arrow",
            progress=False,
        )
        stream.warns = False  # R does it
        return stream


def _types(payload: dict[str, str]) -> dict[str, pa.DataType]:
    """The types that R has named, of lists where a path has several values."""
    return {path: pa.list_(_PAYLOAD[name]) if takes_each(path) else _PAYLOAD[name] for path, name in payload.items()}


def _together(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches, schema).combine_chunks()
