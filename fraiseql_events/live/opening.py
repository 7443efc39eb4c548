"""From what a person asks of a dashboard to the stream that it reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import SCHEMA
from fraiseql_events.payload import fields_of, takes_each
from fraiseql_events.time_range import Time
from fraiseql_events.timestamps import EPOCH

if TYPE_CHECKING:
    from fraiseql_events.live.dashboard import Live

#: The columns that can tell groups apart; any other name is a field of `data`.
_GROUPS: Final = tuple(name for name in SCHEMA.names if name not in ("event_id", "timestamp", "data"))
_COLUMNS: Final = ("offset", "timestamp", "event_type", "entity_id")
#: So many events before the newest are looked at for the first chart, at the most.
_MOST_BEFORE: Final = 500_000
_LONGEST_SECONDS: Final = 31 * 86_400


def open_live(
    stream: Callable[..., Any],
    status: Callable[[], Mapping[str, Any]],
    entity: str,
    *,
    value: str | None,
    by: str | None,
    start: Time | None,
    event_types: Sequence[str] | None,
    seconds: float,
) -> Live:
    """A dashboard; the arguments are those of `EventClient.live`, and the client's `stream` and `status`."""
    from fraiseql_events.live.dashboard import Live, Wanted

    if not isinstance(seconds, int | float) or not 1 <= seconds <= _LONGEST_SECONDS:
        raise InvalidArgument(f"seconds={seconds!r}: a chart has from a second to 31 days, in seconds")
    by = by or ("entity_type" if entity == "*" else "event_type")
    payload: dict[str, pa.DataType] = {}
    group = by if by in _GROUPS else _field("by", by, pa.string(), payload)
    summed = None if value is None else _field("value", value, pa.float64(), payload)
    options: dict[str, Any] = {
        "columns": list(dict.fromkeys([*_COLUMNS, *([by] if by in _GROUPS else [])])),
        "event_types": event_types,
        "payload": payload or None,
        "follow": True,
        "frames": "arrow",
        "progress": False,
    }
    stream(entity, start, **options)  # what is wrong is said before the server is asked
    goal = int(status()["offset"]) - 1
    since = time.time_ns() // 1000 - round(seconds * 1_000_000) if start is None else None
    wanted = Wanted(
        entity="all entity types" if entity == "*" else entity,
        value=None if value is None or summed is None else (summed, value),
        by=(group, by),
        seconds=seconds,
        since=since,
        goal=goal,
    )
    if since is not None and goal >= 0:
        first = _first(partial(stream, entity, event_types=event_types), since, goal)
        options["after_offset"] = max(first, goal + 1 - _MOST_BEFORE) - 1 if first > 0 else None
    return Live(partial(stream, entity, start, **options), wanted, lambda: int(status()["offset"]) - 1)


def _field(option: str, path: str, kind: pa.DataType, payload: dict[str, pa.DataType]) -> str:
    """Asks for a field of `data`; the name of its column."""
    if isinstance(path, str) and takes_each(path):
        raise InvalidArgument(f"{option}={path!r} has several values an event: name a field that has one")
    if path in payload:
        raise InvalidArgument(f"{path!r} cannot be both value= and by=")
    (field,) = fields_of({path: kind})
    payload[path] = kind
    return field.name


def _first(stream: Callable[..., Any], since: int, goal: int) -> int:
    """The offset of the first event that the chart shows; the one behind all that there are where it shows none.

    Args:
        stream: asks for events.
        since: where the chart begins, in microseconds since the epoch.
        goal: the newest offset.
    """
    begin = EPOCH + timedelta(microseconds=since)
    with stream(start=begin, columns=["offset"], limit=1, frames="arrow", progress=False) as found:
        found.warns = False  # the dashboard says what it does not find
        first = next((int(batch["offset"][0].as_py()) for batch in found.batches()), goal + 1)
    return min(first, goal + 1)
