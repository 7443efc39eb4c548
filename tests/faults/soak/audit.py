"""What must be so in the end: every event once, in order, for everybody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from fraiseql_events import EventClient
from tests.faults.soak.publisher import Event
from tests.test_mixed import dead


def sequence_faults(who: str, found: Sequence[int], expected: Sequence[int]) -> list[str]:
    """What is wrong with the numbers that somebody has seen, in a sentence; nothing when they are as expected."""
    seen, wanted = np.asarray(found, np.int64), np.asarray(expected, np.int64)
    if np.array_equal(seen, wanted):
        return []
    unique, counts = np.unique(seen, return_counts=True)
    missing, foreign, doubled = np.setdiff1d(wanted, unique), np.setdiff1d(unique, wanted), unique[counts > 1]
    kinds = (("missing", missing), ("double", doubled), ("not asked for", foreign))
    parts = [f"{len(some)} {kind} (first {some[0]})" for kind, some in kinds if len(some)]
    return [f"{who}: {', '.join(parts) or 'not in order'}; {len(seen)} seen of {len(wanted)}"]


def history_faults(batches: Iterable[pa.RecordBatch], expected: Iterator[Event], count: int) -> list[str]:
    """Compares the history, field by field, with the events that were published, offset by offset."""
    offset = 0
    for batch in batches:
        rows = batch.to_pylist()
        for row, event in zip(rows, islice(expected, len(rows)), strict=True):
            if row["offset"] != offset:
                return [f"history: offset {row['offset']} where {offset} was expected"]
            if _plain(row) != event:
                return [f"history: offset {offset} is {_plain(row)}, published was {event}"]
            offset += 1
    return [] if offset == count else [f"history: it ends at offset {offset}, {count} events were published"]


def _plain(row: dict[str, object]) -> Event:
    """A row as the publisher made it."""
    names = ("event_type", "entity_type", "entity_id", "user_id", "org_id")
    moment = row["timestamp"].isoformat(timespec="microseconds").replace("+00:00", "Z")  # type: ignore[attr-defined]
    data = json.loads(row["data"])  # type: ignore[arg-type]
    return {"id": row["event_id"], "timestamp": moment, "data": data, **{name: row[name] for name in names}}


def letter_faults(url: str, expected: Sequence[tuple[int, bytes]]) -> list[str]:
    """Every dead letter once, with its place and its bytes."""
    found = [(sequence, payload) for sequence, _, payload in dead(url)]
    if found == list(expected):
        return []
    return [f"dead letters: {len(found)} kept of {len(expected)}, or other ones, or in another order"]


def status_faults(url: str, events: int, dead_letters: int, messages: int) -> list[str]:
    """The counts of `status`."""
    with EventClient(url) as client:
        status = client.status()
        counted = sum(found.events for found in client.entities().values())
    expected = {
        "offset": events, "committed": events, "dead_letters": dead_letters, "stream_seq": messages, "lag": 0,
        "missed": 0, "last_error": None,
    }  # fmt: skip
    wrong = [f"status: {name} is {status[name]}, not {value}" for name, value in expected.items()]
    wrong = [text for text, (name, value) in zip(wrong, expected.items(), strict=True) if status[name] != value]
    return wrong + ([] if counted == events else [f"ListFlights counts {counted} events of {events}"])


def disk_faults(store: Path, events: int) -> list[str]:
    """The history as Delta Lake itself reads it."""
    table = DeltaTable(store / "events").to_pyarrow_table(columns=["offset"])
    return sequence_faults("the Delta table", np.sort(table["offset"].to_numpy()), range(events))
