"""The log: one sequence of events, its newest part in memory and all of it, once committed, in a Delta table."""

from __future__ import annotations

from fraiseql_events.log.filter import Filter
from fraiseql_events.log.log import Log
from fraiseql_events.log.options import LogOptions
from fraiseql_events.log.reading import Cursor

__all__ = ["Cursor", "Filter", "Log", "LogOptions"]
