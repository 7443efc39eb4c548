"""An answer of the server that is asked for again where it was cut, at the place that it had come to."""

from __future__ import annotations

import logging
import queue
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.connection import Connection
from fraiseql_events.errors import EventsError, InvalidArgument, ServerUnavailable, StreamConsumed, StreamCut
from fraiseql_events.prefetch import Prefetch
from fraiseql_events.served import ended_here
from fraiseql_events.ticket import Ticket

if TYPE_CHECKING:
    from fraiseql_events.flight_reader import FlightReader
    from fraiseql_events.typed_reader import TypedReader

log: Final = logging.getLogger(__name__)

#: A follower that hears not even a heartbeat for so long takes the server for dead.
SILENCE_SECONDS: Final = 8.0
#: For its first word a server is given so long: it may be on a slow store.
PATIENCE_SECONDS: Final = 60.0
#: A stream with an end is given up when it comes no further for so long; a follower never gives up.
GIVE_UP_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
#: A wait is cut into slices, so that an interrupt is seen soon.
SLICE: Final = 0.1
#: What a poll gives when there is no batch with rows.
PENDING: Final = object()


class Resuming(Closing):
    """Batches without a gap and without a duplicate, whatever happens to the connection and the server.

    Args:
        open_reader: asks the server.
        ticket: what is asked for.
        server: where it is asked; None where nobody needs to know.
    """

    def __init__(
        self,
        open_reader: Callable[[Ticket], FlightReader | TypedReader],
        ticket: Ticket,
        server: Connection | None = None,
    ) -> None:
        self._open_reader = open_reader
        self._server = server
        self.ticket = ticket
        self._is_follow = ticket.mode == "streaming"
        self._prefetch: Prefetch | None = None
        self._started = self._ended = self._closed = False
        self._answered = self._asked = self._silent = False
        self._heard = 0.0
        self._goal = 0
        self._failing_since: float | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._trouble: EventsError | None = None
        self.offset: int | None = None
        self.history: str | None = ticket.history
        self.reconnects = 0
        self.rows = 0
        self.misfits: dict[str, int] = {}

    @property
    def ended(self) -> bool:
        """Whether all that was asked for has been read."""
        return self._ended

    @property
    def state(self) -> str:
        """In words: not yet asked for, open, asking again (and why), read, or closed."""
        trouble = self._trouble
        states = (
            (self._ended, "read"),
            (self._closed, "closed"),
            (trouble is not None, f"asking again: {trouble}"),
            (self._started, "open"),
        )
        return next((state for holds, state in states if holds), "not yet asked for")

    @property
    def trouble(self) -> str | None:
        """Why the server is asked again, in a sentence; None while it answers, or has not been asked."""
        return None if self._trouble is None else str(self._trouble)

    def close(self) -> None:
        """Ends the stream, on the server too; again does nothing."""
        self._closed = True
        if self._prefetch is not None:
            self._prefetch.close()

    def __del__(self) -> None:
        if getattr(self, "_prefetch", None) is not None and not self._closed:
            warnings.warn("an EventStream was left open: use it with `with`", ResourceWarning, stacklevel=2)
            self.close()

    def _start(self) -> None:
        if self._started or self._closed:
            raise StreamConsumed("this stream is read already, or closed: ask the client for another")
        self._started = True

    def _poll(self, seconds: float = SLICE) -> Any:
        """The next batch with rows; `PENDING` when there is none within so much time, or at the end."""
        if self._closed:
            raise StreamConsumed("this stream was closed before its end: ask the client for another")
        try:
            return self._receive(seconds)
        except (StreamCut, ServerUnavailable) as error:
            self._plan_retry(error)
            return PENDING
        except EventsError as error:
            raise self._told(error) from error.__cause__

    def _receive(self, seconds: float) -> Any:
        if self._prefetch is None:
            if (pause := self._retry_at - time.monotonic()) > 0:
                time.sleep(min(seconds, pause))
                return PENDING
            self._prefetch = Prefetch(lambda: self._open_reader(self._rest()))
            self._heard = time.monotonic()
        try:
            chunk = self._prefetch.get(seconds)
        except queue.Empty:
            silence = time.monotonic() - self._heard
            if silence > self._longest_silence():
                raise StreamCut(f"the server has been silent for {silence:.0f} seconds") from None
            return PENDING
        if chunk is None and self._closed:
            return PENDING  # closed by another thread: the next poll says so
        if chunk is None:
            raise StreamCut(f"the server ended the stream {self._place()}, before its end")
        for path, count in getattr(chunk, "misfits", {}).items():
            self.misfits[path] = self.misfits.get(path, 0) + count
        self._see(chunk.data)
        return self._note(chunk.data, chunk.app_metadata)

    def _see(self, batch: pa.RecordBatch) -> None:
        """Takes notice of a batch that has come."""

    def _longest_silence(self) -> float:
        """How long the server may say nothing. It sends a sign of life every two seconds, and between two looks."""
        if self._answered:
            return SILENCE_SECONDS if self._is_follow else 4 * SILENCE_SECONDS
        return 4 * SILENCE_SECONDS if self._retry_at else PATIENCE_SECONDS

    def _note(self, batch: pa.RecordBatch, metadata: pa.Buffer | None) -> Any:
        """Keeps the place that a batch comes with; the batch itself if it has rows."""
        if self._retry_at and not self._answered and not self._silent:
            log.warning("the stream goes on %s", self._place())
        self._answered = True
        self._trouble = None
        self._heard = time.monotonic()
        self._pause = _FIRST_PAUSE
        before = self.offset
        place = msgspec.json.decode(metadata.to_pybytes()) if metadata is not None else {}
        if place.get("last_offset") is not None:
            self.offset = place["last_offset"]
        if place.get("next_offset") is not None:
            self.offset = place["next_offset"] - 1
        if self.offset != before:
            self._failing_since = None
        self.history = place.get("history", self.history)
        self._asked = True
        self.rows += batch.num_rows
        self._goal = max(self._goal, place.get("until") or 0)
        self._ended = bool(place.get("end")) and not self._is_short()
        return batch if batch.num_rows else PENDING

    def _is_short(self) -> bool:
        """Whether a server that was killed has not read again as much as it had when it was asked first."""
        full = self.ticket.limit is not None and self.rows >= self.ticket.limit
        return not full and self.offset is not None and self.offset + 1 < self._goal

    def _plan_retry(self, error: EventsError) -> None:
        """Asks again after a pause, or raises the error: at the first time of asking, and when it is of no use."""
        now = time.monotonic()
        if self._prefetch is not None:
            self._prefetch.close()
        if self._closed:
            return
        self._failing_since = self._failing_since or now
        if not self._asked or (not self._is_follow and now - self._failing_since > GIVE_UP_SECONDS):
            raise self._told(error) from error.__cause__
        if self._answered:
            self.reconnects += 1
            self._silent = self._server is not None and ended_here(self._server.url)
            if not self._silent:  # whoever has ended it knows; `state` tells it too
                log.warning("%s; asking again %s", error, self._place())
        if self._silent:
            error = ServerUnavailable("its service was stopped here; it goes on when that starts again")
        self._answered = False
        self._trouble = error
        self._prefetch = None
        self._retry_at = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _told(self, error: EventsError) -> EventsError:
        """An error that also says what had come before it."""
        if not self.rows:
            return error
        place = f"{self.rows:,} events had come before"
        if not isinstance(error, InvalidArgument):  # who refuses the offset says itself where to go on
            place += f": after_offset={self.offset} goes on behind them"
        return type(error)(f"{error}; {place}")

    def _rest(self) -> Ticket:
        """What is still to be asked for."""
        if self.offset is None:
            return self.ticket
        left = None if self.ticket.limit is None else self.ticket.limit - self.rows
        return replace(self.ticket, after_offset=self.offset, history=self.history, limit=left)

    def _place(self) -> str:
        return "at its start" if self.offset is None else f"after offset {self.offset}"
