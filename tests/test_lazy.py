"""`scan`: the same as reading all of it and asking Polars, but for what is asked of the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraiseql_events import SCHEMA, EventClient, InvalidArgument, Service
from fraiseql_events.bounds import NOTHING, Bounds
from fraiseql_events.lazy import bounds_of, in_utc
from fraiseql_events.timestamps import micros_of_datetime
from tests.mixed import an_event

ALL_COLUMNS = [*SCHEMA.names, "offset"]
DAY = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pl.col("timestamp")


def event(number: int, **changes: Any) -> bytes:
    moment = (DAY + timedelta(hours=number, microseconds=number)).isoformat().replace("+00:00", "Z")
    usual = {"event_type": f"Order.{'AB'[number % 2]}", "data": {"total": number}}
    return an_event(id=str(number), timestamp=moment, **(usual | changes))


@pytest.fixture
def client(filled: Callable[..., Service]) -> EventClient:
    return EventClient(filled(*map(event, range(200))).url)


@pytest.fixture
def two_types(filled: Callable[..., Service]) -> EventClient:
    """A fourth of the events are a user's."""
    users = {"entity_type": "User", "event_type": "User.A"}
    return EventClient(filled(*(event(n, **(users if n % 4 == 0 else {})) for n in range(200))).url)


