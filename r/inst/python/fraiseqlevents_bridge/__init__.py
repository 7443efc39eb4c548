"""What R needs of fraiseql_events: every answer as values that reticulate hands over exactly."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pyarrow as pa

from fraiseql_events import EventClient
from fraiseqlevents_bridge.answering import answering
from fraiseqlevents_bridge.columns import columns_of
from fraiseqlevents_bridge.publishing import publish
from fraiseqlevents_bridge.reading import Reading
from fraiseqlevents_bridge.server import Server

__all__ = ["connect", "entities", "publish", "read", "serve", "status"]

# R tells what there is to tell, in its own words
logging.getLogger("fraiseql_events").addHandler(logging.NullHandler())
logging.getLogger("fraiseql_events").propagate = False


@answering
def connect(url: str, token: str | None, tls_roots: str | None) -> EventClient:
    """A client, which connects when it is first used."""
    return EventClient(url, token=token, tls_roots=tls_roots)


@answering
def status(client: EventClient) -> str:
    """The server's status as JSON text, which keeps its whole numbers."""
    return msgspec.json.encode(client.status()).decode()


@answering
def entities(client: EventClient) -> dict[str, Any]:
    """What the server has of each entity type, as columns."""
    time = pa.timestamp("us", "UTC")
    schema = pa.schema([("entity_type", pa.string()), ("events", pa.int64()), ("first", time), ("last", time)])
    rows = [
        {"entity_type": name, "events": info.events, "first": info.first, "last": info.last}
        for name, info in client.entities().items()
    ]
    return {"rows": len(rows), "columns": columns_of(pa.RecordBatch.from_pylist(rows, schema), "numeric")}


@answering
def read(client: EventClient, ticket: str, payload: str | dict[str, str] | None, bigint: str) -> Reading:
    """A stream that has asked for nothing yet."""
    return Reading(client, ticket, payload, bigint)


@answering
def serve(arguments: list[str], token: str | None) -> Server:
    """A server that is on its way."""
    return Server(arguments, token)
