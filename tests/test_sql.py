"""SQL over entity types: DuckDB's answer, and no more read than it needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from fraiseql_events import EventClient, InvalidArgument, Service
from tests.mixed import an_event

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int) -> bytes:
    moment = (DAY + timedelta(hours=number)).isoformat().replace("+00:00", "Z")
    kind = "Order" if number % 4 else "User"
    return an_event(
        id=str(number), timestamp=moment, entity_type=kind, event_type=f"{kind}.{'AB'[number % 2]}",
        entity_id=f"u-{number % 3}", user_id=f"u-{number % 3}", data={"total": number / 2},
    )  # fmt: skip


@pytest.fixture
def client(filled: Callable[..., Service]) -> EventClient:
    return EventClient(filled(*map(event, range(100))).url)


@pytest.fixture
def asked(client: EventClient, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the server is asked for: entity, start, end, columns."""
    found: list[tuple[Any, ...]] = []
    stream = client.stream

    def note(entity: str, start: Any = None, end: Any = None, **options: Any) -> Any:
        found.append((entity, start, end, options["columns"]))
        return stream(entity, start, end, **options)

    monkeypatch.setattr(client, "stream", note)
    return found


def test_the_example_of_the_documentation(client: EventClient, asked: list[tuple[Any, ...]]) -> None:
    query = """select date_trunc('day', timestamp) as day, count(*) as orders, sum((data->>'$.total')::double) as total
               from "Order" where timestamp >= '2026-01-02' and timestamp < '2026-01-04' group by 1 order by 1"""
    frame = client.sql(query)
    assert frame["day"].to_list() == [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)]
    assert frame["orders"].to_list() == [18, 18]
    assert asked == [("Order", DAY + timedelta(days=1), DAY + timedelta(days=3), ["timestamp", "data"])]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ('select count(*) from "Order"', 75),
        ("select count(*) from events", 100),
        ("select count(*) from \"Order\" where timestamp > '2026-01-02' and timestamp <= '2026-01-02 02:00'", 2),
        ("select count(*) from events where timestamp < '2026-01-02' or entity_type = 'User'", 24 + 19),
        ("select count(*) from events where event_type = 'a AND timestamp < ''2020-01-01''' or true", 100),
        ('select count(*) from "Order" o join "User" u on o.user_id = u.entity_id and u.event_id = \'0\'', 25),
        ('select count(*) from "Order" a join "Order" b using (event_id)', 75),
        ('with t as (select * from "User") select count(*) from t x cross join t y', 625),
        ('select max("offset") from (select *, data from "Order")', 99),
        ("select 1 + 1", 2),
    ],
)
def test_answers_are_those_of_the_whole_tables(client: EventClient, query: str, answer: int) -> None:
    assert client.sql(query).item() == answer


def test_nothing_that_is_not_needed_is_read(client: EventClient, asked: list[tuple[Any, ...]]) -> None:
    client.sql('select count(*) from "Order"')
    client.sql('select distinct event_type from "Order" limit 1')
    join = 'select a.entity_id, b.data from "Order" a join "User" b on a.user_id = b.entity_id'
    client.sql(join + " where a.timestamp > '2026-01-01'")
    assert asked[:2] == [("Order", None, None, ["offset"]), ("Order", None, None, ["event_type"])]
    assert {each[:3] for each in asked[2:]} == {("Order", DAY + timedelta(microseconds=1), None), ("User", None, None)}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("selec 1", 'this SQL cannot be answered: syntax error at or near "selec"; one SELECT is expected'),
        ("drop table x", "this SQL cannot be answered: it is no SELECT, and events are only read"),
        ("select 1; select 2", "2 statements; one SELECT is expected"),
        ('select * from "Ordr"', r"there is no table 'Ordr' \(did you mean Order\?\); there are Order, User, events"),
        ('select totl from "Order"', "this SQL cannot be answered: .*totl"),
        ("select 'x'::int", "this SQL cannot be answered: Could not convert string 'x'"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(client: EventClient, query: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        client.sql(query)


def test_an_answer_is_a_polars_frame_with_times_in_utc(client: EventClient) -> None:
    frame = client.sql('select * from "User" order by "offset" limit 2')
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame["offset"].to_list() == [0, 4]


def test_entity_types_that_sql_takes_for_the_same_are_not_mixed_up(filled: Callable[..., Service]) -> None:
    client = EventClient(
        filled(an_event(), an_event(id="2", entity_type="order"), an_event(id="3", entity_type="Events")).url
    )
    assert client.sql('select entity_type from "order"').item() == "order"
    assert client.sql('select entity_type from "Events"').item() == "Events"
    for query in ('select * from "Order" join "order" using (user_id)', 'select * from events, "Events"'):
        with pytest.raises(InvalidArgument, match="differ only in upper and lower case"):
            client.sql(query)
