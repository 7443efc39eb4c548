"""RFC 3339, one by one and column by column."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events import timestamps
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS, format_time, parse_date, parse_time, parse_times

texts = st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-9]{2})?\Z"
)


@pytest.fixture(scope="module", params=["few", "many"], autouse=True)
def how_many_there_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """A few are parsed one by one, many by Arrow where it means the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timestamps, "_FEW", 0 if request.param == "many" else 8)
        yield


@given(micros=st.integers(MIN_MICROS, MAX_MICROS))
def test_a_formatted_time_parses_to_the_same_number(micros: int) -> None:
    assert parse_time(format_time(micros)) == micros


@given(rows=st.lists(texts | st.text(max_size=30), max_size=4))
def test_a_column_is_parsed_like_its_rows(rows: list[str]) -> None:
    times, wrong = parse_times(pa.array([row.encode("utf-8", "replace").decode() for row in rows], pa.string()))
    for row, text in enumerate(rows):
        try:
            expected = parse_time(text)
        except ValueError:
            assert row in wrong
            assert not times[row].is_valid
        else:
            assert times.cast(pa.int64())[row].as_py() == expected


@given(row=texts)
def test_arrow_reads_what_it_reads_as_we_do(row: str) -> None:
    """A column of plain times goes through Arrow's own cast, which must mean the same."""
    times, wrong = parse_times(pa.array([row, "2026-01-01T00:00:00Z"]))
    if not wrong:
        assert times.cast(pa.int64())[0].as_py() == parse_time(row)


@settings(max_examples=400)
@given(
    base=st.sampled_from(["2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00Z", "2026-01-31 12:00:00.123Z"]),
    edits=st.lists(st.tuples(st.integers(0, 26), st.sampled_from([*list("0192-+:.TtZz ,é\x00"), ""])), max_size=4),
)
def test_what_only_looks_like_a_usual_time_is_not_taken_for_one(base: str, edits: list[tuple[int, str]]) -> None:
    for place, character in edits:
        base = base[:place] + character + base[place + 1 :]
    times, wrong = parse_times(pa.array([base, "2026-01-01T00:00:00Z"]))
    try:
        expected = parse_time(base)
    except ValueError:
        assert list(wrong) == [0]
    else:
        assert times.cast(pa.int64())[0].as_py() == expected


def test_a_date_is_a_date_or_says_why_not() -> None:
    assert parse_date("1970-01-02") == 86_400_000_000
    assert parse_date("1970-01-02T00:00:00Z") is None
    with pytest.raises(ValueError, match="'2026-02-30' is not a date that exists"):
        parse_date("2026-02-30")
