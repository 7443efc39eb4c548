"""Batches are put together to blocks of up to a million rows, or of what came within a second."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fraiseql_events.sinks import blocks
from fraiseql_events.sinks.blocks import Collector


def batch(first: int, rows: int, *, bytes_each: int = 1) -> pa.RecordBatch:
    return pa.record_batch(
        {"offset": pa.array(range(first, first + rows), pa.int64()), "data": ["x" * bytes_each] * rows}
    )


def test_what_came_within_a_second_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(blocks.time, "monotonic", lambda: now[0])
    collector = Collector(-1)
    assert not collector.is_due(ended=True)
    collector.add(batch(0, 10), "h")
    now[0] += 0.9
    collector.add(batch(10, 5), "h")
    assert not collector.is_due(ended=False)
    now[0] += 0.1
    assert collector.is_due(ended=False)
    block = collector.take()
    assert (block.after_offset, block.offset, block.events) == (-1, 14, 15)
    assert collector.is_empty


def test_a_quarter_of_a_million_rows_do_not_wait_for_more() -> None:
    collector = Collector(-1)
    collector.add(batch(0, 249_999), "h")
    assert not collector.is_due(ended=False)
    collector.add(batch(249_999, 1), "h")
    assert collector.is_due(ended=False)
    assert not collector.is_full


def test_a_block_has_a_million_rows_at_the_most_and_the_next_begins_behind_it() -> None:
    collector = Collector(99)
    for first in range(100, 1_200_100, 300_000):
        collector.add(batch(first, 300_000), "h")
    assert collector.is_full
    block, rest = collector.take(), collector.take()
    assert (block.after_offset, block.offset, block.events) == (99, 900_099, 900_000)
    assert (rest.after_offset, rest.offset, rest.events) == (900_099, 1_200_099, 300_000)


def test_large_events_fill_a_block_sooner() -> None:
    collector = Collector(-1)
    for first in range(0, 3_000, 1_000):
        assert not collector.is_full
        collector.add(batch(first, 1_000, bytes_each=100_000), "h")
    assert collector.is_full
    assert collector.is_due(ended=False)


def test_what_is_there_at_the_end_is_a_block() -> None:
    collector = Collector(-1)
    collector.add(batch(5, 1), "h")
    assert collector.is_due(ended=True)
    assert collector.take().after_offset == -1
