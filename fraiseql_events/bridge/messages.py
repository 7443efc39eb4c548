"""A piece of the JetStream stream, column by column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from fraiseql_events.event import REPLAY_HEADER

_REPLAY: Final = re.compile(rb"\r\n%s:[ \t]*([0-9a-f]{8}\.\d{1,18})[ \t]*\r\n" % REPLAY_HEADER.encode(), re.IGNORECASE)


@dataclass(slots=True)
class Messages:
    """Consecutive messages in the stream's order.

    Attributes:
        sequences: each message's sequence in the stream, rising.
        subjects: each message's subject.
        published: when JetStream stored each, in nanoseconds since the epoch.
        payloads: each message's bytes.
        replays: of messages that publish a dead letter again, by their sequence: the letter, as the header names it.
        pending: messages of the stream that the consumer had not been sent when it sent the last of these.
    """

    sequences: list[int] = field(default_factory=list)
    subjects: list[bytes] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    replays: dict[int, str] = field(default_factory=dict)
    pending: int = 0

    def __len__(self) -> int:
        return len(self.sequences)

    def extend(self, other: Messages) -> None:
        """Appends the messages that follow."""
        self.sequences += other.sequences
        self.subjects += other.subjects
        self.published += other.published
        self.payloads += other.payloads
        self.replays |= other.replays
        self.pending = other.pending


def replayed_letter(header: bytes) -> str | None:
    """The dead letter that a message publishes again, as its header names it; None when it does not."""
    found = _REPLAY.search(header)
    return found[1].decode() if found else None
