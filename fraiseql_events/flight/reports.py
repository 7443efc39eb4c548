"""What sinks say of themselves: shown in the status, and otherwise nobody's concern."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import msgspec

from fraiseql_events.errors import InvalidArgument

#: So many sinks are remembered, those that spoke last.
MOST_SINKS: Final = 100
_LONGEST_TEXT: Final = 1000


class SinkReport(msgspec.Struct, frozen=True):
    """How a sink is doing, as it says itself.

    Attributes:
        name: where its events go.
        entity: which events it takes, as in a ticket.
        state: in a word or two.
        offset: all that it wants of the events up to this offset has arrived; None before the first.
        last_error: its newest error, in a sentence.
    """

    name: str
    entity: str
    state: str
    offset: int | None = None
    last_error: str | None = None


class SinkReports:
    """The newest report of each sink, for as long as the server lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[str, tuple[float, SinkReport]] = {}

    def take(self, body: bytes) -> None:
        """Takes a report.

        Raises:
            InvalidArgument: it is none.
        """
        try:
            report = msgspec.json.decode(body, type=SinkReport)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"that is no report of a sink: {error}") from None
        if max(map(len, (report.name, report.entity, report.state, report.last_error or ""))) > _LONGEST_TEXT:
            raise InvalidArgument(f"a report of a sink has texts of {_LONGEST_TEXT} characters at the most")
        with self._lock:
            self._reports.pop(report.name, None)
            self._reports[report.name] = (time.monotonic(), report)
            while len(self._reports) > MOST_SINKS:
                del self._reports[next(iter(self._reports))]

    def listed(self, offset: int) -> list[dict[str, Any]]:
        """The sinks as JSON values, by name.

        Args:
            offset: the one that the next event gets; what lies between a sink and it is the sink's lag.
        """
        with self._lock:
            found = sorted(self._reports.items())
        now = time.monotonic()
        return [
            {
                **msgspec.structs.asdict(report),
                "lag": events_behind(offset, report.offset),
                "seen_seconds": round(now - seen, 1),
            }
            for _, (seen, report) in found
        ]


def events_behind(offset: int, reached: int | None) -> int | None:
    """How many events a sink has not come to.

    Args:
        offset: the one that the next event gets.
        reached: the last that the sink has come to; None before it has begun.
    """
    return None if reached is None else max(0, offset - 1 - reached)
