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

from fraiseql_events.bridge.messages import Integers, Messages, replayed_letter

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Truths = np.ndarray[Any, np.dtype[np.bool_]]

CRLF: Final = b"\r\n"
#: What the reply of a consumer's message begins with.
ACK: Final = b"$JS.ACK."
#: A run of fewer bytes is not worth the fixed cost of cutting it in one go.
LEAST_RUN_BYTES: Final = 16 << 10
_TAIL: Final = 80  # of a control line: four numbers of 19 digits, a size, and what stands between them
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
        even the first frame is one of such a run (one with headers is not), or it is not whole.
    """
    expected = _expected_middle(buffer, start, stop)
    if expected is None:
        return None
    sid, middle = expected
    view = np.frombuffer(buffer, np.uint8, stop - start, start)
    if (frames := _Borders.find(view)) is None:
        return None
    begins, ends, fine = frames.number_fields(view)
    middles = begins[:, 0] - len(middle)
    fine &= (middles > frames.starts + 4) & _stands_at(view, middles, middle)
    fine &= _stands_at(view, frames.starts, b"MSG ") & frames.end_lines(view)
    count = _leading(fine)
    if (numbers := _integers(buffer, start + begins[:count], start + ends[:count])) is None:
        return None
    frames = frames.first(count)
    count = _leading(frames.heads + 2 + numbers[:, 4] == frames.ends)
    if count == 0:
        return None
    frames = frames.first(count)
    sequences, in_consumer, published, pending, _ = numbers[:count].T
    subjects = _slices(buffer, start + frames.starts + 4, start + middles[:count])
    payloads = _slices(buffer, start + frames.heads + 2, start + frames.ends)
    end = start + int(frames.ends[-1]) + 2
    return Run(sequences, in_consumer, published, pending, subjects, payloads), sid, end


def _expected_middle(buffer: bytearray, start: int, stop: int) -> tuple[bytes, bytes] | None:
    """Of the first frame: its sid, and what stands between a subject and the first of the numbers."""
    line_end = buffer.find(CRLF, start, stop)
    words = bytes(buffer[start : max(start, line_end)]).split(b" ")
    if len(words) != 5 or words[0] != b"MSG":
        return None
    tokens = words[3].split(b".")
    if tokens[:2] != [b"$JS", b"ACK"] or len(tokens) not in (9, 11):
        return None
    return words[2], b" %s %s." % (words[2], b".".join(tokens[:-4]))


@dataclass(frozen=True, slots=True)
class _Borders:
    """Where frames start, their control lines end, and their payloads end, if no payload holds a CR."""

    starts: Integers
    heads: Integers
    ends: Integers

    @classmethod
    def find(cls, view: Bytes) -> _Borders | None:
        returns = np.flatnonzero(view[:-1] == _CR)
        pairs = len(returns) // 2
        if pairs == 0:
            return None
        heads, ends = returns[0 : 2 * pairs : 2], returns[1 : 2 * pairs : 2]
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1] + 2
        return cls(starts, heads, ends)

    def first(self, count: int) -> _Borders:
        return _Borders(self.starts[:count], self.heads[:count], self.ends[:count])

    def end_lines(self, view: Bytes) -> Truths:
        """Whether an LF follows both CRs of a frame."""
        found: Truths = (view[self.heads + 1] == _LF) & (view[self.ends + 1] == _LF)
        return found

    def number_fields(self, view: Bytes) -> tuple[Integers, Integers, Truths]:
        """Where the five numbers at the end of each control line begin and end; and in which frames they are there."""
        width = min(_TAIL, int(self.heads[0]))
        tails = _windows(view, self.heads - width, width)
        separators = np.flatnonzero((tails == _DOT) | (tails == _SPACE))
        rows = np.arange(len(self.heads))
        behind = np.searchsorted(separators, (rows + 1) * width)
        places = separators[np.maximum(behind[:, None] - np.arange(5, 0, -1), 0)] - rows[:, None] * width
        fine = (behind >= 5) & (places[:, 0] >= 0)  # of fewer than five, the first are another frame's
        places += (self.heads - width)[:, None]
        fine &= (view[places[:, 4]] == _SPACE) & (view[places[:, :4]] == _DOT).all(1)
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
    found: Truths = (_windows(view, inside, len(text)) == np.frombuffer(text, np.uint8)).all(1)
    return found


def _integers(buffer: bytearray, begins: Integers, ends: Integers) -> Integers | None:
    """The numbers written between these places, one row a frame; None where one of them is none."""
    texts = _slices(buffer, begins.ravel(), ends.ravel()).view(pa.string())
    try:
        numbers: Integers = texts.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return numbers.reshape(begins.shape)


def _slices(buffer: bytearray, begins: Integers, ends: Integers) -> pa.BinaryArray:
    """The bytes between these rising places, copied."""
    if len(begins) == 0:
        return pa.array([], pa.binary())
    offsets = np.column_stack((begins, ends)).astype(np.int32).ravel()
    every_other = pa.BinaryArray.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(buffer)]
    )
    return every_other.take(pa.array(np.arange(0, len(offsets), 2)))
