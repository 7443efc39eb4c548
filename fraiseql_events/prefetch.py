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

#: Batches read ahead, each 2 MiB at the most, or a single event.
AHEAD: Final = 4
_POLL_SECONDS: Final = 0.1
_END: Final = object()


class Prefetch:
    """A thread that reads ahead.

    Args:
        open_reader: asks the server; runs in the thread.
    """

    def __init__(self, open_reader: Callable[[], FlightReader]) -> None:
        self._open_reader = open_reader
        self._reader: FlightReader | None = None
        self._chunks: queue.Queue[Any] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="fraiseql-events-read", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether `get` returns at once."""
        return not self._chunks.empty() or self._closed.is_set()

    def wait(self, seconds: float) -> None:
        """Waits until `ready`, so long at the most."""
        with self._arrived:
            if not self.ready:
                self._arrived.wait(seconds)

    def get(self) -> fl.FlightStreamChunk | None:
        """The next chunk; None at the end of the stream.

        Raises:
            Whatever the reading raised.
        """
        while not self.ready:
            self.wait(_POLL_SECONDS)
        try:
            item = self._chunks.get_nowait()
        except queue.Empty:
            return None
        if item is _END:
            self._chunks.put(_END)
            return None
        if isinstance(item, BaseException):
            self._chunks.put(_END)
            raise item
        return item

    def close(self) -> None:
        """Cancels the reading; again does nothing. Does not wait for the thread."""
        self._closed.set()
        with self._arrived:
            self._arrived.notify_all()
        if (reader := self._reader) is not None:
            reader.cancel()

    def _read(self) -> None:
        try:
            reader = self._reader = self._open_reader()
            while not self._closed.is_set():
                self._put(reader.read_chunk())
            reader.cancel()  # it was not there yet when we were closed
        except StopIteration:
            self._put(_END)
        except BaseException as error:  # handed to the caller, whose thread it concerns
            self._put(error)
        finally:
            if self._reader is not None:
                self._reader.close()

    def _put(self, item: Any) -> None:
        while not self._closed.is_set():
            try:
                self._chunks.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            with self._arrived:
                self._arrived.notify_all()
            return
