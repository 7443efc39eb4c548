"""One Delta table: the handle that reads its transactions is the handle that writes to it, one commit at a time.

Our own Parquet files, written in offset order and forced to the disk before the commit names them; delta-rs keeps
the transaction log. A second writer on the same table makes the next commit fail, and never interleaves.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import (
    AddAction,
    CommitProperties,
    PostCommitHookProperties,
    RemoveAction,
    Transaction,
)

from fraiseql_events.errors import StoreError, StoreInUse
from fraiseql_events.log.faults import STORE_ERRORS, first_line
from fraiseql_events.log.repair import set_checkpoints_aside, set_torn_commit_aside
from fraiseql_events.log.storage import Storage
from fraiseql_events.timestamps import format_time

log: Final = logging.getLogger(__name__)

CHECKPOINT_EVERY: Final = 100
ROW_GROUP_BYTES: Final = 16 << 20
ROW_GROUP_ROWS: Final = 64 * 1024
_CONFIGURATION: Final = {"delta.enableExpiredLogCleanup": "false"}
_PREFIX: Final = "fraiseql-events."
#: The number that tells each of our commits from every other writer's.
_COMMIT: Final = "commit"
_Content = tuple[frozenset[str], frozenset[tuple[str, int]]]
_TIMES: Final = ("timestamp", "published")
#: Columns with few values; for ids a dictionary would only be built and thrown away.
_DICTIONARY: Final = ["event_type", "user_id", "org_id", "subject", "reason"]
#: Hexadecimal digits: zstd makes half of them, lz4 nothing. For all else lz4 is faster by a third, and loses a fifth.
_DENSE: Final = {"event_id": "zstd", "payload": "zstd"}
_FAST: Final = {"event_id": "none"}
_RISING: Final = ("offset", "timestamp", "sequence", "number")
#: Columns whose bounds tell a reader what it may pass over; those of ids are as wide as the ids.
_STATISTICS: Final = ["offset", "timestamp", "event_type", "sequence", "number"]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A data file that is written and safe, and not yet part of the table."""

    path: str
    partition: Mapping[str, str]
    rows: int
    size: int
    minimum: Mapping[str, Any]
    maximum: Mapping[str, Any]


