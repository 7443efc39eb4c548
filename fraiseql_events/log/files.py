"""Reading data files of the history: only the row groups and columns that a filter needs, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraiseql_events.errors import StoreError
from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.log.ahead import read_ahead
from fraiseql_events.log.faults import STORE_ERRORS, first_line
from fraiseql_events.log.filter import Filter, Span
from fraiseql_events.log.snapshot import DataFile
from fraiseql_events.log.storage import Storage
from fraiseql_events.timestamps import micros_of_datetime

log: Final = logging.getLogger(__name__)


def read_files(
    storage: Storage, files: Sequence[DataFile], condition: Filter, *, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """The events of one entity type's files that pass, in offset order, in the scan's schema, none of them empty.

    Raises:
        StoreError: a file cannot be read.
    """
    return read_ahead(_read_files(storage, files, condition, batch_rows))


def _read_files(
    storage: Storage, files: Sequence[DataFile], condition: Filter, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            yield from _read_file(storage, file, condition, batch_rows)
        except STORE_ERRORS as error:
            log.error("%s in %s cannot be read: %s", file.path, storage.url, first_line(error))
            raise StoreError("a file of the history cannot be read; the server's log says which and why") from error


def count_rows(storage: Storage, file: DataFile, condition: Filter) -> int:
    """How many events of a file pass."""
    if condition.holds_all(file.span) and condition.event_types is None:
        return file.rows
    narrow = replace(condition, columns=(), limit=None)
    return sum(batch.num_rows for batch in _read_file(storage, file, narrow, 64 * 1024))


def _read_file(storage: Storage, file: DataFile, condition: Filter, batch_rows: int) -> Iterator[pa.RecordBatch]:
    schema = condition.output_schema
    groups = [(group, span) for group, span in enumerate(_spans(storage, file)) if condition.may_hold(span)]
    if not groups:
        return
    with storage.open_input(file.path) as source:
        parquet = pq.ParquetFile(source, page_checksum_verification=True)
        for group, span in groups:
            rest = condition.condition(span)
            columns = _columns_needed(schema, condition, rest)
            for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False):
                kept = batch if rest is None else batch.filter(rest)
                if kept.num_rows:
                    yield _project(kept, schema, file.entity)


@lru_cache(maxsize=256)
def _spans(storage: Storage, file: DataFile) -> tuple[Span, ...]:
    """The ranges of a file's row groups: a file never changes, and its footer takes milliseconds to go through."""
    with storage.open_input(file.path) as source:
        metadata = pq.ParquetFile(source).metadata
        return tuple(_span_of(metadata.row_group(group), file.span) for group in range(metadata.num_row_groups))


def _columns_needed(schema: pa.Schema, condition: Filter, rest: pc.Expression | None) -> list[str]:
    needed = {*schema.names} - {"entity_type"}
    if rest is not None:
        needed |= {"timestamp"}
        needed |= {"event_type"} if condition.event_types is not None else set()
    return [name for name in LOG_SCHEMA.names if name in needed]


def _project(batch: pa.RecordBatch, schema: pa.Schema, entity: str) -> pa.RecordBatch:
    columns = [
        pa.repeat(pa.scalar(entity, pa.string()), batch.num_rows) if name == "entity_type" else batch.column(name)
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _span_of(group: pq.RowGroupMetaData, whole: Span) -> Span:
    """The ranges of a row group by its statistics; the file's own where it has none."""
    ends = {}
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema in (OFFSET.name, "timestamp") and column.is_stats_set:
            statistics = column.statistics
            if statistics is not None and statistics.has_min_max:
                ends[column.path_in_schema] = (statistics.min, statistics.max)
    first, last = ends.get(OFFSET.name, (whole.first_offset, whole.last_offset))
    if "timestamp" not in ends:
        return Span(first, last, whole.first_time, whole.last_time)
    earliest, latest = ends["timestamp"]
    return Span(first, last, micros_of_datetime(earliest), micros_of_datetime(latest))
