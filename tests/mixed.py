"""Payloads of every shape that the contract allows, bad ones among them, and what each is to become."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from fraiseql_events.event import SCHEMA

Event = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
ENTITIES = ("Order", "User", "Product", "Größe", "a/b %:*", "O.K", "ordre✓")


@dataclass(frozen=True)
class Case:
    """A payload; the events that it holds; for each dead letter its line and bytes."""

    payload: bytes
    events: list[Event]
    dead: list[tuple[int | None, bytes]]


class Mixer:
    """The same payloads for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.number = 0

    def cases(self, events: int) -> Iterator[Case]:
        """Cases with that many readable events, or a few more."""
        makers = [self.plain] * 60 + [self.texts, self.aliases, self.spaced, self.no_zone] * 5
        makers += [self.lines, self.lines_with_bad, self.arrow, self.bad] * 2
        made = 0
        while made < events:
            case = self.random.choice(makers)()
            made += len(case.events)
            yield case

    def event(self) -> Event:
        """An event as it is to be read: the timestamp in microseconds, data as a JSON value."""
        self.number += 1
        entity = self.random.choice(ENTITIES)
        moment = START + timedelta(seconds=self.number, microseconds=self.random.randrange(1_000_000))
        return {
            "event_id": str(uuid.UUID(int=self.random.getrandbits(128), version=4)),
            "event_type": f"{entity}.Updated" if self.number % 3 else "INSERT",
            "entity_type": entity,
            "entity_id": f"{entity}-{self.number}",
            "timestamp": (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            "data": self.data(),
            "user_id": self.random.choice([None, "ada", "Zoë"]),
            "org_id": self.random.choice([None, "org-1"]),
        }

    def data(self) -> Any:
        values = [
            {"total": self.number / 7, "items": [{"sku": "é\n\"x\"", "n": 2**53 + self.number}]},
            {}, [], None, True, 10**25 + self.number, "text \\ 🍓", [1, [2, [None]]], {"": {"a.b": -0.5}},
        ]  # fmt: skip
        return self.random.choice(values)

    def raw(self, event: Event) -> dict[str, Any]:
        """The event as FraiseQL writes it."""
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["timestamp"])
        raw = {"id": event["event_id"], **event, "timestamp": moment.isoformat().replace("+00:00", "Z")}
        del raw["event_id"]
        return raw

    def plain(self) -> Case:
        event = self.event()
        return Case(dumps(self.raw(event)), [event], [])

    def texts(self) -> Case:
        event = self.event() | {"entity_id": "42", "user_id": "true", "org_id": "1.50"}
        raw = dumps(self.raw(event) | {"entity_id": 42, "user_id": True, "org_id": "@"})
        return Case(raw.replace(b'"@"', b"1.50"), [event], [])

    def aliases(self) -> Case:
        event = self.event()
        raw = self.raw(event)
        raw["event_id"], raw["tenant_id"], raw["unknown"] = raw.pop("id"), raw.pop("org_id"), {"id": [1]}
        if raw["user_id"] is None:
            del raw["user_id"]
        return Case(dumps(raw), [event], [])

    def spaced(self) -> Case:
        event = self.event()
        return Case(json.dumps(self.raw(event), indent=2).encode() + b"\n", [event], [])

    def no_zone(self) -> Case:
        event = self.event()
        raw = self.raw(event)
        raw["timestamp"] = raw["timestamp"].removesuffix("Z")
        if "." in raw["timestamp"]:
            raw["timestamp"] = raw["timestamp"] + "999"
        return Case(dumps(raw), [event], [])

    def lines(self) -> Case:
        events = [self.event() for _ in range(self.random.randint(2, 6))]
        return Case(b"\n".join(dumps(self.raw(event)) for event in events) + b"\n", events, [])

    def lines_with_bad(self) -> Case:
        events = [self.event() for _ in range(3)]
        good = [dumps(self.raw(event)) for event in events]
        bad = self.bad().payload.replace(b"\n", b" ") or b"?"
        return Case(b"\r\n".join([good[0], bad, good[1], b"", good[2]]), events, [(2, bad + b"\r")])

    def arrow(self) -> Case:
        events = [self.event() for _ in range(self.random.randint(1, 20))]
        rows = [event | {"data": dumps(event["data"]).decode()} for event in events]
        columns = [pa.array([row[name] for row in rows], pa.int64() if name == "timestamp" else None)
                   for name in SCHEMA.names]  # fmt: skip
        columns = [column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        return Case(to_ipc(pa.RecordBatch.from_arrays(columns, schema=SCHEMA)), events, [])

    def bad(self) -> Case:
        raw = self.raw(self.event())
        one = self.random.choice(["id", "event_type", "entity_type", "entity_id", "timestamp", "data"])
        payload = self.random.choice(
            [
                b"not json at all", b"", b"[1, 2]", b"17", b'{"id": "half', b"\xff\xfe{}", b"null",
                dumps({name: value for name, value in raw.items() if name != one}),
                dumps(raw | {"entity_id": {"a": 1}}), dumps(raw | {"timestamp": "yesterday"}),
                dumps(raw | {"timestamp": 1767225600}), dumps(raw | {"event_type": ""}),
                dumps(raw | {"entity_type": "x" * 81}), dumps(raw).replace(b"{", b'{"bytes": "\xc3\x28", ', 1),
            ]
        )  # fmt: skip
        return Case(payload, [], [(None, payload)])


def dumps(value: Any) -> bytes:
    """JSON as FraiseQL writes it: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def to_ipc(batch: pa.RecordBatch) -> bytes:
    """A batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def as_read(batch: pa.RecordBatch | pa.Table) -> list[Event]:
    """Events as `Mixer` describes them."""
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "timestamp"}
    columns["timestamp"] = batch.column("timestamp").cast(pa.int64()).to_pylist()
    columns["data"] = [json.loads(text) for text in columns["data"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def an_event(**changes: Any) -> bytes:
    """One JSON event, with some fields changed, or left out where they are `...`."""
    event: dict[str, Any] = {
        "id": "e-1", "event_type": "Order.Created", "entity_type": "Order", "entity_id": "o-1",
        "timestamp": "2026-01-31T12:00:00.123456Z", "data": {"total": 1}, "user_id": None, "org_id": None,
    }  # fmt: skip
    return dumps({name: value for name, value in (event | changes).items() if value is not ...})
