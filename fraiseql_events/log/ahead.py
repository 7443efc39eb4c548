"""Reads ahead of whoever reads: the next batches of a file are decoded while one is on its way to a client."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Final

import pyarrow as pa

#: So many batches of a source, and of them about so many bytes, are ready at the most; reading goes on when half of
#: them are taken, for a thread that is woken for each one takes as long to wake as to read.
AHEAD: Final = 8
AHEAD_BYTES: Final = 16 << 20
#: When those of all sources together are so many bytes, each may have a few batches more, and no others.
ALL_AHEAD_BYTES: Final = 24 << 20
LEAST_AHEAD: Final = 2
#: Whoever takes so many batches of a source wants more than a look at it.
IN_EARNEST: Final = 3
#: Reading releases the interpreter: about as many as there are processors are of use, and a store that is slow to
#: answer wants a few more. A reader that finds them all busy reads for itself.
THREADS: Final = max(4, os.cpu_count() or 1)
#: A thread that has nothing to do for so long ends.
LINGER_SECONDS: Final = 0.2


#: Batches that can be let go of before their end.
Batches = Generator[pa.RecordBatch, None, None]


def read_ahead(source: Iterator[pa.RecordBatch]) -> Batches:
    """The batches of a source in their order, some of them made before they are asked for, in other threads.

    What the source raises is raised in its place. The source is never used by two threads at once, and is let go of
    when this is closed.
    """
    return read_ahead_in_turn([source])


def read_ahead_in_turn(sources: Iterable[Iterator[pa.RecordBatch]]) -> Batches:
    """The same of several sources, one after the other: when one is read in earnest, the next is begun beside it."""
    rest = iter(sources)
    current, following = _next(rest), None
    try:
        while current is not None:
            taken = 0
            while (batch := current.take()) is not None:
                taken += 1
                if taken >= IN_EARNEST and following is None and _all.have_room:
                    following = _next(rest)
                    if following is not None:
                        following.ask()
                yield batch
            current.close()
            current, following = following or _next(rest), None
    finally:
        for ahead in (current, following):
            if ahead is not None:
                ahead.close()


def _next(sources: Iterator[Iterator[pa.RecordBatch]]) -> _Ahead | None:
    """The next source, which raises in its turn what was raised in looking for it."""
    try:
        source = next(sources, None)
    except Exception as error:  # noqa: BLE001 - for it is not its turn yet
        return _Ahead(_raising(error))
    return None if source is None else _Ahead(source)


def _raising(error: Exception) -> Iterator[pa.RecordBatch]:
    raise error
    yield


class _Ahead:
    def __init__(self, source: Iterator[pa.RecordBatch]) -> None:
        self._source = source
        self._ready: deque[tuple[pa.RecordBatch, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._reading = False
        self._reader = 0
        self._asked = False
        self._ended = False
        self._closed = False
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
                error, self._error = self._error, None
                try:
                    if error is not None:
                        raise error
                finally:
                    del error  # with its frames it would hold this reader, and be held by it
                return None
            batch, size = self._ready.popleft()
            self._count(-size)
            if len(self._ready) <= AHEAD // 2:
                self.ask()
            return batch

    def ask(self) -> None:
        """Has a thread read on, where none does."""
        with self._changed:
            if not (self._asked or self._reading or self._ended):
                self._asked = True
                _threads.ask(self)

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
            self._ended = self._closed = True
            # a thread that collects garbage in the midst of reading may come upon what it reads itself
            while self._reading and self._reader != threading.get_ident():
                self._changed.wait()
            self._ready.clear()
            self._count(-self._bytes)
        self._source = iter(())

    def _is_full(self) -> bool:
        if len(self._ready) < LEAST_AHEAD:
            return False
        return len(self._ready) >= AHEAD or self._bytes >= AHEAD_BYTES or not _all.have_room

    def _count(self, size: int) -> None:
        self._bytes += size
        _all.add(size)

    def _read(self) -> bool:
        """Reads one batch; whether another is wanted."""
        batch, error = None, None
        self._reader = threading.get_ident()
        try:
            batch = next(self._source, None)
        except BaseException as raised:  # noqa: BLE001 - handed to the reader, whom it concerns
            error = raised
        size = 0 if batch is None else batch.nbytes
        with self._changed:
            if self._closed:
                pass  # nobody will take it
            elif batch is None:
                self._ended, self._error, error = True, error, None
            else:
                self._ready.append((batch, size))
                self._count(size)
            self._changed.notify_all()
            return not (self._ended or self._is_full())

    def _done(self) -> None:
        with self._changed:
            self._reading = False
            self._changed.notify_all()


class _All:
    """What all sources together have ready, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.RLock()  # collecting garbage may close a source in the midst of it

    @property
    def have_room(self) -> bool:
        """Whether there may be more than the least."""
        return self.bytes < ALL_AHEAD_BYTES

    def add(self, size: int) -> None:
        """Adds so many, or takes them away."""
        with self._lock:
            self.bytes += size


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


_all: Final = _All()
_threads: Final = _Threads()
