"""Batches are put together to blocks of up to a million rows: of a second, or of what came while one was inserted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from fraiseql_events.sinks import blocks
from fraiseql_events.sinks.blocks import Collector

MAY = datetime(2026, 5, 31, 23, 59, 59, 999_999, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def batch(first: int, rows: int, *, bytes_each: int = 1, times: Sequence[datetime] = (MAY,)) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "offset": pa.array(range(first, first + rows), pa.int64()),
            "timestamp": pa.array((list(times) * rows)[:rows], pa.timestamp("us", "UTC")),
            "data": ["x" * bytes_each] * rows,
        }
    )


def taken(collector: Collector) -> tuple[int, int, int]:
    """A block's place, and its rows, which are what its place says."""
    block = collector.take()
    with block.spool as spool:
        assert spool.table()["offset"].to_pylist() == list(range(block.after_offset + 1, block.offset + 1))
        return block.after_offset, block.offset, block.events


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(-1, None) as collector:
        yield collector


def test_what_came_within_a_second_is_a_block(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(blocks.time, "monotonic", lambda: now[0])
    assert not collector.is_due(ended=True)
    collector.add(batch(0, 10), "one")
    now[0] += 0.9
    collector.add(batch(10, 5), "two")
    assert not collector.is_due(ended=False)
    now[0] += 0.1
    assert collector.is_due(ended=False)
    block = collector.take()
    assert (block.after_offset, block.offset, block.history, block.events) == (-1, 14, "two", 15)
    assert collector.rows == 0
    with block.spool as spool:
        assert spool.table()["offset"].to_pylist() == list(range(15))


def test_a_quarter_of_a_million_rows_do_not_wait_for_more(collector: Collector) -> None:
    collector.add(batch(0, 249_999), "h")
    assert not collector.is_due(ended=False)
    collector.add(batch(249_999, 1), "h")
    assert collector.is_due(ended=False)
    assert not collector.is_full


def test_a_block_has_a_million_rows_at_the_most_and_the_next_begins_behind_it() -> None:
    with Collector(99, None) as collector:
        first = 100
        while not collector.is_full:
            collector.add(batch(first, 9_999), "h")
            first += 9_999
        block = collector.take()
        assert 990_000 < block.events <= 1_000_000
        assert (block.after_offset, block.offset) == (99, first - 1)
        collector.add(batch(first, 5), "h")
        rest = collector.take()
        assert (rest.after_offset, rest.offset, rest.events) == (first - 1, first + 4, 5)
        block.spool.close()
        rest.spool.close()


def test_large_events_fill_a_block_sooner(collector: Collector) -> None:
    for first in range(0, 3_000, 1_000):
        assert not collector.is_full
        collector.add(batch(first, 1_000, bytes_each=100_000), "h")
    assert collector.is_full
    assert collector.is_due(ended=False)


def test_what_is_there_at_the_end_is_a_block(collector: Collector) -> None:
    collector.add(batch(5, 1), "h")
    assert collector.is_due(ended=True)
    with collector.take().spool as spool:
        assert spool.rows == 1


def test_a_block_of_enough_rows_ends_with_its_month(collector: Collector) -> None:
    collector.add(batch(0, 250_000), "one")
    assert not collector.is_full
    collector.add(batch(250_000, 6, times=(MAY, MAY, JUNE, MAY, JUNE, MAY)), "two")
    assert collector.is_full
    assert taken(collector) == (-1, 250_001, 250_002)
    assert collector.rows == 4
    assert not collector.is_full
    collector.add(batch(250_006, 250_000, times=(JUNE, MAY)), "three")  # late events end no block
    assert not collector.is_full
    assert taken(collector) == (250_001, 500_005, 250_004)


def test_a_month_that_begins_with_a_batch_is_the_next_block(collector: Collector) -> None:
    collector.add(batch(0, 250_000), "h")
    collector.add(batch(250_000, 3, times=(JUNE,)), "h")
    assert collector.is_full
    assert taken(collector) == (-1, 249_999, 250_000)
    assert collector.is_due(ended=True)
    assert taken(collector) == (249_999, 250_002, 3)


def test_few_rows_do_not_end_with_their_month(collector: Collector) -> None:
    collector.add(batch(0, 249_999), "h")
    collector.add(batch(249_999, 10, times=(JUNE,)), "h")
    assert not collector.is_full
    assert taken(collector) == (-1, 250_008, 250_009)


def test_a_block_that_is_completed_is_one_whatever_its_months() -> None:
    with Collector(-1, None, in_one=True) as collector:
        collector.add(batch(0, 250_000), "h")
        collector.add(batch(250_000, 5, times=(JUNE,)), "h")
        assert taken(collector) == (-1, 250_004, 250_005)


def test_times_at_the_ends_of_what_there_is_are_months_too(collector: Collector) -> None:
    ends = pa.array([-(2**63), 2**63 - 1], pa.int64())
    for first, time in enumerate(ends):
        rows = pa.record_batch({"offset": pa.array([first]), "timestamp": pa.array([time]).cast(pa.timestamp("us"))})
        collector.add(rows, "h")
    assert taken(collector) == (-1, 1, 2)
