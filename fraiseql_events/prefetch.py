"""Reads a Flight stream in a thread of its own, a few batches ahead.

Waiting inside pyarrow cannot be interrupted: Ctrl-C would have to wait for the next batch. Here the caller waits in
Python, and the reading is cancelled from outside, which ends it on the server too.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import pyarrow.flight as fl

from fraiseql_events.flight_reader import FlightReader
from fraiseql_events.typed_reader import TypedChunk, TypedReader

#: Batches read ahead, each 2 MiB at the most, or a single event.
AHEAD: Final = 4
_END: Final = object()


class Prefetch:
    """A thread that reads ahead.

    Args:
        open_reader: asks the server; runs in the thread.
    """

    def __init__(self, open_reader: Callable[[], FlightReader | TypedReader]) -> None:
        self._open_reader = open_reader
        self._reader: FlightReader | TypedReader | None = None
        self._chunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="fraiseql-events-read", daemon=True)
        self._thread.start()

    def get(self, seconds: float) -> fl.FlightStreamChunk | TypedChunk | None:
        """The next chunk; None at the end of the stream, or when it is closed.

        The wait is one call into C: an interrupt in the midst of it leaves nothing half done.

        Raises:
            queue.Empty: there is none within so many seconds.
            Whatever the reading raised.
        """
        item = _END if self._closed else self._chunks.get(timeout=seconds)
        if item is _END or isinstance(item, BaseException):
            self._chunks.put(_END)  # for whoever asks again
        else:
            self._room.release()
        if isinstance(item, BaseException):
            raise item
        return None if item is _END else item

    def close(self) -> None:
        """Cancels the reading; again does nothing. Does not wait for the thread."""
        self._closed = True
        self._chunks.put(_END)
        self._room.release()
        if (reader := self._reader) is not None:
            reader.cancel()

    def _read(self) -> None:
        try:
            reader = self._reader = self._open_reader()
            while not self._closed:
                self._chunks.put(reader.read_chunk())
                self._room.acquire()
            reader.cancel()  # it was not there yet when we were closed
        except StopIteration:
            self._chunks.put(_END)
        except BaseException as error:  # handed to the caller, whose thread it concerns
            self._chunks.put(error)
        finally:
            if self._reader is not None:
                self._reader.close()
