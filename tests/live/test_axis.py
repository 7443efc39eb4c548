"""The marks of a time axis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraiseql_events.live.axis import marks

NOW = datetime(2026, 11, 25, 15, 20, 46, 300_000, tzinfo=UTC)
SECOND = 1_000_000


def labels(seconds: float) -> list[str]:
    first = round((NOW - timedelta(seconds=seconds)).timestamp() * SECOND)
    return [said for _, said in marks(first, round(seconds * SECOND))]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, ["15:20:45.4", "15:20:45.6", "15:20:45.8", "15:20:46.0", "15:20:46.2"]),
        (30, ["15:20:20", "15:20:25", "15:20:30", "15:20:35", "15:20:40", "15:20:45"]),
        (60, ["15:19:50", "15:20:00", "15:20:10", "15:20:20", "15:20:30", "15:20:40"]),
        (600, ["15:12", "15:14", "15:16", "15:18", "15:20"]),
        (3_600, ["14:30", "14:40", "14:50", "15:00", "15:10", "15:20"]),
        (86_400, ["18:00", "Nov 25", "06:00", "12:00"]),
        (2 * 86_400, ["Nov 24", "12:00", "Nov 25", "12:00"]),
        (7 * 86_400, ["Nov 19", "Nov 21", "Nov 23", "Nov 25"]),
        (12 * 86_400 + 1, ["Nov 15", "Nov 17", "Nov 19", "Nov 21", "Nov 23", "Nov 25"]),
        (31 * 86_400, ["Oct 26", "Nov 2", "Nov 9", "Nov 16", "Nov 23"]),
    ],
)
def test_they_are_at_round_times_and_short(seconds: float, said: list[str]) -> None:
    assert labels(seconds) == said


@given(st.integers(0, 4_000_000_000 * SECOND), st.integers(SECOND, 31 * 86_400 * SECOND))
def test_there_are_some_but_not_many_and_all_are_in_the_range(first: int, span: int) -> None:
    found = [moment for moment, _ in marks(first, span)]
    assert 2 <= len(found) <= 7
    assert all(first <= moment < first + span for moment in found)
    assert len({after - before for before, after in pairwise(found)}) == 1
    assert len({said for _, said in marks(first, span)}) > 1
