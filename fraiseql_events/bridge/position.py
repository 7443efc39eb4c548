"""Where in the JetStream stream a reader stands, and how it knows the stream again."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The last message that was read.

    Attributes:
        sequence: its sequence in the stream; 0 before the first.
        created: when the stream was created, in microseconds since the epoch.
        published: when JetStream stored the message, in nanoseconds since the epoch; 0 before the first.
        digest: 63 bits of a hash of its payload; 0 before the first.
        missed: messages before it that were removed from the stream before they could be read.
        began: the last sequence of the stream when the history began: what is gone up to it may be older than that.
        epoch: how many times reading has gone on with another stream than before; sequences begin anew with each.
    """

    sequence: int
    created: int
    published: int = 0
    digest: int = 0
    missed: int = 0
    epoch: int = 0
    began: int = 0

    @property
    def is_first(self) -> bool:
        """Whether nothing has been read yet, of this stream or another."""
        return not self.published


def digest(payload: bytes) -> int:
    """63 bits of a hash of a payload, which fit a signed 64-bit integer."""
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), "big") >> 1
