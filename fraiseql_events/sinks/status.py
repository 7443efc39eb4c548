"""How a sink is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fraiseql_events.html import card
from fraiseql_events.status_view import count


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

    def _repr_html_(self) -> str:
        rate = f", {self.events / self.seconds:,.0f} a second" if self.events and self.seconds else ""
        facts = [("loaded", f"{count(self.events, 'event')} in {self.seconds:.1f} s{rate}")]
        reached = "no event yet" if self.offset is None else f"offset {self.offset:,}"
        return card("Loaded", [*facts, ("the table reaches", reached)])
