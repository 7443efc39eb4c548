"""The history: a Delta table of events partitioned by entity type, and beside it one of dead letters, one of replays.

One commit writes events and, as numbers of its application transaction, how far they reach: the two are kept or lost
together. What stands beside them is committed first.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraiseql_events.arrays import integers
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.errors import StoreError
from fraiseql_events.event import (
    DEAD_LETTER_SCHEMA,
    LOG_SCHEMA,
    REPLAY_SCHEMA,
    DeadLetter,
    dead_letter_batch,
    replay_batch,
)
from fraiseql_events.log.faults import STORE_ERRORS, first_line
from fraiseql_events.log.side_table import SideTable
from fraiseql_events.log.snapshot import DataFile, Snapshot
from fraiseql_events.log.storage import Storage, join
from fraiseql_events.log.table import NewFile, Table

log: Final = logging.getLogger(__name__)

EVENTS: Final = "events"
DEAD_LETTERS: Final = "dead_letters"
REPLAYS: Final = "replays"
BOUNDS: Final = ("offset", "timestamp")


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a commit reaches: the offset after its last event, and the last message that it has read."""

    offset: int
    stream: StreamPosition | None
    dead_letters: int = 0


class History:
    """The committed part of the log, written by one process.

    Args:
        store: the folder or URL that holds both tables.
        options: delta-rs's storage options.

    Raises:
        StoreError: a table cannot be opened or created.
    """

    def __init__(self, store: str, options: dict[str, str] | None = None) -> None:
        self.storage = Storage(join(store, EVENTS), options)
        self.events = Table(
            self.storage, LOG_SCHEMA, partition_by=["entity_type"], description="FraiseQL entity changes"
        )
        self.letters = SideTable(
            Storage(join(store, DEAD_LETTERS), options), DEAD_LETTER_SCHEMA, "Messages that held no readable event"
        )
        self.replays = SideTable(
            Storage(join(store, REPLAYS), options), REPLAY_SCHEMA, "Dead letters that were published again"
        )
        self._lock = threading.Lock()
        self._committing = threading.Lock()
        self.reached = self._read_reached()
        self.letters.begin(self.reached.stream)
        self.replays.begin(self.reached.stream)
        self._snapshot = self._read_snapshot()
        self._written: tuple[Reached, list[NewFile]] | None = None
        self._check()

    @property
    def snapshot(self) -> Snapshot:
        """The files of this moment, and the offset that they reach."""
        with self._lock:
            return self._snapshot

    def commit(
        self,
        batches: list[pa.RecordBatch],
        dead: list[DeadLetter],
        reached: Reached,
        replays: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Makes events, and what belongs to their messages, permanent, with how far they reach.

        Args:
            batches: the events (`LOG_SCHEMA`), in offset order.
            dead: the dead letters.
            reached: how far they reach.
            replays: numbers of dead letters that were published again, each with its message's sequence.

        Raises:
            StoreError: the events were not committed; the same call may be tried again.
        """
        if reached.stream is not None:
            self.letters.commit(dead_letter_batch(dead), reached.stream)
            self.replays.commit(replay_batch(replays), reached.stream)
        if self._written is None or self._written[0] != reached:  # a second try commits the files of the first
            self._written = reached, self._write_files(batches)
        files = self._written[1]
        with self._keeping_count():
            self.events.commit(files, numbers=_numbers(reached))
            self._replace(files, (), reached.offset)
        self.reached = reached
        self._written = None

    def merge(self, files: Sequence[DataFile]) -> None:
        """Puts one file in the place of neighbouring ones of one entity type. Readers of those are not disturbed.

        Raises:
            StoreError: nothing was changed.
        """
        try:
            merged = self._write_merged(files)
        except STORE_ERRORS as error:
            raise StoreError(f"files of {self.storage.url} cannot be merged: {first_line(error)}") from error
        paths = {file.path for file in files}
        with self._keeping_count():
            self.events.commit([merged], sorted(paths), data_change=False)
            self._replace([merged], paths, None)

    @contextmanager
    def _keeping_count(self) -> Iterator[None]:
        """Commit and snapshot as one step; the files are listed anew when the table had to be opened again.

        Then a commit in doubt may have stood.
        """
        with self._committing:
            reopened = self.events.reopened
            try:
                yield
            finally:
                if self.events.reopened != reopened:
                    snapshot = self._read_snapshot()
                    with self._lock:
                        self._snapshot = snapshot

    def _replace(self, added: Sequence[NewFile], removed: Collection[str], end: int | None) -> None:
        with self._lock:
            self._snapshot = self._snapshot.replace(map(DataFile.of_new, added), removed, end)

    def _read_snapshot(self) -> Snapshot:
        files = [DataFile.of_action(action) for action in self.events.add_actions()]
        return Snapshot().replace(files, end=self.events.number("offset") or 0)

    def _write_files(self, batches: list[pa.RecordBatch]) -> list[NewFile]:
        try:
            table = pa.Table.from_batches(batches, LOG_SCHEMA)
            return [self._write(entity, part) for entity, part in _by_entity(table)]
        except STORE_ERRORS as error:
            raise StoreError(f"the events cannot be written to {self.storage.url}: {first_line(error)}") from error

    def _write_merged(self, files: Sequence[DataFile]) -> NewFile:
        first = files[0]

        def batches() -> Iterator[pa.RecordBatch]:
            for file in files:
                with self.storage.open_input(file.path) as source:
                    yield from pq.ParquetFile(source, page_checksum_verification=True).iter_batches(32 * 1024)

        path = _path_of(first.entity, first.span.first_offset)
        return self.events.write_file(path, batches(), partition={"entity_type": first.entity}, bounds=BOUNDS)

    def _write(self, entity: str, table: pa.Table) -> NewFile:
        first: int = table["offset"][0].as_py()
        batches = table.combine_chunks().to_batches()
        return self.events.write_file(
            _path_of(entity, first), batches, partition={"entity_type": entity}, bounds=BOUNDS, dense=False
        )

    def _read_reached(self) -> Reached:
        number = self.events.number
        created = number("created")
        stream = None
        if created is not None:
            stream = StreamPosition(
                number("sequence") or 0,
                created,
                number("published") or 0,
                number("digest") or 0,
                number("missed") or 0,
                number("epoch") or 0,
                number("began") or 0,
            )
        return Reached(number("offset") or 0, stream, number("dead_letters") or 0)

    def _check(self) -> None:
        rows = sum(file.rows for file in self._snapshot)
        last = max((file.span.last_offset for file in self._snapshot), default=-1)
        if rows > self.reached.offset or last >= self.reached.offset:
            raise StoreError(
                f"the history {self.storage.url} holds {rows} events up to offset {last}, and its commits reach "
                f"{self.reached.offset}: another program has added to it. Start with a new --store"
            )
        if rows < self.reached.offset:
            log.warning("%d events were removed from %s by another program", self.reached.offset - rows, EVENTS)


def _numbers(reached: Reached) -> dict[str, int]:
    numbers = {"offset": reached.offset, "dead_letters": reached.dead_letters}
    if (stream := reached.stream) is not None:
        numbers |= {
            "sequence": stream.sequence,
            "created": stream.created,
            "published": stream.published,
            "digest": stream.digest,
            "missed": stream.missed,
            "epoch": stream.epoch,
            "began": stream.began,
        }
    return numbers


def _path_of(entity: str, first_offset: int) -> str:
    return f"entity_type={quote(entity, safe='')}/part-{first_offset:020d}-{uuid.uuid4().hex}.parquet"


def _by_entity(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each entity type's events without that column, in offset order still."""
    if table.num_rows == 0:
        return
    encoded = table["entity_type"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    small = codes.astype(np.uint16) if len(encoded.dictionary) < 1 << 16 else codes  # of these NumPy sorts by digits
    ordered = table.drop_columns("entity_type").take(integers(np.argsort(small, kind="stable")))
    start = 0
    for code, rows in enumerate(np.bincount(codes)):
        yield encoded.dictionary[code].as_py(), ordered.slice(start, int(rows))
        start += int(rows)
