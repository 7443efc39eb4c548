"""What an offset is an offset of, in a form that can be kept: a reader that comes back is told when it means another.

Readers see events before they are in the history. When the process dies then, and NATS has lost or removed the messages
too, the offsets go to the events that come next: whoever has read that far must not go on as if nothing had happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import msgspec
import pyarrow as pa

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import SCHEMA
from fraiseql_events.timestamps import TIMESTAMP


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader has come to.

    Attributes:
        history: eight digits of the history's id.
        digest: of the event at the reader's offset; None where that was no longer in memory.
        committed: the history's end at that moment, where there is a digest.
    """

    history: str
    digest: str | None = None
    committed: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that `str` has written; `Ticket` has checked its form."""
        history, _, rest = text.partition(".")
        digest, _, committed = rest.partition(".")
        return cls(history, digest or None, int(committed or 0))

    def __str__(self) -> str:
        return self.history if self.digest is None else f"{self.history}.{self.digest}.{self.committed}"

    def check_history(self, own: str, offset: int) -> None:
        """Refuses the place of another history.

        Raises:
            InvalidArgument: with what to do.
        """
        if self.history != own:
            raise InvalidArgument(
                f"offset {offset} is one of the history {self.history}, and this server has {own}: ask the server that "
                "has the other, or read this one from its start"
            )

    def check_end(self, end: int, offset: int) -> None:
        """Refuses the place of an event that was in the history, where that ends before it now.

        Raises:
            InvalidArgument: with what to do.
        """
        if offset >= end:
            raise InvalidArgument(
                f"offset {offset} is past the end of this history, which holds {end} events: it was put back to an "
                "earlier state; go on with an offset from before that, or read it from its start"
            )

    def check_event(self, digest: str, offset: int) -> None:
        """Refuses a place whose event is another one now.

        Raises:
            InvalidArgument: with what to do.
        """
        if digest == self.digest:
            return
        if offset < self.committed:
            raise InvalidArgument(
                f"the event at offset {offset} is another one than was read there: this history was put back to an "
                "earlier state; go on with an offset from before that, or read it from its start"
            )
        raise InvalidArgument(
            f"the events from offset {self.committed} to {offset} were read before they were in the history, and lost "
            "with the server and their messages: others have their offsets now; go on with "
            f"after_offset={self.committed - 1}"
        )


def digest_of(events: pa.RecordBatch, row: int = 0) -> str:
    """Sixteen digits that tell one of some events, `SCHEMA` and perhaps more, from another at the same offset."""
    scalars = [events.column(name)[row] for name in SCHEMA.names]
    values = [each.value if each.type == TIMESTAMP else each.as_py() for each in scalars]
    return blake2b(msgspec.json.encode(values), digest_size=8).hexdigest()
