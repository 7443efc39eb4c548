"""The shortest way from a stream of database changes to a data frame.

`EventClient` reads events from a Flight server; `serve` starts one, with the bridge from NATS JetStream behind it.
What a name needs is imported when it is first used: reading loads neither NATS nor Delta.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from fraiseql_events.client import EventClient
    from fraiseql_events.entity_info import EntityInfo
    from fraiseql_events.errors import (
        EventsError,
        InvalidArgument,
        NatsUnavailable,
        ServerError,
        ServerUnavailable,
        ServiceError,
        SinkError,
        SinkUnavailable,
        StoreError,
        StoreInUse,
        StreamConsumed,
        StreamCut,
        StreamMismatch,
        Unauthenticated,
    )
    from fraiseql_events.event import SCHEMA
    from fraiseql_events.live.dashboard import Live
    from fraiseql_events.log import LogOptions
    from fraiseql_events.names import UnknownName
    from fraiseql_events.service import Service, serve
    from fraiseql_events.sinks import ClickHouseSink
    from fraiseql_events.stream import EventStream
    from fraiseql_events.ticket import Ticket

__version__ = "0.1.0"

_HOME = {
    "ClickHouseSink": "sinks",
    "EntityInfo": "entity_info",
    "EventClient": "client",
    "EventStream": "stream",
    "EventsError": "errors",
    "InvalidArgument": "errors",
    "Live": "live.dashboard",
    "LogOptions": "log",
    "NatsUnavailable": "errors",
    "SCHEMA": "event",
    "ServerError": "errors",
    "ServerUnavailable": "errors",
    "Service": "service",
    "ServiceError": "errors",
    "SinkError": "errors",
    "SinkUnavailable": "errors",
    "StoreError": "errors",
    "StoreInUse": "errors",
    "StreamConsumed": "errors",
    "StreamCut": "errors",
    "StreamMismatch": "errors",
    "Ticket": "ticket",
    "Unauthenticated": "errors",
    "UnknownName": "names",
    "serve": "service",
}

__all__ = [
    "SCHEMA",
    "ClickHouseSink",
    "EntityInfo",
    "EventClient",
    "EventStream",
    "EventsError",
    "InvalidArgument",
    "Live",
    "LogOptions",
    "NatsUnavailable",
    "ServerError",
    "ServerUnavailable",
    "Service",
    "ServiceError",
    "SinkError",
    "SinkUnavailable",
    "StoreError",
    "StoreInUse",
    "StreamConsumed",
    "StreamCut",
    "StreamMismatch",
    "Ticket",
    "Unauthenticated",
    "UnknownName",
    "__version__",
    "serve",
]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext fraiseql_events``: adds ``%fraiseql``."""
    from fraiseql_events.jupyter import load

    load(shell)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fraiseql_events' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fraiseql_events.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
