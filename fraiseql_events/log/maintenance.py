"""Keeps the history quick to read: merges small files, writes checkpoints, removes files long replaced.

All of it runs beside commits and readers: a reader goes on with the files of its own view, which stay for
`vacuum_hours` after they were replaced.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from fraiseql_events.errors import EventsError, StoreError, StoreInUse
from fraiseql_events.log.history import History
from fraiseql_events.log.snapshot import DataFile

log: Final = logging.getLogger(__name__)

#: Files under so many rows are merged among themselves: an event is rewritten three times at the most.
TIERS: Final = (10_000, 100_000, 1_000_000)
#: So many times as many files are merged at once while there is much else to do.
BUSY_FACTOR: Final = 4
QUIET_SECONDS: Final = 2.0
MAX_MERGED_BYTES: Final = 512 << 20
VACUUM_EVERY_SECONDS: Final = 3600
#: A run of files that could not be merged is left alone for so long: one of them may be damaged.
RETRY_SECONDS: Final = 600


def plan(files: Sequence[DataFile], *, count: int) -> Iterator[list[DataFile]]:
    """Runs of neighbouring small files of one entity type, each run worth one file.

    Args:
        files: the entity type's files, in offset order.
        count: how many files make a run worth the work; 0 for never.
    """
    if count < 2:
        return
    for tier in TIERS:
        run: list[DataFile] = []
        for file in files:
            if file.rows < tier and sum(each.size for each in run) + file.size <= MAX_MERGED_BYTES:
                run.append(file)
            else:
                run = []
            if len(run) == count:
                yield run
                return  # the next look sees the merged file


class Maintenance:
    """A thread that maintains a history after its commits. Close it before the history's folder goes."""

    def __init__(self, history: History, *, compact_files: int, vacuum_hours: int) -> None:
        self._history = history
        self._compact_files = self._count = compact_files
        self._vacuum_hours = vacuum_hours
        self._vacuumed = time.monotonic()
        self._failed: dict[str, float] = {}
        self._woken = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="fraiseql-events-maintenance", daemon=True)
        self._thread.start()

    def wake(self, *, busy: bool = False) -> None:
        """Tells that something was committed.

        Args:
            busy: whether events come in as fast as they can be committed: then merging takes from them, and waits
                until it is worth more.
        """
        self._count = self._compact_files * (BUSY_FACTOR if busy else 1)
        self._woken.set()

    def close(self, seconds: float) -> bool:
        """Ends the thread after the file that it is writing; whether it has ended within so many seconds."""
        self._closing = True
        self._woken.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            if not self._woken.wait(QUIET_SECONDS if self._count > self._compact_files else None):
                self._count = self._compact_files  # nothing was committed since: there is time now
            self._woken.clear()
            if self._closing:
                return
            try:
                self._maintain()
            except EventsError as error:
                log.warning("the history was left as it is: %s", error)
            except Exception:  # the supervised loop: the history is whole without it, so it is said and tried again
                log.exception("the history was left as it is")

    def _maintain(self) -> None:
        merged = True
        while merged and not self._closing:
            merged = False
            for files in list(self._history.snapshot.files.values()):
                for run in plan(files, count=self._count):
                    if self._closing:
                        return
                    merged |= self._merge(run)
        due = time.monotonic() - self._vacuumed >= VACUUM_EVERY_SECONDS
        if due:
            self._vacuumed = time.monotonic()
        hours = self._vacuum_hours if due else None
        for table in (self._history.events, self._history.letters.table, self._history.replays.table):
            table.maintain(vacuum_hours=hours)

    def _merge(self, run: list[DataFile]) -> bool:
        """Merges a run of files, and whether that was done; one that fails does not keep the others from it."""
        first = run[0].path
        if time.monotonic() - self._failed.get(first, -RETRY_SECONDS) < RETRY_SECONDS:
            return False
        try:
            self._history.merge(run)
        except StoreInUse:
            raise
        except StoreError as error:
            self._failed[first] = time.monotonic()
            log.warning("the history was left as it is: %s", error)
            return False
        return True
