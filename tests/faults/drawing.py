"""What hypothesis draws for the state machine: options, moments, and what a reader asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from fraiseql_events import LogOptions
from fraiseql_events.event import LOG_SCHEMA
from tests.faults.model import Wanted
from tests.mixed import ENTITIES, Event

log_options = st.builds(
    LogOptions,
    commit_events=st.sampled_from([1, 7, 40, 100_000]),
    commit_seconds=st.sampled_from([0.02, 0.3, 1000.0]),
    tail_bytes=st.sampled_from([0, 30_000, 1 << 20]),
    compact_files=st.sampled_from([0, 0, 2, 3]),
)
places = st.integers(0, 10_000)
columns = st.none() | st.lists(st.sampled_from(LOG_SCHEMA.names), min_size=1, unique=True).map(tuple)
kinds = st.sampled_from(["INSERT", *(f"{name}.Updated" for name in ENTITIES)])
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "entity": st.sampled_from([*ENTITIES, "Nobody"]),
    "start": places,
    "end": places,
    "after_offset": places,
    "limit": places,
    "event_types": st.lists(kinds, min_size=1, unique=True).map(tuple),
}
moments = st.integers(0, 60).map(lambda milliseconds: milliseconds / 1000)


def draw_wanted(data: st.DataObject, events: Sequence[Event], *, most: int) -> Wanted:
    """A filter with so many conditions at the most, on the bounds of the events that there are and a little beyond."""
    given: dict[str, Any] = {"columns": data.draw(columns)}
    for name in sorted(data.draw(st.sets(st.sampled_from(sorted(CONDITIONS)), max_size=most))):
        given[name] = data.draw(CONDITIONS[name])
    for name in {"after_offset", "limit"} & set(given):
        given[name] %= len(events) + 10
    for name in {"start", "end"} & set(given):
        given[name] = events[given[name] % len(events)]["timestamp"] if events else None
    if given.get("start") is not None and given.get("end") is not None:
        given["start"], given["end"] = sorted((given["start"], given["end"]))
    return Wanted(**given)
