"""Reading data files of the history: only the row groups and columns that a filter needs, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraiseql_events.errors import StoreError
from fraiseql_events.event import LOG_SCHEMA, OFFSET
from fraiseql_events.log.ahead import Batches, read_ahead_in_turn
from fraiseql_events.log.faults import STORE_ERRORS, first_line
from fraiseql_events.log.filter import Filter, Span
from fraiseql_events.log.snapshot import DataFile
from fraiseql_events.log.storage import Storage
from fraiseql_events.timestamps import micros_of_datetime

log: Final = logging.getLogger(__name__)

#: So many batches are read from a file before it is opened again for the next.
PIECE_BATCHES: Final = 16
_Group = tuple[int, Span]


def read_files(storage: Storage, files: Sequence[DataFile], condition: Filter, *, batch_rows: int) -> Batches:
    """The events of one entity type's files that pass, in offset order, in the scan's schema, none of them empty.

    Raises:
        StoreError: a file cannot be read.
    """
    return read_ahead_in_turn(_pieces(storage, files, condition, batch_rows))


def _pieces(
    storage: Storage, files: Sequence[DataFile], condition: Filter, batch_rows: int
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The files in pieces of some row groups, each small enough that two of them are worth reading at once."""
    for file in files:
        with _faults(storage, file):
            groups = _groups(storage, file, condition)
        each = max(1, PIECE_BATCHES * batch_rows * len(_spans(storage, file)) // max(1, file.rows))
        for start in range(0, len(groups), each):
            yield _read_piece(storage, file, groups[start : start + each], condition, batch_rows)


def _read_piece(
    storage: Storage, file: DataFile, groups: Sequence[_Group], condition: Filter, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with _faults(storage, file):
        yield from _read_groups(storage, file, groups, condition, batch_rows)


@contextmanager
def _faults(storage: Storage, file: DataFile) -> Iterator[None]:
    try:
        yield
    except STORE_ERRORS as error:
        log.error("%s in %s cannot be read: %s", file.path, storage.url, first_line(error))
        raise StoreError("a file of the history cannot be read; the server's log says which and why") from error


def count_rows(storage: Storage, file: DataFile, condition: Filter) -> int:
    """How many events of a file pass."""
    if condition.holds_all(file.span) and condition.event_types is None:
        return file.rows
    narrow = replace(condition, columns=(), limit=None)
    groups = _groups(storage, file, narrow)
    return sum(batch.num_rows for batch in _read_groups(storage, file, groups, narrow, 64 * 1024))


def _groups(storage: Storage, file: DataFile, condition: Filter) -> list[_Group]:
    """The row groups of a file in which something may pass."""
    return [(group, span) for group, span in enumerate(_spans(storage, file)) if condition.may_hold(span)]


def _read_groups(
    storage: Storage, file: DataFile, groups: Sequence[_Group], condition: Filter, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    schema = condition.output_schema
    if not groups:
        return
    with storage.open_input(file.path) as source:
        parquet = pq.ParquetFile(source, metadata=_footer(storage, file), page_checksum_verification=True)
        for group, span in groups:
            rest = condition.condition(span)
            columns = _columns_needed(schema, condition, rest)
            for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False):
                kept = batch if rest is None else batch.filter(rest)
                if kept.num_rows:
                    yield _project(kept, schema, file.entity)


@lru_cache(maxsize=8)
def _footer(storage: Storage, file: DataFile) -> pq.FileMetaData:
    """A file's metadata: it is read in pieces, and its footer need not be gone through for each."""
    with storage.open_input(file.path) as source:
        return pq.ParquetFile(source).metadata


@lru_cache(maxsize=256)
def _spans(storage: Storage, file: DataFile) -> tuple[Span, ...]:
    """The ranges of a file's row groups: a file never changes, and its footer takes milliseconds to go through."""
    metadata = _footer(storage, file)
    names = metadata.schema.names
    places = {name: names.index(name) for name in (OFFSET.name, "timestamp")}
    return tuple(_span_of(metadata.row_group(group), places, file.span) for group in range(metadata.num_row_groups))


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


def _span_of(group: pq.RowGroupMetaData, places: Mapping[str, int], whole: Span) -> Span:
    """The ranges of a row group by the statistics of these columns; the file's own where it has none."""
    ends = {}
    for name, place in places.items():
        statistics = group.column(place).statistics
        if statistics is not None and statistics.has_min_max:
            ends[name] = (statistics.min, statistics.max)
    first, last = ends.get(OFFSET.name, (whole.first_offset, whole.last_offset))
    if "timestamp" not in ends:
        return Span(first, last, whole.first_time, whole.last_time)
    earliest, latest = ends["timestamp"]
    return Span(first, last, micros_of_datetime(earliest), micros_of_datetime(latest))
