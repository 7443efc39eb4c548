"""A piece of the JetStream stream, column by column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fraiseql_events.event import REPLAY_HEADER

Integers = np.ndarray[Any, np.dtype[np.int64]]

_REPLAY: Final = re.compile(rb"\r\n%s:[ \t]*([0-9a-f]{8}\.\d{1,18})[ \t]*\r\n" % REPLAY_HEADER.encode(), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Messages:
    """Consecutive messages in the stream's order, one entry a message in each column.

    Attributes:
        sequences: each message's sequence in the stream, rising.
        published: when JetStream stored each, in nanoseconds since the epoch.
        subjects: each message's subject.
        payloads: each message's bytes.
        replays: of messages that publish a dead letter again, by their sequence: the letter, as the header names it.
        pending: messages of the stream that the consumer had not been sent when it sent the last of these.
    """

    sequences: Integers
    published: Integers
    subjects: pa.BinaryArray
    payloads: pa.BinaryArray
    replays: dict[int, str] = field(default_factory=dict)
    pending: int = 0

    @classmethod
    def of(
        cls,
        sequences: Sequence[int],
        subjects: Sequence[bytes],
        published: Sequence[int],
        payloads: Sequence[bytes],
        replays: dict[int, str] | None = None,
        pending: int = 0,
    ) -> Messages:
        """The same from Python values."""
        return cls(
            np.array(sequences, np.int64),
            np.array(published, np.int64),
            pa.array(subjects, pa.binary()),
            pa.array(payloads, pa.binary()),
            replays or {},
            pending,
        )

    @classmethod
    def joined(cls, pieces: Sequence[Messages]) -> Messages:
        """Pieces that follow one another, as one; at least one."""
        if len(pieces) == 1:
            return pieces[0]
        return cls(
            np.concatenate([piece.sequences for piece in pieces]),
            np.concatenate([piece.published for piece in pieces]),
            pa.concat_arrays([piece.subjects for piece in pieces]),
            pa.concat_arrays([piece.payloads for piece in pieces]),
            {sequence: letter for piece in pieces for sequence, letter in piece.replays.items()},
            pieces[-1].pending,
        )

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def size(self) -> int:
        """Bytes of the payloads."""
        return int(self.payloads.nbytes)


def replayed_letter(header: bytes) -> str | None:
    """The dead letter that a message publishes again, as its header names it; None when it does not."""
    found = _REPLAY.search(header)
    return found[1].decode() if found else None
