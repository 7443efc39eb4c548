"""Which subjects a filter means."""

from __future__ import annotations

import pytest

from fraiseql_events.bridge.subjects import covers, overlap


@pytest.mark.parametrize(
    ("one", "other", "all_of_it", "some_of_it"),
    [
        ("a.>", "a.>", True, True),
        (">", "a", True, True),
        ("a.>", "a", False, False),
        ("a.*", "a.b", True, True),
        ("a.b", "a.*", False, True),
        ("a.*", "a.>", False, True),
        ("a.>", "a.*", True, True),
        ("a.b.>", "a.c.>", False, False),
        ("*.b", "a.>", False, True),
        ("a.b", "a.b.c", False, False),
    ],
)
def test_filters_cover_and_overlap(one: str, other: str, all_of_it: bool, some_of_it: bool) -> None:
    assert (covers(one, other), overlap(one, other), overlap(other, one)) == (all_of_it, some_of_it, some_of_it)
