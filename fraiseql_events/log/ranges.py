"""How many events of each entity type the log holds, and from when to when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fraiseql_events.log.snapshot import DataFile

FEW: Final = 32


@dataclass(frozen=True, slots=True)
class EntityRange:
    """Events of one entity type: how many, and their first and last time in microseconds since the epoch."""

    events: int
    first: int
    last: int


def ranges_of(files: Iterable[DataFile]) -> dict[str, EntityRange]:
    """The ranges of committed events."""
    ranges: dict[str, EntityRange] = {}
    for file in files:
        _add(ranges, file.entity, file.rows, file.span.first_time, file.span.last_time)
    return ranges


def add_ranges(ranges: dict[str, EntityRange], events: pa.RecordBatch) -> None:
    """Adds a batch of events to the ranges."""
    if events.num_rows <= FEW:  # live, event by event: setting up a grouping would cost most
        times = events.column("timestamp").view(pa.int64()).to_pylist()
        for name, time in zip(events.column("entity_type").to_pylist(), times, strict=True):
            _add(ranges, name, 1, time, time)
        return
    narrow = pa.table({"entity": events.column("entity_type"), "time": events.column("timestamp").view(pa.int64())})
    groups = narrow.group_by("entity", use_threads=False).aggregate(
        [("time", "count"), ("time", "min"), ("time", "max")]
    )
    for row in groups.to_pylist():
        _add(ranges, row["entity"], row["time_count"], row["time_min"], row["time_max"])


def _add(ranges: dict[str, EntityRange], entity: str, events: int, first: int, last: int) -> None:
    if (known := ranges.get(entity)) is not None:
        events, first, last = known.events + events, min(known.first, first), max(known.last, last)
    ranges[entity] = EntityRange(events, first, last)
