"""Reads ahead of whoever reads: the next batches of a file are decoded while one is on its way to a client."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

#: So many batches of a source, and of them about so many bytes, are ready at the most.
AHEAD: Final = 3
AHEAD_BYTES: Final = 4 << 20
#: Reading releases the interpreter: about as many as there are processors are of use, and a store that is slow to
#: answer wants a few more. A reader that finds them all busy reads for itself.
THREADS: Final = max(4, os.cpu_count() or 1)
#: A thread that has nothing to do for so long ends.
LINGER_SECONDS: Final = 0.2


def read_ahead(source: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches of a source in their order, some of them made before they are asked for, in other threads.

    What the source raises is raised in its place. The source is never used by two threads at once, and is let go of
    when this is closed.
    """
    ahead = _Ahead(source)
    try:
        while (batch := ahead.take()) is not None:
            yield batch
    finally:
        ahead.close()


class _Ahead:
    def __init__(self, source: Iterator[pa.RecordBatch]) -> None:
        self._source = source
        self._ready: deque[pa.RecordBatch] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._reading = False
        self._asked = False
        self._ended = False
        self._error: BaseException | None = None

    def take(self) -> pa.RecordBatch | None:
        """The next batch; None at the end."""
        with self._changed:
            while self._reading and not self._ready:
                self._changed.wait()
            here = not self._ready and not self._ended
            self._reading |= here
        if here:  # nobody has begun on it
            self._read()
            self._done()
        with self._changed:
            if not self._ready:
                if self._error is not None:
                    raise self._error
                return None
            batch = self._ready.popleft()
            self._bytes -= batch.nbytes
            if not (self._asked or self._reading or self._ended or self._is_full()):
                self._asked = True
                _threads.ask(self)
            return batch

    def fill(self) -> None:
        """Reads as far ahead as may be. Runs in one of the threads."""
        with self._changed:
            self._asked = False
            if self._reading or self._ended or self._is_full():
                return
            self._reading = True
        while self._read():
            pass
        self._done()

    def close(self) -> None:
        """Lets go of the source, once nobody reads it any more."""
        with self._changed:
            self._ended = True
            while self._reading:
                self._changed.wait()
            self._ready.clear()
        self._source = iter(())

    def _is_full(self) -> bool:
        return len(self._ready) >= AHEAD or self._bytes >= AHEAD_BYTES

    def _read(self) -> bool:
        """Reads one batch; whether another is wanted."""
        batch, error = None, None
        try:
            batch = next(self._source, None)
        except BaseException as raised:  # noqa: BLE001 - handed to the reader, whom it concerns
            error = raised
        with self._changed:
            if batch is None:
                self._ended, self._error = True, error
            else:
                self._ready.append(batch)
                self._bytes += batch.nbytes
            self._changed.notify_all()
            return not (self._ended or self._is_full())

    def _done(self) -> None:
        with self._changed:
            self._reading = False
            self._changed.notify_all()


class _Threads:
    """Threads that read ahead, no more than are of use: each that has read keeps some memory for itself."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[_Ahead] = queue.SimpleQueue()
        self._counting = threading.Lock()
        self._started = 0
        self._at_work = 0

    def ask(self, ahead: _Ahead) -> None:
        """Has one of them read."""
        with self._counting:
            self._at_work += 1
            if self._started < min(self._at_work, THREADS):
                self._started += 1  # a daemon: a store that hangs keeps no program from ending
                threading.Thread(target=self._run, name="fraiseql-events-ahead", daemon=True).start()
        self._asked.put(ahead)

    def _run(self) -> None:
        while True:
            try:
                ahead = self._asked.get(timeout=LINGER_SECONDS)
            except queue.Empty:
                with self._counting:
                    if self._started > self._at_work:
                        self._started -= 1
                        return
                continue
            ahead.fill()
            del ahead  # nothing of it is held while there is nothing to do
            with self._counting:
                self._at_work -= 1


_threads: Final = _Threads()
