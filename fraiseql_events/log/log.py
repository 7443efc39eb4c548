"""The log itself: takes decoded pieces of the stream, numbers them, commits them, and shows views of all of it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from fraiseql_events.bridge.decode import Decoded
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.errors import EventsError, ServiceError, StoreError, StoreInUse
from fraiseql_events.event import LISTED_LETTER_SCHEMA, dead_letter_batch
from fraiseql_events.log.filter import Filter
from fraiseql_events.log.history import History, Reached
from fraiseql_events.log.lock import StoreLock
from fraiseql_events.log.maintenance import Maintenance
from fraiseql_events.log.options import LogOptions
from fraiseql_events.log.place import Place, digest_of
from fraiseql_events.log.ranges import add_ranges, ranges_of
from fraiseql_events.log.rate import Rate
from fraiseql_events.log.scan import View
from fraiseql_events.log.snapshot import Snapshot
from fraiseql_events.log.status import LogStatus
from fraiseql_events.log.tail import Chunk, Tail, settle

log: Final = logging.getLogger(__name__)

#: What a reader holds of the tail at once.
VIEW_BYTES: Final = 4 << 20
RETRY_SECONDS: Final = (0.2, 0.5, 1, 2, 5)
#: A store that hangs keeps nobody from ending.
CLOSE_SECONDS: Final = 6.0


class Log:
    """One sequence of events in a store. Thread-safe; close it.

    Args:
        store: a local folder, or a URL that delta-rs takes; made when it is missing.
        options: how events are kept.

    Raises:
        StoreError: the store cannot be opened.
    """

    def __init__(self, store: str, options: LogOptions | None = None) -> None:
        self.options = options or LogOptions()
        self._lock = StoreLock(store)
        try:
            self._history = History(store, self.options.storage_options)
        except BaseException:
            self._lock.release(discard=True)
            raise
        #: What tells this log from any other: the id of its Delta table.
        self.id: Final = self._history.events.id
        reached = self._history.reached
        self._tail = Tail(reached.offset, keep_bytes=self.options.tail_bytes)
        self._stream = reached.stream
        self._dead_letters = reached.dead_letters
        self._replayed = self._read_replays()
        self._entities = ranges_of(self._history.snapshot)
        self._rate = Rate(reached.offset)
        self._changed = threading.Condition()
        self._arrived = threading.Condition()
        self._flushing = False
        self._closing = False
        self._refusing = False
        self._last_error: str | None = None
        self._failure: EventsError | None = None
        self._commit_began: float | None = None
        self._maintenance = Maintenance(
            self._history,
            compact_files=self.options.compact_files,
            vacuum_hours=self.options.vacuum_hours,
        )
        self._committer = threading.Thread(target=self._commit_loop, name="fraiseql-events-commit", daemon=True)
        self._committer.start()

    @property
    def failure(self) -> EventsError | None:
        """Why nothing is committed any more, if that is so."""
        return self._failure

    @property
    def offset(self) -> int:
        """The next offset to be given."""
        return self._tail.end

    @property
    def reached(self) -> StreamPosition | None:
        """The last message whose events, or dead letters, are appended; None for a new log."""
        return self._stream

    @property
    def status(self) -> LogStatus:
        """Where the log is now."""
        with self._changed:
            return LogStatus(
                self._tail.end,
                self._history.snapshot.end,
                self._dead_letters,
                len(self._replayed),
                self._stream,
                dict(self._entities),
                self._rate.per_second(self._tail.end),
                self._last_error,
                0.0 if self._commit_began is None else time.monotonic() - self._commit_began,
            )

    def append(self, decoded: Decoded, position: StreamPosition) -> None:
        """Adds a piece of the stream; blocks while more waits for a commit than the options allow.

        Raises:
            EventsError: the log has failed or is closed.
        """
        with self._changed:
            while not (self._closing or self._refusing) and self._failure is None and self._is_full():
                self._changed.wait(1)
            if self._failure is not None:
                raise self._failure
            if self._closing or self._refusing:
                raise ServiceError("the log is closed")
            replays = self._own_replays(decoded)
            chunk = Chunk.of(decoded, position, self._tail.end, time.monotonic(), replays)
            self._tail.append(chunk)
            self._stream = position
            self._dead_letters += len(decoded.dead)
            self._replayed |= replays
            add_ranges(self._entities, decoded.events)
            self._rate.note(chunk.end)
            if self._is_due() or self._tail.oldest_uncommitted == chunk.appended:  # else nobody can do anything yet
                self._changed.notify_all()
        with self._arrived:  # a lock of its own: who is woken need not wait for the other
            self._arrived.notify_all()

    def refuse(self) -> None:
        """Takes no more events; those that are there are committed still."""
        with self._changed:
            self._refusing = True
            self._changed.notify_all()

    def view(self) -> View:
        """Everything that the log holds at this moment, committed or not; it does not change any more."""
        with self._changed:
            tail = self._tail
            return View(self._history.storage, self._history.snapshot, tail.chunks(), tail.start, tail.end)

    def view_from(self, offset: int) -> View:
        """What the log holds from an offset on, as far as one piece of it goes: the history, or some of the tail.

        A reader that goes from view to view holds little of the tail in memory, however slow it is.
        """
        with self._changed:
            storage, tail = self._history.storage, self._tail
            if offset < tail.start:
                return View(storage, self._history.snapshot, (), tail.start, tail.start)
            chunks = tail.chunks(offset, most_bytes=VIEW_BYTES)
            return View(storage, Snapshot(), chunks, offset, chunks[-1].end if chunks else offset)

    def place(self, offset: int) -> Place | None:
        """What an offset is an offset of; None where the log has not come so far (again)."""
        with self._changed:
            event, end, committed = self._tail.event(offset), self._tail.end, self._history.snapshot.end
        if event is not None:
            return Place(self.id[:8], digest_of(*event), committed)
        return Place(self.id[:8]) if offset < end else None

    def check_place(self, place: Place, offset: int) -> bool:
        """Whether an offset still means what it meant; False where the log has not come so far (again).

        Raises:
            InvalidArgument: it means another event now, or is of another log.
        """
        place.check_history(self.id[:8], offset)
        if place.digest is None:
            place.check_end(self.offset, offset)
            return True
        if offset >= self.offset:
            return False
        only = Filter(after=offset - 1, before=offset + 1)
        for batch in self.view_from(offset).scan(only):
            place.check_event(digest_of(batch), offset)
        return True

    def wait_beyond(self, offset: int, seconds: float) -> bool:
        """Waits until the log reaches beyond an offset, so long at the most; whether it does."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._tail.end > offset or self._closing, max(0.0, seconds))
        return self._tail.end > offset

    def dead_letters(self) -> Iterator[pa.RecordBatch]:
        """The dead letters (`LISTED_LETTER_SCHEMA`) at this moment, in the order they were read."""
        with self._changed:
            replayed = dict(self._replayed)
            committed = self._history.reached.stream or StreamPosition(0, 0)
            recent = [
                letter
                for chunk in self._tail.uncommitted()
                for letter in chunk.dead
                if (chunk.stream.epoch, letter.sequence) > (committed.epoch, committed.sequence)
            ]
        number = 0
        for batch in itertools.chain(self._history.letters.read(committed), [dead_letter_batch(recent)]):
            numbers = range(number, number + batch.num_rows)
            replays = pa.array([replayed.get(each) for each in numbers], pa.int64())
            columns = [pa.array(numbers, pa.int64()), *batch.columns, replays]
            yield pa.RecordBatch.from_arrays(columns, schema=LISTED_LETTER_SCHEMA)
            number += batch.num_rows

    def flush(self) -> None:
        """Commits what is in memory, and returns when it is in the history.

        Raises:
            EventsError: it cannot be committed.
        """
        with self._changed:
            goal = self._stream
            self._flushing = True
            self._changed.notify_all()
            while self._failure is None and self._tail.uncommitted() and self._history.reached.stream != goal:
                self._changed.wait(0.5)
            if self._failure is not None:
                raise self._failure

    def close(self, *, discard: bool = False) -> None:
        """Commits what is in memory and ends the threads; again does nothing.

        Args:
            discard: remove the store's folder, if this log made it and nothing was ever read into it.

        Raises:
            EventsError: something could not be committed; it is still in JetStream and will be read again.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with self._arrived:
            self._arrived.notify_all()
        deadline = time.monotonic() + CLOSE_SECONDS
        self._committer.join(CLOSE_SECONDS)
        ended = self._maintenance.close(max(1.0, deadline - time.monotonic())) and not self._committer.is_alive()
        if not ended:  # and the lock stays: what is under way may still reach the store
            raise StoreError(
                "the store does not answer: what is not committed is read again from NATS at the next start"
            )
        self._lock.release(discard=discard and self._stream is None)
        if self._failure is not None:
            raise self._failure

    def _read_replays(self) -> dict[int, int]:
        batches = self._history.replays.read(self._history.reached.stream or StreamPosition(0, 0))
        return {row["number"]: row["sequence"] for batch in batches for row in batch.to_pylist()}

    def _own_replays(self, decoded: Decoded) -> dict[int, int]:
        """Of what was published again, the dead letters of this history, by number."""
        named = [(letter.partition("."), sequence) for letter, sequence in decoded.replays]
        own = {int(number): sequence for (history, _, number), sequence in named if history == self.id[:8]}
        there = self._dead_letters + len(decoded.dead)
        return {number: sequence for number, sequence in own.items() if number < there}

    def _is_full(self) -> bool:
        options = self.options
        return (
            self._tail.uncommitted_rows >= 2 * options.commit_events
            or self._tail.uncommitted_bytes >= 2 * options.commit_bytes
        )

    def _is_due(self) -> bool:
        oldest = self._tail.oldest_uncommitted
        if oldest is None:
            return False
        return (
            self._flushing
            or self._closing
            or self._tail.uncommitted_rows >= self.options.commit_events
            or self._tail.uncommitted_bytes >= self.options.commit_bytes
            or time.monotonic() - oldest >= self.options.commit_seconds
        )

    def _commit_loop(self) -> None:
        try:
            while (chunks := self._wait_for_due()) is not None:
                self._commit(chunks)
                self._maintenance.wake(busy=chunks[-1].end - chunks[0].first >= self.options.commit_events)
        except EventsError as error:
            self._fail(error)
        except Exception as error:  # the supervised loop: whatever ends it is said, by `status` and to the log
            log.exception("committing ended")
            self._fail(ServiceError(f"committing ended: {type(error).__name__}: {error}"))

    def _wait_for_due(self) -> list[Chunk] | None:
        with self._changed:
            while not self._is_due():
                self._flushing = False
                if self._closing:
                    return None
                oldest = self._tail.oldest_uncommitted
                self._changed.wait(
                    None if oldest is None else max(0.0, oldest + self.options.commit_seconds - time.monotonic())
                )
            return self._tail.uncommitted_epoch()

    def _commit(self, chunks: list[Chunk]) -> None:
        reached = Reached(
            chunks[-1].end,
            chunks[-1].stream,
            self._history.reached.dead_letters + sum(len(chunk.dead) for chunk in chunks),
        )
        batches = [chunk.events for chunk in chunks if chunk.span is not None]
        dead = [letter for chunk in chunks for letter in chunk.dead]
        replays = [replay for chunk in chunks for replay in chunk.replays.items()]
        self._commit_until_it_stands(lambda: self._history.commit(batches, dead, reached, replays))
        settled = settle(chunks, self.options.tail_bytes)  # outside the lock: it copies them
        with self._changed:
            self._tail.mark_committed(chunks, settled)
            self._last_error = None
            self._changed.notify_all()

    def _commit_until_it_stands(self, commit: Callable[[], None]) -> None:
        """Tries again while the store is at fault; meanwhile `append` holds the bridge back."""
        for wait in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
            self._commit_began = time.monotonic()
            try:
                commit()
                return
            except StoreInUse:
                raise
            except StoreError as error:
                if self._closing:
                    raise
                log.error("%s; trying again in %g s", error, wait)
                with self._changed:
                    self._last_error = str(error)
                    self._changed.wait_for(lambda: self._closing, wait)  # what comes in meanwhile does not hurry it
            finally:
                self._commit_began = None

    def _fail(self, error: EventsError) -> None:
        with self._changed:
            self._failure = error
            self._last_error = str(error)
            self._changed.notify_all()
