"""`scan`: the same as reading all of it and asking Polars, but for what is asked of the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraiseql_events import EventClient, Service
from fraiseql_events.lazy import Bounds, bounds_of
from tests.mixed import an_event

DAY = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pl.col("timestamp")


def event(number: int) -> bytes:
    moment = (DAY + timedelta(hours=number, microseconds=number)).isoformat().replace("+00:00", "Z")
    return an_event(id=str(number), timestamp=moment, event_type=f"Order.{'AB'[number % 2]}", data={"total": number})


@pytest.fixture
def client(filled: Callable[..., Service]) -> EventClient:
    return EventClient(filled(*map(event, range(200))).url)


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


moments = st.integers(-5, 205).map(lambda hours: DAY + timedelta(hours=hours, microseconds=hours % 3))
comparisons = st.builds(
    lambda moment, kind: {
        ">": moment < TIME, ">=": moment <= TIME, "<": moment > TIME, "<=": moment >= TIME, "==": moment == TIME,
        "!=": moment != TIME, "day": TIME.dt.date() == moment.date(), "date": moment.date() <= TIME,
        "between": TIME.is_between(moment, moment + timedelta(days=1), closed="none"),
        "type": pl.col("event_type") == "Order.A", "types": pl.col("event_type").is_in(["Order.B"]),
        "ms": pl.lit(moment).cast(pl.Datetime("ms", "UTC")) < TIME,
        "ns": pl.lit(moment).cast(pl.Datetime("ns", "UTC")) > TIME,
    }[kind],
    moments,
    st.sampled_from([">", ">=", "<", "<=", "==", "!=", "day", "date", "between", "type", "types", "ms", "ns"]),
)  # fmt: skip
conditions = st.recursive(
    comparisons, lambda inner: st.builds(lambda a, b, both: a & b if both else a | ~b, inner, inner, st.booleans())
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions, rows=st.none() | st.integers(0, 30))
def test_any_condition_gives_what_it_gives_on_the_whole_frame(
    client: EventClient, condition: pl.Expr, rows: int | None
) -> None:
    whole, lazy = client.read("Order"), client.scan("Order").drop("offset")
    expected, found = whole.filter(condition), lazy.filter(condition)
    if rows is not None:
        expected, found = expected.head(rows), found.head(rows)
    assert found.collect().equals(expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions, start=st.integers(0, 30), rows=st.integers(1, 60))
def test_a_condition_on_the_first_rows_is_one_on_these(
    client: EventClient, condition: pl.Expr, start: int, rows: int
) -> None:
    whole, lazy = client.read("Order"), client.scan("Order").drop("offset")
    assert lazy.head(rows).filter(condition).collect().equals(whole.head(rows).filter(condition))
    assert lazy.slice(start, rows).filter(condition).collect().equals(whole.slice(start, rows).filter(condition))


def test_what_is_not_understood_is_no_bound() -> None:
    assert bounds_of(pl.col("timestamp").dt.date() == date(2026, 1, 1)) == Bounds()
    assert bounds_of((TIME > DAY) | (pl.col("event_type") == "a")) == Bounds()
    assert bounds_of((TIME > DAY) & (pl.col("data") == "x")) == Bounds(start=DAY + timedelta(microseconds=1))
