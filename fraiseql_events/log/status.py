"""Where a log is."""

from __future__ import annotations

from dataclasses import dataclass

from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.log.ranges import EntityRange


@dataclass(frozen=True, slots=True)
class LogStatus:
    """Where the log is.

    Attributes:
        offset: the next one to be given.
        committed: the next one to be committed.
        dead_letters: how many there are.
        replayed: how many of them have been published again in readable form.
        stream: the last message that was appended.
        entities: what there is of each entity type.
        events_per_second: appended, over the last seconds.
        last_error: why committing is held up, or has ended.
        committing: for how many seconds the store has been busy with the commit that is under way; 0 without one.
    """

    offset: int
    committed: int
    dead_letters: int
    replayed: int
    stream: StreamPosition | None
    entities: dict[str, EntityRange]
    events_per_second: float
    last_error: str | None
    committing: float = 0.0