class Table:
    """A Delta table that is written by one process.

    Args:
        storage: its folder.
        schema: its columns.
        partition_by: the columns that its folders are named by.
        description: what another reader of the table is told.

    Raises:
        StoreError: it cannot be opened or created.
    """

    def __init__(
        self, storage: Storage, schema: pa.Schema, *, partition_by: Sequence[str] = (), description: str = ""
    ) -> None:
        self.storage = storage
        self.schema = schema
        self._partition_by = list(partition_by)
        self._file_schema = pa.schema([field for field in schema if field.name not in partition_by])
        self._lock = threading.Lock()
        self._checkpoint_version = 0
        self._doubt: dict[int, _Content] = {}
        #: How often the table was opened again after an error: what one remembers of its files may be wrong then.
        self.reopened = 0
        try:
            self._handle = self._open(description)
            self._last_commit = self._handle.transaction_version(_PREFIX + _COMMIT)
            self._synced = self.version
        except STORE_ERRORS as error:
            raise StoreError(f"the table {storage.url} cannot be opened: {first_line(error)}") from error
        self._check_schema()

    @property
    def version(self) -> int:
        """The table's version after our last commit."""
        return int(self._handle.version())

    @property
    def id(self) -> str:
        """The table's own identifier."""
        return str(self._handle.metadata().id)

    def number(self, name: str) -> int | None:
        """A number that a commit has set, by the name it was set with; None before the first."""
        with self._lock:
            return self._handle.transaction_version(_PREFIX + name)

    def add_actions(self) -> list[dict[str, Any]]:
        """The data files with their partition values and statistics, as delta-rs lists them, paths decoded."""
        with self._lock:
            actions = pa.RecordBatchReader.from_stream(self._handle.get_add_actions(flatten=True))
            rows: list[dict[str, Any]] = actions.read_all().to_pylist()  # `pa.table` would load pandas first
        for row in rows:
            row["path"] = unquote(row["path"])
        return rows

    def write_file(
        self,
        path: str,
        batches: Iterable[pa.RecordBatch],
        *,
        partition: Mapping[str, str],
        bounds: Sequence[str],
        dense: bool = True,
    ) -> NewFile:
        """Writes one Parquet file and forces it to the disk.

        Args:
            path: where, relative to the table.
            batches: of the table's schema without its partition columns, in order; at least one row.
            partition: the values of the partition columns.
            bounds: the columns whose least and greatest value the table keeps, to prune by.
            dense: whether it is written to stay; otherwise faster, and larger.
        """
        try:
            return self._write_file(path, batches, partition, bounds, _DENSE if dense else _FAST)
        except BaseException:
            self.storage.discard(path)
            raise

    def _write_file(
        self,
        path: str,
        batches: Iterable[pa.RecordBatch],
        partition: Mapping[str, str],
        bounds: Sequence[str],
        compression: Mapping[str, str],
    ) -> NewFile:
        rows = 0
        minimum: dict[str, Any] = {}
        maximum: dict[str, Any] = {}
        with (
            self.storage.open_output(path) as sink,
            pq.ParquetWriter(
                sink,
                self._file_schema,
                compression={name: compression.get(name, "lz4") for name in self._file_schema.names},
                compression_level={name: 1 for name in self._file_schema.names if compression.get(name) == "zstd"},
                use_dictionary=_DICTIONARY,
                column_encoding={name: "DELTA_BINARY_PACKED" for name in self._file_schema.names if name in _RISING},
                write_statistics=_STATISTICS,
                write_page_checksum=True,
                version="2.6",
            ) as writer,
        ):
            for batch in batches:
                rows += batch.num_rows
                for name in bounds:
                    column = batch.column(name)
                    low, high = column_bounds(column)
                    minimum[name] = min(minimum.get(name, low), low)
                    maximum[name] = max(maximum.get(name, high), high)
                for group in row_groups(batch):
                    writer.write_batch(group, row_group_size=max(1, group.num_rows))
        self.storage.sync(path)
        return NewFile(path, dict(partition), rows, self.storage.size(path), minimum, maximum)

    def commit(
        self,
        added: Sequence[NewFile],
        removed: Sequence[str] = (),
        *,
        numbers: Mapping[str, int] | None = None,
        data_change: bool = True,
    ) -> None:
        """Makes files part of the table, others no longer, and sets numbers, all in one commit.

        Raises:
            StoreError: nothing was committed, or another writer was there first.
        """
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.path, file.size, file.partition, now, data_change, _statistics(file)) for file in added
        ]
        actions += [RemoveAction(path, data_change, now) for path in removed]
        content = frozenset(file.path for file in added), frozenset((numbers or {}).items())
        attempt = secrets.randbits(62)
        transactions = [Transaction(_PREFIX + name, value) for name, value in (numbers or {}).items()]
        transactions.append(Transaction(_PREFIX + _COMMIT, attempt))
        with self._lock:
            if self._doubt and self._settle() == content:
                self._sync_commits()
                return
            self._fence()
            try:
                self._handle.create_write_transaction(
                    actions,
                    "append",
                    self._handle.schema(),
                    self._partition_by,
                    commit_properties=CommitProperties(app_transactions=transactions, max_commit_retries=0),
                    post_commithook_properties=PostCommitHookProperties(False, False),
                )
                self._handle.update_incremental()
            except STORE_ERRORS as error:
                self._doubt[attempt] = content
                if self._settle(error) != content:
                    self._fence()
                    raise StoreError(f"the table {self.storage.url} cannot be written: {first_line(error)}") from error
                log.warning("a commit to %s stood in spite of an error: %s", self.storage.url, first_line(error))
            self._last_commit = attempt
            self._doubt = {attempt: content}  # until it is safe on the disk
            self._sync_commits()

    def maintain(self, *, vacuum_hours: int | None = None) -> int:
        """Writes a checkpoint when one is due, and removes files that left the table that many hours ago.

        Returns:
            How many files were removed.
        """
        with self._lock:
            if self.version - self._checkpoint_version >= CHECKPOINT_EVERY:
                self._handle.create_checkpoint()
                self._checkpoint_version = self.version
            if vacuum_hours is None:
                return 0
            gone = self._handle.vacuum(
                vacuum_hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,
                post_commithook_properties=PostCommitHookProperties(False, False),
            )
            self._handle.update_incremental()
            return len(gone)

    def _open(self, description: str) -> DeltaTable:
        try:
            return self._open_or_create(description)
        except STORE_ERRORS:
            if not (set_torn_commit_aside(self.storage) | set_checkpoints_aside(self.storage)):
                raise
            return self._open_or_create(description)

    def _open_or_create(self, description: str) -> DeltaTable:
        self.storage.prepare()
        options = self.storage.options or None
        try:
            handle = DeltaTable(self.storage.url, storage_options=options)
        except TableNotFoundError:
            handle = DeltaTable.create(
                self.storage.url,
                schema=Schema.from_arrow(self.schema),
                partition_by=self._partition_by,
                description=description,
                configuration=dict(_CONFIGURATION),
                storage_options=options,
            )
        self._checkpoint_version = handle.version() - handle.version() % CHECKPOINT_EVERY
        return handle

    def _check_schema(self) -> None:
        found = pa.schema(self._handle.schema().to_arrow())
        missing = [field.name for field in self.schema if field.name not in found.names]
        if missing or self._handle.metadata().partition_columns != self._partition_by:
            raise StoreError(
                f"the table {self.storage.url} is not one of ours: "
                + (f"it has no column {missing[0]}" if missing else "it is partitioned by other columns")
            )

    def _settle(self, error: Exception | None = None) -> _Content | None:
        """After an error: an exception does not mean that nothing was committed, so the table itself is asked.

        Returns:
            The content of the attempt in doubt that stands; None when none does.
        """
        try:
            self._handle = DeltaTable(self.storage.url, storage_options=self.storage.options or None)
        except STORE_ERRORS as second:
            raise StoreError(
                f"the table {self.storage.url} cannot be written: {first_line(error or second)}"
            ) from second
        self.reopened += 1
        doubt, self._doubt = self._doubt, {}
        last = self._handle.transaction_version(_PREFIX + _COMMIT)
        if last is None or last not in doubt:
            return None
        self._last_commit = last
        return doubt[last]

    def _fence(self) -> None:
        """Refuses to write when the last commit that the handle knows of is not ours."""
        if self._handle.transaction_version(_PREFIX + _COMMIT) != self._last_commit:
            raise StoreInUse(f"another process writes to the table {self.storage.url}: stop one of the two")

    def _sync_commits(self) -> None:
        """Forces the commits to the disk that are not there yet; after that nothing is in doubt."""
        names = [f"_delta_log/{version:020d}.json" for version in range(self._synced + 1, self.version + 1)]
        try:
            self.storage.sync(*names)
        except OSError as error:
            raise StoreError(f"the table {self.storage.url} cannot be written: {first_line(error)}") from error
        self._synced = self.version
        self._doubt = {}


def row_groups(batch: pa.RecordBatch) -> Iterable[pa.RecordBatch]:
    """Pieces of a batch, each small enough to be read as a whole."""
    rows = rows_within(batch, ROW_GROUP_BYTES, ROW_GROUP_ROWS)
    return (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def rows_within(batch: pa.RecordBatch, size: int, rows: int) -> int:
    """How many rows of a batch have about so many bytes; at least 1, at most `rows`."""
    if batch.num_rows == 0:
        return rows
    each = max(1, int(batch.nbytes) // int(batch.num_rows))
    return max(1, min(rows, size // each))


def column_bounds(column: pa.Array) -> tuple[Any, Any]:
    """The least and the greatest value; timestamps as microseconds since the epoch."""
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    ends = pc.min_max(column)
    return ends["min"].as_py(), ends["max"].as_py()


def _statistics(file: NewFile) -> str:
    return json.dumps({"numRecords": file.rows, "minValues": _shown(file.minimum), "maxValues": _shown(file.maximum)})


def _shown(bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {name: format_time(value) if name in _TIMES else value for name, value in bounds.items()}
