"""Payload bytes to a RecordBatch: the event contract, with no server and no I/O.

A payload is a JSON object, newline-delimited JSON objects, or an Arrow IPC stream; its first bytes tell which.
What cannot be read becomes a `DeadLetter` with a reason, and never stops what stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from fraiseql_events.arrays import integers
from fraiseql_events.bridge.arrow_payload import Part, find_wrong, is_arrow, read_arrow, without
from fraiseql_events.bridge.bulk_json import LEAST_EVENTS, bulk_reader
from fraiseql_events.bridge.json_payload import (
    DECODE_ERRORS,
    Columns,
    JsonEvent,
    all_utf8,
    read_event,
    read_usual,
    split_lines,
    to_batch,
    to_columns,
)
from fraiseql_events.bridge.messages import Integers, Messages
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


@dataclass(frozen=True, slots=True)
class _Texts:
    """JSON texts of one event each; the message that each is from, and its line where that message has several."""

    texts: pa.BinaryArray
    sources: Integers
    lines: Integers | None = None

    @classmethod
    def joined(cls, several: list[_Texts]) -> _Texts:
        """Lines of several payloads."""
        lines = [texts.lines for texts in several if texts.lines is not None]
        sources = np.concatenate([texts.sources for texts in several])
        return cls(pa.concat_arrays([texts.texts for texts in several]), sources, np.concatenate(lines))

    def places(self, rows: Integers) -> tuple[Integers, Integers]:
        """Where rows stand in the stream: their messages, and their lines."""
        return self.sources[rows], np.zeros_like(rows) if self.lines is None else self.lines[rows]

    def take(self, rows: Integers) -> _Texts:
        lines = None if self.lines is None else self.lines[rows]
        return _Texts(self.texts.take(integers(rows)), self.sources[rows], lines)


class _Decoder:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._parts: list[tuple[pa.RecordBatch, Integers, Integers]] = []
        self._lines: list[_Texts] = []
        self._arrow: list[tuple[int, Part]] = []
        self._dead: list[DeadLetter] = []

    def run(self) -> Decoded:
        self._read_texts(_Texts(self._messages.payloads, np.arange(len(self._messages))))
        if self._lines:
            self._read_texts(_Texts.joined(self._lines))
        if self._arrow:
            self._look_at_arrow()
        self._dead.sort(key=lambda letter: (letter.sequence, letter.line or 0))
        return Decoded(_in_order(self._parts), self._dead, self._replays())

    def _replays(self) -> list[tuple[str, int]]:
        unread = {letter.sequence for letter in self._dead if letter.line is None}
        marks = self._messages.replays
        return [(letter, sequence) for sequence, letter in sorted(marks.items()) if sequence not in unread]

    def _read_texts(self, texts: _Texts) -> None:
        """Those that can be read in bulk, then the others one by one."""
        if len(texts.sources) >= LEAST_EVENTS:
            left = np.ones(len(texts.sources), bool)
            for table, rows in bulk_reader().read(texts.texts):
                self._add({name: table[name].combine_chunks() for name in SCHEMA.names}, texts, rows)
                left[rows] = False
            if not left.any():
                return
            texts = texts.take(np.flatnonzero(left))
        self._read_one_by_one(texts)

    def _read_one_by_one(self, texts: _Texts) -> None:
        events: list[JsonEvent] = []
        rows: list[int] = []
        checked = all_utf8(texts.texts)
        for row, text in enumerate(texts.texts.to_pylist()):
            event: JsonEvent | None
            try:
                event = read_usual(text) if checked else read_event(text)
            except (*DECODE_ERRORS, Unreadable):
                event = self._read_unusual(texts, row, text)
            if event is not None:
                events.append(event)
                rows.append(row)
        if events:
            self._add(to_columns(events), texts, np.array(rows))

    def _read_unusual(self, texts: _Texts, row: int, text: bytes) -> JsonEvent | None:
        """A text that is not simply one JSON object with every field of the usual type; None where it is no event."""
        alone = texts.lines is None
        if alone and is_arrow(text):
            self._read_arrow(int(texts.sources[row]), text)
            return None
        try:
            return read_event(text)
        except NotJson as error:
            if not (alone and self._note_lines(int(texts.sources[row]), text)):
                self._bury(texts, row, str(error), text)
        except Unreadable as error:
            self._bury(texts, row, str(error), text)
        return None

    def _note_lines(self, source: int, payload: bytes) -> bool:
        """Whether it is newline-delimited JSON; its lines are read with those of other payloads."""
        lines, numbers = split_lines(payload)
        if len(lines) < 2:
            return False
        self._lines.append(_Texts(lines, np.full(len(lines), source), numbers))
        return True

    def _read_arrow(self, source: int, payload: bytes) -> None:
        whole = _Texts(self._messages.payloads, np.arange(len(self._messages)))
        try:
            parts, bad = read_arrow(payload)
        except Unreadable as error:
            self._bury(whole, source, str(error), payload)
            return
        self._arrow += [(source, part) for part in parts]
        self._dead += [self._letter(source, row.line, row.reason, row.payload) for row in bad]

    def _look_at_arrow(self) -> None:
        """Looks at the rows of all Arrow payloads at once: one by one they would cost twice as much."""
        sources, parts = zip(*self._arrow, strict=True)
        events = pa.concat_batches([part.events for part in parts])
        ends = np.cumsum([part.events.num_rows for part in parts])
        wrong = find_wrong(events)
        for row, reason in wrong.items():
            index = int(np.searchsorted(ends, row, side="right"))
            part = parts[index]
            bad = part.bad_row(row - int(ends[index]) + part.events.num_rows, reason)
            self._dead.append(self._letter(sources[index], bad.line, bad.reason, bad.payload))
        of = np.repeat(np.array(sources), np.diff(ends, prepend=0))
        of = np.delete(of, list(wrong))
        self._parts.append((without(events, wrong), of, np.zeros(len(of), np.int64)))

    def _add(self, columns: Columns, texts: _Texts, rows: Integers) -> None:
        """Turns rows into a batch, and buries those that only their columns show to be wrong."""
        batch, wrong = to_batch(columns)
        for row, reason in wrong.items():
            self._bury(texts, int(rows[row]), reason, texts.texts[int(rows[row])].as_py())
        if wrong:
            rows = np.delete(rows, list(wrong))
        self._parts.append((batch, *texts.places(rows)))

    def _bury(self, texts: _Texts, row: int, reason: str, payload: bytes) -> None:
        line = None if texts.lines is None else int(texts.lines[row])
        self._dead.append(self._letter(int(texts.sources[row]), line, reason, payload))

    def _letter(self, source: int, line: int | None, reason: str, payload: bytes) -> DeadLetter:
        messages = self._messages
        return DeadLetter(
            sequence=int(messages.sequences[source]),
            line=line,
            subject=messages.subjects[source].as_py().decode("utf-8", "replace"),
            published=int(messages.published[source]) // 1000,
            reason=reason,
            payload=payload,
        )


def _in_order(parts: list[tuple[pa.RecordBatch, Integers, Integers]]) -> pa.RecordBatch:
    """The rows of all parts in the order of their messages and lines."""
    if len(parts) == 1:
        return parts[0][0]
    if not parts:
        return pa.RecordBatch.from_pylist([], schema=SCHEMA)
    batches, sources, lines = zip(*parts, strict=True)
    order = np.lexsort((np.concatenate(lines), np.concatenate(sources)))
    together = pa.concat_batches(batches)
    return together if (order == np.arange(len(order))).all() else together.take(integers(order))
