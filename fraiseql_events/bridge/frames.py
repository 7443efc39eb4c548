"""Frames of NATS's wire protocol, cut out of bytes: many at once where they are a consumer's messages in a row.

A frame is ``MSG <subject> <sid> [reply] <size>`` CRLF payload CRLF. JetStream tells a message's place in the stream by
the reply, ``$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<sequence in the consumer>.<time>.<pending>``, with a domain
and an account before the stream where there are such (nats.io, "JetStream wire API").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.arrays import integers, to_integers
from fraiseql_events.bridge.messages import Integers, Messages, replayed_letter
from fraiseql_events.event import REPLAY_HEADER

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]

CRLF: Final = b"\r\n"
#: What the reply of a consumer's message begins with.
ACK: Final = b"$JS.ACK."
#: A run of fewer bytes is not worth the fixed cost of cutting it in one go.
LEAST_RUN_BYTES: Final = 16 << 10
_GROWTH: Final = 6  # of the numbers in a control line, within a run: a few digits more
_CR, _LF, _SPACE, _DOT = b"\r\n ."


class Frames:
    """The frames of one subscription as they came, column by column, until `take`.

    Attributes:
        subjects, replies, headers, payloads: one entry a frame; headers are None for a frame without.
    """

    def __init__(self) -> None:
        self.subjects: list[bytes] = []
        self.replies: list[bytes] = []
        self.headers: list[bytes | None] = []
        self.payloads: list[bytes] = []

    def add(self, words: list[bytes], head: bytes | None, payload: bytes) -> None:
        """Appends a frame, given the words of its control line."""
        with_reply = len(words) == (5 if head is None else 6)
        self.subjects.append(words[1])
        self.replies.append(words[3] if with_reply else b"")
        self.headers.append(head)
        self.payloads.append(payload)

    def __len__(self) -> int:
        return len(self.payloads)

    def run(self, start: int, stop: int) -> Run:
        """Those from one to before another, of which each is a consumer's message, as a run."""
        # with a domain and an account there are two words more, and perhaps a token after the end
        words = [reply.split(b".") for reply in self.replies[start:stop]]
        numbers = np.array([list(map(int, each[5:9] if len(each) == 9 else each[7:11])) for each in words], np.int64)
        letters = [head and replayed_letter(head) for head in self.headers[start:stop]]
        sequences, in_consumer, published, pending = numbers.T
        return Run(
            sequences,
            in_consumer,
            published,
            pending,
            pa.array(self.subjects[start:stop], pa.binary()),
            pa.array(self.payloads[start:stop], pa.binary()),
            {int(numbers[row, 0]): letter for row, letter in enumerate(letters) if letter},
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Messages that a JetStream consumer sent one right behind the other; one entry a message.

    Attributes:
        sequences: in the stream.
        in_consumer: in the consumer, where each is one more than the one before if nothing is lost.
        published: when JetStream stored each message, in nanoseconds since the epoch.
        pending: how many messages the consumer had not sent yet.
        subjects, payloads: the bytes.
        replays: of those that publish a dead letter again, by their sequence: the letter.
    """

    sequences: Integers
    in_consumer: Integers
    published: Integers
    pending: Integers
    subjects: pa.BinaryArray
    payloads: pa.BinaryArray
    replays: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sequences)

    def messages(self, count: int) -> Messages:
        """The first so many of them, at least one."""
        last = self.sequences[count - 1]
        return Messages(
            self.sequences[:count],
            self.published[:count],
            self.subjects[:count],
            self.payloads[:count],
            {sequence: letter for sequence, letter in self.replays.items() if sequence <= last},
            int(self.pending[count - 1]),
        )


class FrameSink(Protocol):
    """Where the frames of one subscription go, in their order. Runs in the event loop: it must not block or raise."""

    def receive(self, frames: Frames) -> None:
        """Takes frames of one read of the socket."""

    def receive_run(self, run: Run) -> None:
        """Takes a run of a consumer's messages; the same as `receive` of each."""


def cut_run(buffer: bytearray, start: int, stop: int) -> tuple[Run, bytes, int] | None:
    """The whole frames from `start` to `stop`, as far as they are like the first: of one subscription and consumer.

    What it takes is proved frame by frame: each starts where a size says that the one before it ends, so no payload can
    be taken for a frame, whatever it holds. At the first frame that is not as expected the run ends.

    Returns:
        The run, its subscription's number as it stands in the frames, and where its last frame ends. None where not
        even the first frame is one of such a run, or it is not whole.
    """
    if (shape := _Shape.of(buffer, start, stop)) is None:
        return None
    view = np.frombuffer(buffer, np.uint8, stop - start, start)
    if (frames := _Borders.find(view, shape.lines)) is None:
        return None
    begins, ends, fine = frames.number_fields(view, shape)
    middles = begins[:, 0] - len(shape.middle)
    fine &= (middles > frames.starts + len(shape.verb)) & _stands_at(view, middles, shape.middle)
    fine &= _stands_at(view, frames.starts, shape.verb) & frames.end_lines(view)
    frames = frames.first(_leading(fine))
    if (numbers := _integers(buffer, start + begins[: len(frames)], start + ends[: len(frames)])) is None:
        return None
    head_sizes = numbers[:, 4] if shape.sizes == 2 else np.zeros(len(frames), np.int64)
    whole = (frames.heads + 2 + numbers[:, -1] == frames.ends) & (head_sizes >= 0) & (head_sizes <= numbers[:, -1])
    if (count := _leading(whole)) == 0:
        return None
    frames, bodies = frames.first(count), frames.heads[:count] + 2 + head_sizes[:count]
    sequences, in_consumer, published, pending = numbers[:count, :4].T
    subjects = _slices(buffer, start + frames.starts + len(shape.verb), start + middles[:count])
    payloads = _slices(buffer, start + bodies, start + frames.ends)
    headers = _slices(buffer, start + frames.heads + 2, start + bodies) if shape.sizes == 2 else None
    run = Run(sequences, in_consumer, published, pending, subjects, payloads, _replays(sequences, headers))
    return run, shape.sid, start + int(frames.ends[-1]) + 2


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the frames of a run have in common.

    Attributes:
        verb: what a frame begins with.
        sid: the subscription's number.
        middle: what stands between a subject and the first of the numbers.
        sizes: how many sizes are at the end of the control line: the headers', where there are such, and that of all.
        tail: within so many bytes the numbers are; longer ones end a run, and begin another.
        lines: how many lines a frame has, the payload being one.
    """

    verb: bytes
    sid: bytes
    middle: bytes
    sizes: int
    tail: int
    lines: int

    @classmethod
    def of(cls, buffer: bytearray, start: int, stop: int) -> _Shape | None:
        """That of the first frame; None where it is no message of a consumer."""
        line_end = buffer.find(CRLF, start, stop)
        words = bytes(buffer[start : max(start, line_end)]).split(b" ")
        if (words[0], len(words)) not in ((b"MSG", 5), (b"HMSG", 6)):
            return None
        tokens = words[3].split(b".")
        if tokens[:2] != [b"$JS", b"ACK"] or len(tokens) not in (9, 11) or not words[4].isdigit():
            return None
        sizes = len(words) - 4
        head = buffer[line_end + 2 : line_end + 2 + int(words[4])] if sizes == 2 else b""
        middle = b" %s %s." % (words[2], b".".join(tokens[:-4]))
        tail = sum(map(len, (*tokens[-4:], *words[4:]))) + 4 + sizes + _GROWTH
        return cls(words[0] + b" ", words[2], middle, sizes, tail, 2 + head.count(CRLF))


def _replays(sequences: Integers, headers: pa.BinaryArray | None) -> dict[int, str]:
    """Of messages that publish a dead letter again: the letter."""
    if headers is None:
        return {}
    named = pc.match_substring(headers, REPLAY_HEADER, ignore_case=True)
    letters = {row: replayed_letter(headers[row].as_py()) for row in pc.indices_nonzero(named).to_pylist()}
    return {int(sequences[row]): letter for row, letter in letters.items() if letter is not None}


@dataclass(frozen=True, slots=True)
class _Borders:
    """Where frames start, their control lines end, and their payloads end, if no payload holds a CR."""

    starts: Integers
    heads: Integers
    ends: Integers

    @classmethod
    def find(cls, view: Bytes, lines: int) -> _Borders | None:
        """Of the whole frames, each of so many lines."""
        returns = np.flatnonzero(view[:-1] == _CR)
        count = len(returns) // lines
        if count == 0:
            return None
        heads, ends = returns[: count * lines : lines], returns[lines - 1 : count * lines : lines]
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1] + 2
        return cls(starts, heads, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def first(self, count: int) -> _Borders:
        return _Borders(self.starts[:count], self.heads[:count], self.ends[:count])

    def end_lines(self, view: Bytes) -> Truths:
        """Whether an LF follows both CRs of a frame."""
        found: Truths = (view[self.heads + 1] == _LF) & (view[self.ends + 1] == _LF)
        return found

    def number_fields(self, view: Bytes, shape: _Shape) -> tuple[Integers, Integers, Truths]:
        """Where the numbers at the end of each control line begin and end: four, and the sizes.

        The last value tells in which frames they are there.
        """
        width, fields = min(shape.tail, int(self.heads[0])), 4 + shape.sizes
        tails = _windows(view, self.heads - width, width)
        separators = np.flatnonzero((tails == _DOT) | (tails == _SPACE))
        rows = np.arange(len(self.heads))
        behind = np.searchsorted(separators, (rows + 1) * width)
        places = separators[np.maximum(behind[:, None] - np.arange(fields, 0, -1), 0)] - rows[:, None] * width
        fine = (behind >= fields) & (places[:, 0] >= 0)  # of fewer, the first are another frame's
        places += (self.heads - width)[:, None]
        fine &= (view[places[:, 4:]] == _SPACE).all(1) & (view[places[:, :4]] == _DOT).all(1)
        return places + 1, np.column_stack((places[:, 1:], self.heads)), fine


def _leading(truths: Truths) -> int:
    """How many are true before the first that is not."""
    return len(truths) if truths.all() else int(truths.argmin())


def _windows(view: Bytes, begins: Integers, width: int) -> Bytes:
    """So many bytes from each place on, one row each."""
    found: Bytes = np.lib.stride_tricks.sliding_window_view(view, width)[begins]
    return found


def _stands_at(view: Bytes, places: Integers, text: bytes) -> Truths:
    """Whether these bytes stand at each place; places out of bounds are taken for others."""
    inside = np.clip(places, 0, len(view) - len(text))
    found: Truths = _windows(view, inside, len(text)).view(f"S{len(text)}").ravel() == text  # it ends in no NUL
    return found


def _integers(buffer: bytearray, begins: Integers, ends: Integers) -> Integers | None:
    """The numbers written between these places, one row a frame; None where one of them is none."""
    texts = _slices(buffer, begins.ravel(), ends.ravel()).view(pa.string())
    try:
        return to_integers(texts.cast(pa.int64())).reshape(begins.shape)
    except pa.ArrowInvalid:
        return None


def _slices(buffer: bytearray, begins: Integers, ends: Integers) -> pa.BinaryArray:
    """The bytes between these rising places, copied."""
    if len(begins) == 0:
        return pa.array([], pa.binary())
    offsets = np.column_stack((begins, ends)).astype(np.int32).ravel()
    every_other = pa.BinaryArray.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(buffer)]
    )
    return every_other.take(integers(np.arange(0, len(offsets), 2)))
