"""A history of many events, made quickly: a hundred thousand generated ones again and again, with new ids, a day later.

It goes through the log as a bridge's events do, so its files are those of a real ingest, merging included.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.events import BLOCK, block_of_rows
from fraiseql_events.bridge.decode import Decoded
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.log import Log
from fraiseql_events.log.maintenance import plan

#: So many events happen in a day; that of the first block is the first.
PER_DAY: Final = BLOCK
#: Rows of a piece, about as many as a bridge has at once when there is much to read.
PIECE: Final = 40_000
DAY_MICROS: Final = 86_400_000_000
_HEX: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_DASHES: Final = (8, 13, 18, 23)


def history_of(events: int, folder: Path) -> Path:
    """A store in the folder with so many events, made if it is not there."""
    store = folder / f"history-{events}"
    if not store.exists():
        making = folder / f"history-{events}.making"
        with contextlib.closing(Log(str(making))) as log:
            fill(log, blocks(events))
            wait_until_merged(log)
        making.rename(store)
    return store


def fill(log: Log, batches: Iterable[pa.RecordBatch]) -> None:
    """Adds batches in pieces like a bridge's, and waits until they are committed."""
    created, sequence = time.time_ns() // 1000, 0
    for batch in batches:
        for start in range(0, batch.num_rows, PIECE):
            piece = batch.slice(start, PIECE)
            own = piece.take(pa.array(np.arange(piece.num_rows)))  # it shares its memory with no other
            sequence += 1
            log.append(Decoded(own, []), StreamPosition(sequence, created, sequence, sequence))
    log.flush()


def blocks(events: int, *, seed: int = 1, rows: int = BLOCK) -> Iterator[pa.RecordBatch]:
    """So many events, as the log takes them, in batches of so many rows, up to `BLOCK`."""
    first = block_of_rows(seed=seed, per_day=PER_DAY, rows=min(events, rows))
    yield first
    draw = np.random.default_rng(seed)
    days = -(-span_of(first) // DAY_MICROS)
    for number in range(1, -(-events // rows)):
        yield _later(first, number * days, draw).slice(0, min(rows, events - number * rows))


def days_between(first: datetime, last: datetime) -> list[str]:
    """The days (UTC) from one time to another, both included."""
    days = (last.date() - first.date()).days
    return [(first.date() + timedelta(days=day)).isoformat() for day in range(days + 1)]


def span_of(batch: pa.RecordBatch) -> int:
    """From the first event to after the last, in microseconds."""
    times = batch.column("timestamp").view(pa.int64()).to_numpy()
    return int(times.max() - times.min()) + 1


def wait_until_merged(log: Log) -> None:
    """Waits until maintenance finds nothing more to merge."""
    while any(next(plan(files, count=log.options.compact_files), None) for files in log.view().snapshot.files.values()):
        time.sleep(0.1)


def forget(folder: Path) -> None:
    """Asks the kernel to keep none of a folder's files in memory, so that they come from the disk again."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as source:
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def new_ids(count: int, draw: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """So many random UUIDs as text, a row of 36 bytes each."""
    digits = _HEX[draw.integers(0, 256, (count, 16), np.uint8)].reshape(count, 32)
    text = np.insert(digits, [place - number for number, place in enumerate(_DASHES)], ord("-"), axis=1)
    text[:, 14] = ord("4")
    return text


def _later(batch: pa.RecordBatch, days: int, draw: np.random.Generator) -> pa.RecordBatch:
    rows = batch.num_rows
    places = pa.py_buffer(np.arange(0, 36 * (rows + 1), 36, dtype=np.int32))
    ids = pa.StringArray.from_buffers(rows, places, pa.py_buffer(new_ids(rows, draw)))
    times = pa.array(batch.column("timestamp").view(pa.int64()).to_numpy() + days * DAY_MICROS)
    index = batch.schema.get_field_index("timestamp")
    shifted = batch.set_column(index, batch.schema.field(index), times.view(batch.schema.field(index).type))
    return shifted.set_column(0, batch.schema.field(0), ids)
