"""What the service is compared with: a list of events, a list of dead letters, and the plainest reading of a filter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from fraiseql_events.event import SCHEMA
from tests.mixed import Case, Event

Row = tuple[Any, ...]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wanted:
    """What a reader asks for, in the words of `EventClient.stream`; times in microseconds."""

    entity: str = "*"
    start: int | None = None
    end: int | None = None
    after_offset: int | None = None
    limit: int | None = None
    event_types: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None

    def arguments(self) -> dict[str, Any]:
        """As the client takes it."""
        given: dict[str, Any] = dict(vars(self))
        for name in ("start", "end"):
            if given[name] is not None:
                given[name] = EPOCH + timedelta(microseconds=given[name])
        return given

    def wants(self, event: Event, offset: int) -> bool:
        return (
            self.entity in ("*", event["entity_type"])
            and (self.start is None or event["timestamp"] >= self.start)
            and (self.end is None or event["timestamp"] < self.end)
            and (self.after_offset is None or offset > self.after_offset)
            and (self.event_types is None or event["event_type"] in self.event_types)
        )


class Model:
    """The stream's messages so far, and what they are to become."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.letters: list[tuple[int, int | None, bytes]] = []
        #: For each sequence of the stream, from 0 on: how many events, and dead letters, the messages up to it hold.
        self.reach = [(0, 0)]

    @property
    def messages(self) -> int:
        return len(self.reach) - 1

    def add(self, case: Case) -> None:
        """Another message."""
        self.letters += [(len(self.reach), line, payload) for line, payload in case.dead]
        self.events += case.events
        self.reach.append((len(self.events), len(self.letters)))

    def expected(self, wanted: Wanted, until: int | None = None) -> list[Row]:
        """What the first `until` events (None: all) answer."""
        columns = wanted.columns or SCHEMA.names
        rows = [
            tuple(offset if name == "offset" else event[name] for name in columns)
            for offset, event in enumerate(self.events[:until])
            if wanted.wants(event, offset)
        ]
        return rows if wanted.limit is None else rows[: wanted.limit]

    def entities(self, until: int) -> dict[str, tuple[int, int, int]]:
        """Of each entity type among the first `until` events: how many, the first and the last time."""
        times: dict[str, list[int]] = {}
        for event in self.events[:until]:
            times.setdefault(event["entity_type"], []).append(event["timestamp"])
        return {name: (len(found), min(found), max(found)) for name, found in times.items()}


def rows_of(batch: pa.RecordBatch | pa.Table) -> list[Row]:
    """What was read, as the model has it: times in microseconds, data as JSON values."""
    columns = []
    for name in batch.schema.names:
        column = batch.column(name)
        values = column.cast(pa.int64()).to_pylist() if name == "timestamp" else column.to_pylist()
        columns.append([json.loads(text) for text in values] if name == "data" else values)
    return list(zip(*columns, strict=True))
