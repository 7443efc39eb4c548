"""Sinks: databases that are filled with events, each event once."""

from __future__ import annotations

from fraiseql_events.sinks.clickhouse import ClickHouseSink
from fraiseql_events.sinks.status import Loaded, SinkStatus

__all__ = ["ClickHouseSink", "Loaded", "SinkStatus"]
