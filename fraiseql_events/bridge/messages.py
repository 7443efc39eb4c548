"""A piece of the JetStream stream, column by column."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Messages:
    """Consecutive messages in the stream's order.

    Attributes:
        sequences: each message's sequence in the stream, rising.
        subjects: each message's subject.
        published: when JetStream stored each, in nanoseconds since the epoch.
        payloads: each message's bytes.
        pending: messages of the stream that the consumer had not been sent when it sent the last of these.
    """

    sequences: list[int] = field(default_factory=list)
    subjects: list[bytes] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    pending: int = 0

    def __len__(self) -> int:
        return len(self.sequences)

    def extend(self, other: Messages) -> None:
        """Appends the messages that follow."""
        self.sequences += other.sequences
        self.subjects += other.subjects
        self.published += other.published
        self.payloads += other.payloads
        self.pending = other.pending
