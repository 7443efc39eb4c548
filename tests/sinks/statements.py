"""How the statements of a sink begin, by which a test tells one from another."""

from __future__ import annotations

FIRST = "SELECT version()"
POSITION = "INSERT INTO default.fraiseql_events_position ("
BLOCK = "INSERT INTO default.fraiseql_events ("
COUNTS = "INSERT INTO default.fraiseql_events_hourly ("
MISSING = "SELECT offset FROM default.fraiseql_events "
