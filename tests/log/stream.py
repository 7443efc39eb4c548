"""Pieces of a stream, made without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.log import Filter, Log
from fraiseql_events.timestamps import format_time
from tests.mixed import an_event

CREATED = 1_000
MINUTE = 60_000_000


class Feeder:
    """Appends events to a log as the bridge does, and remembers them as the model to compare with."""

    def __init__(self, log: Log, *, sequence: int = 0) -> None:
        self.log = log
        self.sequence = sequence
        self.model: list[tuple[str, str, str, int]] = []

    def feed(self, events: Sequence[tuple[str, str, int]], *, bad: int = 0) -> None:
        """Appends one piece: (entity type, event type, time in microseconds) each, then so many bad messages."""
        first = len(self.model)
        payloads = []
        for number, (entity, kind, micros) in enumerate(events, first):
            payloads.append(
                an_event(id=str(number), entity_type=entity, event_type=kind, timestamp=format_time(micros))
            )
            self.model.append((str(number), entity, kind, micros))
        payloads += [b"bad"] * bad
        sequences = list(range(self.sequence + 1, self.sequence + 1 + len(payloads)))
        self.sequence += len(payloads)
        messages = Messages.of(sequences, [b"subject"] * len(payloads), [0] * len(payloads), payloads)
        self.log.append(decode(messages), StreamPosition(self.sequence, CREATED, 1, 2))

    def feed_many(self, count: int, *, entities: Sequence[str] = ("Order", "User", "Product")) -> None:
        """Appends a piece of events, a minute apart."""
        first = len(self.model)
        self.feed(
            [
                (entities[number * 7 % len(entities)], "A" if number % 2 else "B", number * MINUTE)
                for number in range(first, first + count)
            ]
        )

    def expected(self, condition: Filter) -> list[tuple[int, str]]:
        """Offset and event id of what passes, by the plainest reading of the filter."""
        rows = [
            (offset, event_id)
            for offset, (event_id, entity, kind, micros) in enumerate(self.model)
            if (condition.entity is None or entity == condition.entity)
            and (condition.start is None or micros >= condition.start)
            and (condition.end is None or micros < condition.end)
            and offset > condition.after
            and (condition.event_types is None or kind in condition.event_types)
        ]
        return rows if condition.limit is None else rows[: condition.limit]


def found(log: Log, condition: Filter) -> list[tuple[int, str]]:
    """Offset and event id of what a scan of the log yields."""
    rows: list[tuple[int, str]] = []
    for batch in log.view().scan(condition):
        assert batch.num_rows
        columns: dict[str, Any] = batch.to_pydict()
        rows += zip(columns["offset"], columns["event_id"], strict=True)
    return rows
