"""Which files are merged."""

from __future__ import annotations

from fraiseql_events.log.filter import Span
from fraiseql_events.log.maintenance import MAX_MERGED_BYTES, TIERS, plan
from fraiseql_events.log.snapshot import DataFile


def files(*rows: int, size: int = 1000) -> list[DataFile]:
    made, start = [], 0
    for count in rows:
        made.append(DataFile(f"{start}", "Order", count, size, Span(start, start + count - 1, 0, 0)))
        start += count
    return made


def test_neighbouring_small_files_are_merged_when_there_are_enough() -> None:
    some = files(5, 5, 5, 5)
    assert list(plan(some, count=4)) == [some]
    assert list(plan(some[:3], count=4)) == []
    assert list(plan(some, count=0)) == []


def test_a_large_file_between_them_keeps_them_apart() -> None:
    some = files(5, 5, TIERS[-1], 5, 5)
    assert list(plan(some, count=3)) == []
    assert list(plan(some, count=2)) == [some[:2]]


def test_merged_files_are_merged_again_only_with_their_like() -> None:
    some = files(TIERS[0], TIERS[0], TIERS[0], 1)
    assert list(plan(some, count=3)) == [some[:3]]
    assert list(plan(files(TIERS[-1], TIERS[-1], TIERS[-1]), count=3)) == []


def test_a_merged_file_does_not_grow_without_bounds() -> None:
    assert list(plan(files(5, 5, 5, size=MAX_MERGED_BYTES // 2), count=3)) == []
