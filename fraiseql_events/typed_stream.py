"""Streams with typed columns out of `data`: named, or found in the first events of a range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa

from fraiseql_events.arguments import Payload
from fraiseql_events.connection import Connection
from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import LOG_SCHEMA, SCHEMA
from fraiseql_events.frames import Frames
from fraiseql_events.names import no_entity
from fraiseql_events.payload import SAMPLE, Field, TypedPayload, fields_of, infer
from fraiseql_events.stream import EventStream, read_all
from fraiseql_events.ticket import Ticket
from fraiseql_events.typed_reader import TypedReader


def typed_stream(
    connection: Connection, ticket: Ticket, payload: Payload, frames: Frames, **more: Any
) -> EventStream[Any]:
    """A stream whose batches get typed columns; `data` is read for them, and left out where it is not wanted."""
    drop = "data" not in (ticket.columns or SCHEMA.names)
    if drop:
        ticket = replace(ticket, columns=(*(ticket.columns or ()), "data"))
    schema = pa.schema([LOG_SCHEMA.field(name) for name in ticket.columns or SCHEMA.names])
    fields = _inferred(connection, ticket) if payload == "infer" else fields_of(payload)
    named = () if payload == "infer" else fields

    def open_reader(rest: Ticket) -> TypedReader:
        return TypedReader(connection.open(rest), TypedPayload(fields, drop=drop))

    return EventStream(
        open_reader, ticket, TypedPayload(fields, drop=drop).schema(schema), frames, fields=named, **more
    )


def sampled(connection: Connection, ticket: Ticket) -> pa.Table:
    """The `data` of the events that a ticket asks for.

    Raises:
        InvalidArgument: there are no events.
    """
    events = read_all(connection.open, replace(ticket, columns=("data",)))
    if not events.num_rows:
        there = list(connection.entities())
        unknown = ticket.entity is not None and ticket.entity not in there
        why = no_entity(str(ticket.entity), there) if unknown else "no event is asked for that is there"
        raise InvalidArgument(f"no fields can be found: {why}")
    return events


def _inferred(connection: Connection, ticket: Ticket) -> tuple[Field, ...]:
    """The fields of the first events of a range, whatever the place in it that a stream begins at."""
    limit = SAMPLE if ticket.limit is None else min(SAMPLE, ticket.limit)
    sample = replace(ticket, limit=limit, after_offset=None, history=None)
    if ticket.mode == "streaming":
        _wait_for_first(connection, replace(sample, limit=min(1, limit), columns=("data",)))
    return infer(sampled(connection, replace(sample, mode="batch")))


def _wait_for_first(connection: Connection, ticket: Ticket) -> None:
    """Waits for the event that a follow begins with; warns of a name that no event has, as any stream does."""
    schema = pa.schema([LOG_SCHEMA.field("data")])
    EventStream(connection.open, ticket, schema, "arrow", server=connection, progress=False).to_arrow()