@pytest.fixture
def asked(client: EventClient, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the server is asked for."""
    found: list[dict[str, Any]] = []
    stream = client.stream

    def note(entity: str, **options: Any) -> Any:
        found.append({name: value for name, value in options.items() if value is not None})
        return stream(entity, **options)

    monkeypatch.setattr(client, "stream", note)
    return found


def test_times_types_columns_and_rows_are_asked_of_the_server(client: EventClient, asked: list[dict[str, Any]]) -> None:
    lazy = client.scan("Order")
    asked.clear()
    frame = lazy.filter(DAY + timedelta(days=1) <= TIME, DAY + timedelta(days=2) > TIME).select("event_id").collect()
    assert frame["event_id"].to_list() == [str(n) for n in range(24, 48)]
    assert asked.pop() == {
        "start": DAY + timedelta(days=1), "end": DAY + timedelta(days=2),
        "columns": ["event_id", "timestamp"], "progress": False,
    }  # fmt: skip
    assert lazy.head(3).select("offset").collect()["offset"].to_list() == [0, 1, 2]
    assert asked.pop() == {"columns": ["offset"], "limit": 3, "progress": False}
    assert lazy.filter(pl.col("event_type") == "Order.B").select(pl.len()).collect().item() == 100
    assert asked.pop()["event_types"] == ["Order.B"]
    assert lazy.select(pl.len()).collect().item() == 200


def test_typed_columns_are_made_only_when_they_are_wanted(client: EventClient, asked: list[dict[str, Any]]) -> None:
    lazy = client.scan("Order", payload={"total": pl.Int64})
    asked.clear()
    assert lazy.select(pl.col("total").sum()).collect().item() == sum(range(200))
    assert asked.pop()["columns"] == ["offset"]
    assert lazy.select("event_id").collect().height == 200
    assert "payload" not in asked.pop()
    assert lazy.filter(pl.col("total") > 197).collect()["event_id"].to_list() == ["198", "199"]


def test_a_field_of_data_within_data_is_not_one_of_the_same_name_beside_it(filled: Callable[..., Service]) -> None:
    client = EventClient(filled(an_event(data={"x": 1, "event_id": 2, "data": {"x": 3, "event_id": 4}})).url)
    payload = {"x": int, "event_id": int, "data.x": int, "data.event_id": int}
    frame = client.scan("Order", payload=payload).select("x", "data.event_id", "data.x", "data.data.event_id").collect()
    assert frame.rows() == [(1, 2, 3, 4)]


#: An event's time, or one just beside it.
moments = st.builds(
    lambda hours, beside: DAY + timedelta(hours=hours, microseconds=hours + beside),
    st.integers(-5, 205),
    st.sampled_from([0, 0, -1, 1]),
)
PARIS = ZoneInfo("Europe/Paris")
OFFSET, KIND, ENTITY = pl.col("offset"), pl.col("event_type"), pl.col("entity_type")
COMPARISONS: dict[str, Callable[[datetime, int], pl.Expr]] = {
    ">": lambda moment, n: moment < TIME,
    ">=": lambda moment, n: moment <= TIME,
    "<": lambda moment, n: moment > TIME,
    "<=": lambda moment, n: moment >= TIME,
    "==": lambda moment, n: moment == TIME,
    "!=": lambda moment, n: moment != TIME,
    "zone": lambda moment, n: TIME.dt.convert_time_zone("Europe/Paris") >= moment.astimezone(PARIS),
    "written": lambda moment, n: pl.datetime(moment.year, moment.month, moment.day, time_zone="UTC") <= TIME,
    "day": lambda moment, n: TIME.dt.date() == moment.date(),
    "another day": lambda moment, n: TIME.dt.date() != moment.date(),
    "later day": lambda moment, n: TIME.dt.date() > moment.date(),
    "day in Paris": lambda moment, n: TIME.dt.convert_time_zone("Europe/Paris").dt.date() <= moment.date(),
    "days": lambda moment, n: TIME.cast(pl.Date).is_between(moment.date(), (moment + timedelta(n)).date()),
    "date": lambda moment, n: moment.date() <= TIME,
    "between": lambda moment, n: TIME.is_between(moment, moment + timedelta(hours=n), closed="none"),
    "between dates": lambda moment, n: TIME.is_between(moment.date(), (moment + timedelta(n)).date(), closed="left"),
    "one of times": lambda moment, n: TIME.is_in([moment, DAY + timedelta(hours=n, microseconds=n)]),
    "next hour": lambda moment, n: TIME + timedelta(hours=1) > moment,
    "latest": lambda moment, n: TIME.max() == TIME,
    "type": lambda moment, n: ["Order.A", "Order.B", "User.A", "x"][n % 4] == KIND,
    "types": lambda moment, n: KIND.is_in(["Order.B", "Order.C", None]),
    "no types": lambda moment, n: KIND.is_in([]),
    "beyond": lambda moment, n: KIND > "Order.A",
    "entity": lambda moment, n: pl.lit("Order") == ENTITY,
    "no entity": lambda moment, n: ENTITY == "*",
    "entities": lambda moment, n: ENTITY.is_in(["User", "nobody"]),
    "offset": lambda moment, n: n * 7 >= OFFSET,
    "offsets": lambda moment, n: OFFSET.is_between(n, n * 3),
    "some offsets": lambda moment, n: OFFSET.is_in([n, 3, n * 5]),
    "far offset": lambda moment, n: n * 1_000 < OFFSET,
    "half": lambda moment, n: n + 0.5 > OFFSET,
    "ms": lambda moment, n: pl.lit(moment).cast(pl.Datetime("ms", "UTC")) < TIME,
    "ns": lambda moment, n: pl.lit(moment).cast(pl.Datetime("ns", "UTC")) > TIME,
}
kinds, numbers = st.sampled_from(list(COMPARISONS)), st.integers(-1, 40)
comparisons = st.builds(lambda kind, *values: COMPARISONS[kind](*values), kinds, moments, numbers)
alternatives = st.builds(
    lambda kind, one, other: COMPARISONS[kind](*one) | COMPARISONS[kind](*other),
    kinds,
    st.tuples(moments, numbers),
    st.tuples(moments, numbers),
)
conditions = st.recursive(
    comparisons | alternatives,
    lambda inner: st.builds(
        lambda one, other, how: {"and": one & other, "or": one | other, "but": one & ~other, "xor": one ^ other}[how],
        inner,
        inner,
        st.sampled_from(["and", "or", "but", "xor"]),
    ),
)


@pytest.mark.filterwarnings("ignore::fraiseql_events.UnknownName")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions, rows=st.none() | st.integers(0, 30), entity=st.sampled_from(["Order", "*"]))
def test_any_condition_gives_what_it_gives_on_the_whole_frame(
    two_types: EventClient, condition: pl.Expr, rows: int | None, entity: str
) -> None:
    whole, lazy = two_types.read(entity, columns=ALL_COLUMNS), two_types.scan(entity)
    expected, found = whole.filter(condition), lazy.filter(condition)
    if rows is not None:
        expected, found = expected.head(rows), found.head(rows)
    assert found.collect().equals(expected)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions, start=st.integers(0, 30), rows=st.integers(1, 60))
def test_a_condition_on_the_first_rows_is_one_on_these(
    two_types: EventClient, condition: pl.Expr, start: int, rows: int
) -> None:
    whole, lazy = two_types.read("*", columns=ALL_COLUMNS), two_types.scan("*")
    assert lazy.head(rows).filter(condition).collect().equals(whole.head(rows).filter(condition))
    assert lazy.slice(start, rows).filter(condition).collect().equals(whole.slice(start, rows).filter(condition))


def test_no_more_is_read_than_a_condition_lets_pass(two_types: EventClient, rows_read: Callable[[], int]) -> None:
    lazy = two_types.scan("*")
    day = date(2026, 1, 3)
    for condition, most in (
        (TIME.dt.date() == day, 24),
        (TIME.dt.date().is_between(day, day + timedelta(days=1)), 48),
        (TIME.is_between(DAY, DAY + timedelta(hours=2), closed="left"), 2),
        (KIND.is_in(["Order.B", "nothing"]), 100),
        ((KIND == "User.A") | (KIND == "nothing"), 50),
        (ENTITY == "User", 50),
        (OFFSET >= 190, 10),
        ((OFFSET > 99) & (OFFSET < 104), 4),
        (KIND.is_in([]), 0),
        ((DAY > TIME) & (DAY < TIME), 0),
    ):
        expected = lazy.collect().filter(condition).height
        rows_read()
        assert lazy.filter(condition).collect().height == expected == most
        assert rows_read() == most, condition


def test_a_time_of_another_zone_or_of_none_is_one_in_utc(client: EventClient) -> None:
    lazy, bare = client.scan("Order"), datetime(2026, 1, 2)  # noqa: DTZ001
    expected = [str(number) for number in range(24, 200)]
    for moment in (bare, DAY + timedelta(days=1), (DAY + timedelta(days=1)).astimezone(PARIS), date(2026, 1, 2)):
        assert lazy.filter(moment <= TIME).collect()["event_id"].to_list() == expected
        assert lazy.filter(TIME.is_between(moment, moment + timedelta(days=1), closed="left")).collect().height == 24
        assert lazy.filter((moment <= TIME) & (pl.col("data") != "")).head(1).collect()["event_id"].item() == "24"
    assert lazy.filter(bare <= TIME, bare < TIME).select("event_id").collect().height == 176


def test_a_condition_that_polars_refuses_says_how_to_write_a_time(client: EventClient) -> None:
    bare = datetime(2026, 1, 2)  # noqa: DTZ001
    with pytest.raises(InvalidArgument, match=r"so write a time as datetime\(2026, 1, 31, 12, tzinfo=UTC\)") as raised:
        client.scan("Order").filter(TIME - timedelta(days=1) > bare).collect()
    assert "\n" not in str(raised.value)


def test_many_types_are_sorted_out_here(client: EventClient, asked: list[dict[str, Any]]) -> None:
    lazy = client.scan("Order")
    asked.clear()
    many = [f"{'x' * 200}{number}" for number in range(2_000)]
    assert lazy.filter(KIND.is_in([*many, "Order.A"])).collect().height == 100
    assert "event_types" not in asked.pop()


def test_what_is_not_understood_is_no_bound() -> None:
    assert bounds_of(TIME.dt.month() == 1) == Bounds()
    assert bounds_of((TIME > DAY) | (pl.col("data") == "a")) == Bounds()
    later = micros_of_datetime(DAY) + 1
    assert bounds_of((TIME > DAY) & (pl.col("data") == "x")) == Bounds(start=later)
    assert bounds_of((TIME > DAY) | (TIME == DAY)) == Bounds(start=later - 1)
    assert bounds_of(pl.lit(value=False)) == NOTHING
    assert bounds_of(in_utc(TIME.is_in([DAY]) & TIME.is_in([None]))) == Bounds(start=later - 1, end=later)
    last = pl.lit(datetime.max.replace(tzinfo=UTC))
    assert bounds_of(last <= TIME).options() == {"start": datetime.max.replace(tzinfo=UTC)}
    assert bounds_of(last < TIME).empty
