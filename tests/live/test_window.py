"""What a dashboard counts, without a server."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fraiseql_events.live.window import BINS, MOST_GROUPS, MOST_TEXT, NEWEST, Look, Name, Own, Window

NOW = 1_790_000_000_500_000
SECOND = 1_000_000


def events(*rows: tuple[int, str | None, float | None]) -> pa.RecordBatch:
    """Events from their times, groups and values."""
    times, groups, values = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.record_batch(
        {
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "event_type": pa.array(["Order.Created"] * len(rows), pa.string()),
            "entity_id": pa.array([str(number) for number in range(len(rows))], pa.string()),
            "status": pa.array(groups, pa.string()),
            "total": pa.array(values, pa.float64()),
        }
    )


def window(seconds: float = 60) -> Window:
    return Window(seconds, "status", "total")


def names(look: Look) -> list[Name]:
    return [group.name for group in look.groups]


def in_chart(look: Look) -> list[int]:
    """Of each bin, the events."""
    return [sum(group.bins[bin_].events for group in look.groups) for bin_ in range(BINS)]


def test_an_event_stands_at_its_timestamp_and_moves_out_of_the_window() -> None:
    counted = window()
    counted.add(events((NOW - 10 * SECOND, "paid", 2.5), (NOW, "paid", 1.0)), now=NOW, live=True)
    look = counted.look(NOW)
    assert [number for number, count in enumerate(in_chart(look)) if count] == [49, 59]
    assert (look.sums.events, look.sums.total) == (2, 3.5)
    later = counted.look(NOW + 55 * SECOND)
    assert [number for number, count in enumerate(in_chart(later)) if count] == [4]
    assert sum(in_chart(counted.look(NOW + 61 * SECOND))) == 0
    assert counted.look(NOW + 61 * SECOND).sums.events == 2


def test_what_is_older_than_the_window_is_counted_and_not_shown() -> None:
    counted = window()
    counted.add(events((NOW - 3600 * SECOND, "paid", 1.0)), now=NOW, live=False)
    assert counted.look(NOW).sums.events == 1
    assert sum(in_chart(counted.look(NOW))) == 0


def test_an_event_that_happens_now_with_a_clock_that_is_wrong_stands_at_now() -> None:
    counted = window()
    day = 86_400 * SECOND
    counted.add(events((NOW - day, "slow", 1.0), (NOW + day, "fast", 1.0)), now=NOW, live=True)
    assert in_chart(counted.look(NOW))[-1] == 2


def test_the_rate_is_that_of_the_last_five_whole_seconds() -> None:
    counted = window()
    counted.add(events(*[(NOW - number * SECOND // 10, "paid", 1.0) for number in range(200)]), now=NOW, live=True)
    assert counted.look(NOW).rate == 10
    assert counted.look(NOW + 3 * SECOND).rate < 10
    assert counted.look(NOW + 10 * SECOND).rate == 0


def test_null_has_a_name_and_a_value_that_is_not_there_counts_for_nothing() -> None:
    counted = window()
    counted.add(events((NOW, None, None), (NOW, "paid", 4.0)), now=NOW, live=True)
    totals = counted.totals()
    assert (totals[Own.NONE].events, totals[Own.NONE].values, totals[Own.NONE].total) == (1, 0, 0.0)
    assert totals["paid"].values == 1


def test_the_largest_groups_have_colours_that_they_keep_and_the_rest_are_the_others() -> None:
    counted = window()
    for number, name in enumerate("abcdefgh"):
        counted.add(events(*[(NOW, name, 1.0)] * (20 - number)), now=NOW, live=True)
    before = counted.look(NOW)
    assert names(before) == [*"abcdef", Own.OTHERS]
    assert before.groups[-1].sums.events == 14 + 13
    counted.add(events(*[(NOW, "h", 1.0)] * 10), now=NOW, live=True)
    after = counted.look(NOW)
    assert names(after) == [*"habcde", Own.OTHERS]
    colours = {group.name: group.colour for group in before.groups}
    assert all(group.colour == colours[group.name] for group in after.groups if group.name in set("abcde"))
    assert after.groups[0].colour == colours["f"]


def test_groups_that_are_called_as_those_of_the_dashboard_are_groups_of_their_own() -> None:
    counted = window()
    counted.add(events(*[(NOW, "others", 1.0)] * 9, *[(NOW, "none", 1.0)] * 8, (NOW, None, 1.0)), now=NOW, live=True)
    for number, name in enumerate("abcdefgh"):
        counted.add(events(*[(NOW, name, 1.0)] * (20 + number)), now=NOW, live=True)
    assert {name: sums.events for name, sums in counted.totals().items() if len(str(name)) > 1} == {
        "others": 9,
        "none": 8,
        Own.NONE: 1,
    }
    rest = counted.look(NOW).groups[-1]
    assert (rest.name, rest.sums.events) == (Own.OTHERS, 9 + 8 + 1 + 20 + 21)


def test_its_size_does_not_depend_on_what_it_has_seen() -> None:
    counted = window()
    for first in range(0, 3_000, 1_000):
        long = [(NOW + first, f"{number}" * 400, 1.0) for number in range(first, first + 1_000)]
        counted.add(events(*long), now=NOW, live=True)
    look = counted.look(NOW)
    assert len(counted.totals()) == MOST_GROUPS + 1
    assert max(len(name) for name in counted.totals() if isinstance(name, str)) == MOST_TEXT
    assert (look.sums.events, sum(in_chart(look))) == (3_000, 3_000)
    assert len(look.newest) == NEWEST
    for hour in range(50):
        counted.add(events((NOW + hour * 3600 * SECOND, "paid", 1.0)), now=NOW + hour * 3600 * SECOND, live=True)
    assert len(counted._bins) == len(counted._per_second) == 1


def test_the_newest_stand_first_over_batches() -> None:
    counted = window()
    counted.add(events(*[(NOW + number, "paid", float(number)) for number in range(20)]), now=NOW, live=True)
    counted.add(events((NOW, "last", None)), now=NOW, live=True)
    newest = counted.look(NOW).newest
    assert [(row["group"], row["value"]) for row in newest[:3]] == [("last", None), ("paid", 19.0), ("paid", 18.0)]
    assert len(newest) == NEWEST


rows = st.tuples(
    st.integers(NOW - 200 * SECOND, NOW + 100 * SECOND),
    st.sampled_from(["paid", "shipped", "", "others", "none", None]),
    st.one_of(st.none(), st.integers(-1000, 1000).map(float)),
)


@given(st.lists(st.lists(rows, max_size=30), max_size=6), st.booleans(), st.floats(1, 100_000))
def test_no_event_is_lost_or_counted_twice(
    batches: Sequence[list[tuple[int, str, float]]], live: bool, s: float
) -> None:
    counted = window(s)
    for batch in batches:
        counted.add(events(*batch), now=NOW, live=live)
    look = counted.look(NOW)
    every = [row for batch in batches for row in batch]
    assert look.sums.events == sum(group.sums.events for group in look.groups) == len(every)
    assert look.sums.total == sum(value or 0 for _, _, value in every)
    if live:
        assert sum(in_chart(look)) == len(every)


def test_a_value_that_is_not_finite_counts_as_none_and_spoils_no_sum() -> None:
    counted = window()
    odd = [float("nan"), float("inf"), float("-inf"), None]
    counted.add(events((NOW, "paid", 2.0), *[(NOW, "paid", each) for each in odd]), now=NOW, live=True)
    look = counted.look(NOW)
    assert (look.sums.events, look.sums.values, look.sums.total) == (5, 1, 2.0)
    assert counted.misfits == 3
