"""The Arrow Flight server over the log."""

from __future__ import annotations

from fraiseql_events.flight.server import EventServer

__all__ = ["EventServer"]
