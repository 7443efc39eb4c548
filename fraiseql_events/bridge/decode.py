"""Payload bytes to a RecordBatch: the event contract, with no server and no I/O.

A payload is a JSON object, newline-delimited JSON objects, or an Arrow IPC stream; its first bytes tell which.
What cannot be read becomes a `DeadLetter` with a reason, and never stops what stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from fraiseql_events.bridge.arrow_payload import is_arrow, read_arrow
from fraiseql_events.bridge.json_payload import (
    DECODE_ERRORS,
    JsonEvent,
    find_invalid_utf8,
    read_event,
    read_usual,
    split_lines,
    to_batch,
)
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.unreadable import NotJson, Unreadable
from fraiseql_events.event import SCHEMA, DeadLetter


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a piece of the stream holds: its events (`SCHEMA`) and its dead letters, both in its order.

    Attributes:
        replays: dead letters that were published again and could be read now: as their header names them, each with
            the sequence of the message.
    """

    events: pa.RecordBatch
    dead: list[DeadLetter]
    replays: list[tuple[str, int]] = field(default_factory=list)


def decode(messages: Messages) -> Decoded:
    """Reads every payload. Whatever the bytes are, it raises nothing."""
    return _Decoder(messages).run()


@dataclass(slots=True)
class _Rows:
    """JSON events on their way to columns; the message of each, and the line where its message has several."""

    events: list[JsonEvent] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    lines: dict[int, tuple[int, bytes]] = field(default_factory=dict)


class _Decoder:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._rows = _Rows()
        self._batches: list[pa.RecordBatch] = []
        self._dead: list[DeadLetter] = []

    def run(self) -> Decoded:
        payloads = self._messages.payloads
        invalid = find_invalid_utf8(payloads)
        for index, payload in enumerate(payloads):
            try:
                event = read_usual(payload)
            except DECODE_ERRORS:
                self._read_unusual(index, payload)
                continue
            if index in invalid:
                self._read_unusual(index, payload)
                continue
            self._rows.events.append(event)
            self._rows.sources.append(index)
        self._flush()
        self._dead.sort(key=lambda letter: (letter.sequence, letter.line or 0))
        return Decoded(_concat(self._batches), self._dead, self._replays())

    def _replays(self) -> list[tuple[str, int]]:
        unread = {letter.sequence for letter in self._dead if letter.line is None}
        marks = self._messages.replays
        return [(letter, sequence) for sequence, letter in sorted(marks.items()) if sequence not in unread]

    def _read_unusual(self, index: int, payload: bytes) -> None:
        """A payload that is not simply one JSON object with every field of the usual type."""
        if is_arrow(payload):
            self._flush()
            self._read_arrow(index, payload)
            return
        try:
            self._rows.events.append(read_event(payload))
            self._rows.sources.append(index)
        except NotJson as error:
            if not self._read_lines(index, payload):
                self._bury(index, None, str(error), payload)
        except Unreadable as error:
            self._bury(index, None, str(error), payload)

    def _read_lines(self, index: int, payload: bytes) -> bool:
        """Reads newline-delimited JSON; whether it is any."""
        lines = split_lines(payload)
        if len(lines) < 2:
            return False
        for number, text in lines:
            try:
                event = read_event(text)
            except Unreadable as error:
                self._bury(index, number, str(error), text)
                continue
            self._rows.lines[len(self._rows.events)] = (number, text)
            self._rows.events.append(event)
            self._rows.sources.append(index)
        return True

    def _read_arrow(self, index: int, payload: bytes) -> None:
        try:
            batches, bad = read_arrow(payload)
        except Unreadable as error:
            self._bury(index, None, str(error), payload)
            return
        self._batches += batches
        for row in bad:
            self._bury(index, row.line, row.reason, row.payload)

    def _flush(self) -> None:
        """Turns the rows so far into a batch, and buries those that only their columns show to be wrong."""
        rows, self._rows = self._rows, _Rows()
        if not rows.events:
            return
        batch, wrong = to_batch(rows.events)
        self._batches.append(batch)
        for row, reason in wrong.items():
            index = rows.sources[row]
            number, payload = rows.lines.get(row, (None, self._messages.payloads[index]))
            self._bury(index, number, reason, payload)

    def _bury(self, index: int, line: int | None, reason: str, payload: bytes) -> None:
        messages = self._messages
        letter = DeadLetter(
            sequence=messages.sequences[index],
            line=line,
            subject=messages.subjects[index].decode("utf-8", "replace"),
            published=messages.published[index] // 1000,
            reason=reason,
            payload=payload,
        )
        self._dead.append(letter)


def _concat(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema=SCHEMA)
