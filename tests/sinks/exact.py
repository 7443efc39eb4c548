"""That a table has each event once, and the counts beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HOURS = "SELECT toStartOfHour(timestamp) AS hour, entity_type, event_type, toInt64(count()) AS n"
DAYS = "SELECT toDate32(timestamp) AS day, org_id, toInt64(count()) AS n"


def assert_exact(ask: Callable[[str], list[tuple[Any, ...]]], events: int, *, first: int = 0) -> None:
    """So many events from an offset on: each once, none missing; and the counts are those of the events."""
    expected = (events, events, first, first + events - 1)
    query = "SELECT count(), uniqExact(offset), min(offset), max(offset) FROM fraiseql_events"
    found = ask(query)
    assert found == [expected], found
    assert_counts(ask)


def assert_counts(ask: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """The counts are those of the events."""
    counted = "SELECT hour, entity_type, event_type, sum(events) AS n FROM fraiseql_events_hourly GROUP BY ALL"
    assert ask(f"{counted} HAVING n != 0 ORDER BY ALL") == ask(
        f"{HOURS} FROM fraiseql_events GROUP BY ALL ORDER BY ALL"
    )
    counted = "SELECT day, org_id, sum(events) AS n FROM fraiseql_events_daily GROUP BY ALL"
    assert ask(f"{counted} HAVING n != 0 ORDER BY ALL") == ask(f"{DAYS} FROM fraiseql_events GROUP BY ALL ORDER BY ALL")
