"""The errors of this package, one tree.

EventsError
├── InvalidArgument      a wrong argument, option or ticket; also a ValueError
├── StreamConsumed       an EventStream was read a second time
├── ServerUnavailable    no Flight server answers at the address, or it is busy; also a ConnectionError
├── ServerError          the Flight server answered with an error
│   ├── Unauthenticated  it wants a token, or another one
│   └── StreamCut        the connection or the server broke off before the stream's end
├── NatsUnavailable      no NATS server answers, or JetStream is off; also a ConnectionError
├── StreamMismatch       the JetStream stream is not the one that the history knows
├── StoreError           the history cannot be opened, read or written
│   └── StoreInUse       another process writes to it
├── SinkError            the database that a sink fills does not take what it is given
│   └── SinkUnavailable  it does not answer, or may take it later; also a ConnectionError
└── ServiceError         bridge, log and server could not be started or have failed

Every message says what was expected, what came, and what to do. Errors of NATS, Delta and Flight
are mapped once, where they enter, and kept as ``__cause__``.
"""

from __future__ import annotations

import contextlib
import linecache
import traceback
from collections.abc import Iterator

__all__ = [
    "EventsError",
    "InvalidArgument",
    "NatsUnavailable",
    "ServerError",
    "ServerUnavailable",
    "ServiceError",
    "SinkError",
    "SinkUnavailable",
    "StoreError",
    "StoreInUse",
    "StreamConsumed",
    "StreamCut",
    "StreamMismatch",
    "Unauthenticated",
]


class EventsError(Exception):
    """The base of every error that this package raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence, and the line of the cell that it came from, in place of a traceback."""
        return [f"{type(self).__name__}: {self}", *_line_of_cell(self)]


class InvalidArgument(EventsError, ValueError):
    """A wrong argument, option or ticket: found before anything is sent or read."""


class StreamConsumed(EventsError):
    """An `EventStream` can be read once; ask the client for another."""


class ServerUnavailable(EventsError, ConnectionError):
    """No Flight server answers at the address, or it serves as many streams as it may."""


class ServerError(EventsError):
    """The Flight server answered with an error."""


class Unauthenticated(ServerError):
    """The Flight server wants a token, or another one."""


class StreamCut(ServerError):
    """The connection or the server broke off before the stream's end, and asking again was of no use."""


class NatsUnavailable(EventsError, ConnectionError):
    """No NATS server answers at the address, or it has no JetStream."""


class StreamMismatch(EventsError):
    """The JetStream stream is not the one that the history was read from."""


class StoreError(EventsError):
    """The history or the dead letters cannot be opened, read or written."""


class StoreInUse(StoreError):
    """Another process writes to the same store; two would interleave."""


class SinkError(EventsError):
    """The database that a sink fills does not take what it is given; asking again is of no use."""


class SinkUnavailable(SinkError, ConnectionError):
    """The database that a sink fills does not answer, or has a trouble that may pass."""


class ServiceError(EventsError):
    """The bridge, the log and the server could not be started together, or one has failed."""


@contextlib.contextmanager
def brief_when_stopped(kind: type[BaseException]) -> Iterator[None]:
    """Has a notebook show an interrupt as it shows an `EventsError`: the frames of a wait tell nobody anything."""
    try:
        yield
    except kind as stop:
        error = stop  # which stays when the block is left
        error._render_traceback_ = lambda: [type(error).__name__, *_line_of_cell(error)]  # type: ignore[attr-defined]
        raise


def _line_of_cell(error: BaseException) -> list[str]:
    """Where in a cell of several lines an error came from."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "ipykernel_" not in frame.filename and not frame.filename.startswith("<ipython-input"):
            continue
        if len(linecache.getlines(frame.filename)) > 1 and frame.line and "get_ipython()" not in frame.line:
            return [f"  in line {frame.lineno}: {frame.line}"]
        break
    return []
