"""Tells the Flight server how a sink is doing, so that its status shows that."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from fraiseql_events.connection import Connection
from fraiseql_events.errors import EventsError
from fraiseql_events.sinks.status import SinkStatus

REPORT_SECONDS: Final = 1.0
#: A state that has changed is told sooner.
_LOOK_SECONDS: Final = 0.1


class Reporter:
    """Reports for as long as a sink runs.

    Args:
        server: the Flight server.
        name: the sink's.
        entity: which events it takes.
    """

    def __init__(self, server: Connection, name: str, entity: str) -> None:
        self._server = server
        self._about: dict[str, Any] = {"name": name, "entity": entity}

    @contextlib.contextmanager
    def reporting(self, status: Callable[[], SinkStatus]) -> Iterator[None]:
        """Reports in a thread of its own; a last time at the end."""
        ending = threading.Event()

        def report() -> None:
            told, due = "", 0.0
            while not ending.wait(_LOOK_SECONDS):
                found = status()
                if found.state != told or time.monotonic() >= due:
                    told, due = found.state, time.monotonic() + REPORT_SECONDS
                    self._tell(found)

        thread = threading.Thread(target=report, name="fraiseql-events-report", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()
            self._tell(status())

    def _tell(self, status: SinkStatus) -> None:
        values = {"state": status.state, "offset": status.offset, "last_error": status.last_error}
        with contextlib.suppress(EventsError):  # it may be down; it is told again
            self._server.tell("sink", msgspec.json.encode(self._about | values))
