"""How a sink is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """How a sink is doing.

    Attributes:
        state: ``starting``, ``live``, ``asking again`` after an error that may pass, ``failed`` or ``stopped``.
        events: how many this sink has inserted since it was made.
        offset: all that it wants of the events up to this offset is in ClickHouse; None before the first.
        last_error: the newest error, in a sentence; None while there was none.
    """

    state: Literal["starting", "live", "asking again", "failed", "stopped"] = "starting"
    events: int = 0
    offset: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded.

    Attributes:
        events: how many events.
        seconds: how long it took.
        offset: the offset that the table reaches; None when there was no event.
    """

    events: int
    seconds: float
    offset: int | None
