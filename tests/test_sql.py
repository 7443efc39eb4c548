"""SQL over entity types: DuckDB's answer, and no more read than it needs."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraiseql_events import EventClient, InvalidArgument, ServerUnavailable, Service, UnknownName, sql
from fraiseql_events.duck import connect
from fraiseql_events.event import LOG_SCHEMA
from tests.mixed import an_event
from tests.waiting import until

DAY = datetime(2026, 1, 1, tzinfo=UTC)
PIVOTED = [("u-0", 25, 9), ("u-1", 25, 8), ("u-2", 25, 8)]


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


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select * from order", 'a table named like a word of SQL is written in double quotes: "Order"'),
        ("select * from Ordr", r"there is no table 'Ordr' \(did you mean Order\?\)"),
        ('select total from "Order"', r"there is no column 'total'; a field of data is read with data->>'\$.total'"),
        ('select o.total from "Order" o', r"a field of data is read with o.data->>'\$.total'"),
        ('select data.total from "Order"', r"data is JSON as text: write data->>'\$.total'"),
        ('select event_typ from "Order"', r"there is no column 'event_typ' \(did you mean event_type\?\)"),
        ('select * from "Order" where event_type = "Order.A"', "'Order.A'; text is written in single quotes"),
        ("select sum(data->>'$.total') from \"Order\"", r"a number of data is written \(data->>'\$.total'\)::double"),
        ("select 1 from \"Order\" where data->>'$.total' > 3", r"a number of data is written \(data->>'\$.total'\)::d"),
        ('select countt(*) from "Order"', r"there is no function countt \(did you mean count\?\)"),
        ('select a.event_id from "Order" o', "there is no table 'a' in this FROM; there is o"),
        ("select * from query('from needed')", "there is no table 'needed'; there are"),
        ("copy (pivot events on entity_type using count(*)) to 'x'", "it is no SELECT, and events are only read"),
        ("", "0 statements; one SELECT is expected"),
    ],
)
def test_a_mistake_comes_with_a_hint(client: EventClient, query: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as raised:
        client.sql(query)
    assert "\n" not in str(raised.value)


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


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("show tables", [("Order",), ("User",), ("events",)]),
        ('select column_name from (describe "Order") limit 2', [("event_id",), ("event_type",)]),
        ("with events as (select * from events where entity_type = 'User') select count(*) from events", [(25,)]),
        ("/* a */ pivot events on entity_type using count(*) group by user_id", PIVOTED),
        ("select * from (pivot events on entity_type using count(*) group by user_id)", PIVOTED),
        ("with x as (select * from events) pivot x on entity_type using count(*) group by user_id", PIVOTED),
        ("select count(*) from (select user_id as event_type from \"User\") where event_type = 'u-1'", [(8,)]),
        ("select count(*) from query('from \"User\"')", [(25,)]),
        ('with recursive r(n) as (select 1 union all select n + 2 from r, "Order" where "offset" = n) '
         "select max(n) from r", [(101,)]),
        ("select now() = (select max(now()) from events)", [(True,)]),
    ],
)  # fmt: skip
def test_whatever_only_reads_is_answered(client: EventClient, query: str, answer: list[tuple[Any, ...]]) -> None:
    assert sorted(client.sql(query).rows()) == answer


def test_whole_numbers_are_exact_and_of_64_bits_where_all_fit(client: EventClient) -> None:
    frame = client.sql(
        'select sum("offset") as fits, 9223372036854775807::hugeint + 1 as high, -9223372036854775808::hugeint as low, '
        'sum("offset") filter (where false) as nothing, 170141183460469231731687303715884105727::hugeint as most, '
        "sum(1.5) as decimals from events"
    )
    assert list(frame.schema.values())[:5] == [pl.Int64, pl.Int128, pl.Int64, pl.Int64, pl.Int128]
    assert frame.row(0)[:5] == (4950, 2**63, -(2**63), None, 2**127 - 1)
    assert frame["decimals"].item() == 150


def test_columns_of_the_same_name_are_told_apart(client: EventClient) -> None:
    frame = client.sql('select u.event_id, o.event_id, 1 as event_id_1 from "User" u, "Order" o limit 1')
    assert frame.columns == ["event_id", "event_id_2", "event_id_1"]


def test_no_more_is_read_than_the_conditions_of_each_table_let_pass(
    client: EventClient, rows_read: Callable[[], int]
) -> None:
    hour = "timestamp between '2026-01-02' and '2026-01-02 01:00'"
    join = 'select count(*) from "Order" a join "User" b on a.user_id = b.entity_id'
    for query, most in (
        (f"select count(*) from events where {hour}", 2),
        ("select count(*) from events where entity_type = 'User'", 25),
        ("select count(*) from events where event_type in ('User.A', 'b', 'c', 'd', 'e', 'f', 'g')", 25),
        ("select count(*) from \"Order\" where event_type = 'Order.A' or event_type = 'x'", 25),
        ('select * from events where "offset" >= 90 and "offset" < 95', 5),
        ("select data from events where timestamp::date = '2026-01-02' and data like '%1%'", 24),
        ("select event_id from events where timestamp::date in ('2026-01-02', '2026-01-03') and user_id = 'u-1'", 48),
        ("select 1 from (select *, user_id as timestamp from \"User\") where timestamp::date = '2026-01-02'", 25),
        (f"{join} and a.{hour} and b.timestamp >= '2026-01-05'", 1 + 1),
        (f"{join} where a.event_type = 'Order.A' and b.timestamp = '2026-01-01 04:00'", 25 + 1),
        ("select * from events where timestamp::date = '2026-01-02' and timestamp < '2026-01-01'", 0),
        ('select (select count(*) from "User"), count(*) from "Order" where "offset" > 97', 25 + 2),
        ('select * from events a, events b where a."offset" < 3 and b."offset" in (0, 4)', 5),
        ('describe "Order"', 0),
        ("select * from events where false", 0),
    ):
        rows_read()
        client.sql(query)
        assert rows_read() == most, query


def a_condition(name: str) -> st.SearchStrategy[str]:
    """A condition on a table's row."""
    hours = st.integers(-2, 102).map(lambda hour: f"'{DAY + timedelta(hours=hour)}'")
    kinds = st.sampled_from(["'Order.A'", "'Order.B'", "'User.A'", "'it''s (AND) '"])
    numbers = st.integers(-1, 101).map(str)
    compare = st.sampled_from(["=", "<", "<=", ">", ">=", "!=", "is distinct from", "is not distinct from"])
    values = [("timestamp", hours), ("event_type", kinds), ('"offset"', numbers), ("user_id", st.just("'u-1'"))]
    leaves = []
    for column, value in values:
        leaves += [
            st.builds(lambda c, v, column=column: f"{name}.{column} {c} {v}", compare, value),
            st.builds(lambda a, b, column=column: f"{name}.{column} between {a} and {b}", value, value),
            st.builds(
                lambda vs, no, column=column: f"{name}.{column} {no} in ({', '.join(vs)})",
                st.lists(value, min_size=1, max_size=9),
                st.sampled_from(["", "not"]),
            ),
        ]
    leaves += [
        st.builds(lambda how, hour: f"{name}.timestamp::date {how} {hour}::date", compare, hours),
        st.builds(lambda a, b: f"{name}.timestamp::date between {a}::date and {b}::date", hours, hours),
        hours.map(lambda hour: f"{name}.timestamp - interval 1 hour > {hour}"),
        st.sampled_from(["User", "Order", "o"]).map(lambda entity: f"{name}.entity_type = '{entity}'"),
        st.just(f"{name}.data like '%1%'"),
    ]
    return st.recursive(
        st.one_of(leaves),
        lambda inner: st.builds(
            lambda a, b, how: how.format(a, b),
            inner,
            inner,
            st.sampled_from(["({} and {})", "({} or {})", "({} and not {})", "({} or {} is null)"]),
        ),
        max_leaves=5,
    )


SHAPES = [
    'select count(*), min(event_id), max(data), sum("offset") from {t} a where {a}',
    "select a.event_type, count(*) from {t} a where {a} group by 1",
    "select a.event_id, b.event_id from {t} a join {u} b on a.user_id = b.entity_id and {a} where {b}",
    "select a.event_id, b.timestamp from {t} a left join {u} b on a.user_id = b.entity_id and {b} where {a}",
    "select a.event_id, b.event_id from {t} a full join {u} b on a.event_id = b.event_id and {b} and {a}",
    "select a.event_id from {t} a where {a} and exists (select 1 from {u} b where b.user_id = a.user_id and {b})",
    "select a.event_id from {t} a where {a} and a.event_id not in (select b.event_id from {u} b where {b})",
    "select event_id from {t} a where {a} union all select event_id from {u} b where {b}",
    "with a as (select * from {t} a where {a}) select b.event_id, count(*) from {u} b, a where {b} group by 1",
    "with a as materialized (select * from {t}) "
    "select a.event_id, b.data from a, a b where {a} and {b} and a.user_id = b.user_id",
    "select a.event_type, a.user_id, \"offset\" from (select user_id as event_type, event_type as user_id, \"offset\", "
    "timestamp + interval 5 hour as timestamp, entity_id as data, entity_type from {t}) a where {a}",
    "select a.event_id, (select count(*) from {u} b where {b} and b.timestamp < a.timestamp) from {t} a where {a}",
    "select count(*) filter (where {a}), max(event_id) from {t} a",
    "select event_id, row_number() over (partition by user_id order by \"offset\") from {t} a where {a}",
    "select * from (select *, lag(event_id) over (order by \"offset\") from {t}) a where {a}",
]  # fmt: skip
TABLES = st.sampled_from(['"Order"', '"User"', "events"])
queries = st.builds(
    lambda shape, t, u, a, b: shape.format(t=t, u=u, a=a, b=b),
    st.sampled_from(SHAPES), TABLES, TABLES, a_condition("a"), a_condition("b"),
)  # fmt: skip


@pytest.fixture
def whole(client: EventClient) -> Iterator[Callable[[str], list[Any]]]:
    """DuckDB's answer over tables with every row and every column."""
    with connect() as connection:
        for name in ("Order", "User", "events"):
            rows = client.read("*" if name == "events" else name, frames="arrow", columns=LOG_SCHEMA.names)
            connection.register(name, rows)
        yield lambda query: connection.execute(query).fetchall()


@pytest.mark.filterwarnings("ignore::fraiseql_events.UnknownName")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries)
def test_any_query_is_answered_as_over_the_whole_tables(
    client: EventClient, whole: Callable[[str], list[Any]], query: str
) -> None:
    assert sorted(client.sql(query).rows(), key=repr) == sorted(map(tuple, whole(query)), key=repr)


ENDLESS = """select count(*) as n from events, range(100000000) a, range(100000000) b
             where hash(event_id || a.range) = 0"""


def folders() -> list[Path]:
    """Where queries put what they cannot hold."""
    return list(Path(tempfile.gettempdir()).glob("fraiseql-events-sql-*"))


@pytest.mark.parametrize(
    "query", [ENDLESS, f"pivot ({ENDLESS.replace('count(*)', 'event_type, a.range')}) on event_type"]
)
def test_a_query_that_is_interrupted_ends_within_a_second_and_leaves_nothing(client: EventClient, query: str) -> None:
    before = folders()
    threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT]).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.sql(query)
    assert 1 <= time.monotonic() - began < 2
    until(lambda: client.status()["streams"] == 0, 2)
    assert not [thread for thread in threading.enumerate() if thread.name == "fraiseql-events-call"]
    assert folders() == before
    assert client.sql("select count(*) from events").item() == 100


def test_a_query_that_fails_while_it_reads_leaves_no_stream(filled: Callable[..., Service]) -> None:
    lines = b"\n".join(an_event(data={"note": "x" * 1_500}) for _ in range(500))
    service = filled(*[lines] * 100)
    errors = []
    for query in ("select max(data::int) from events", "select max(a.data::int) from events a, events b"):
        with pytest.raises(InvalidArgument, match="Could not convert string") as raised:
            EventClient(service.url).sql(query)
        errors.append(raised)  # a notebook keeps the last one, with what its frames hold
    until(lambda: service.status()["streams"] == 0, 2)


def test_a_server_that_does_not_answer_is_told_as_such() -> None:
    with pytest.raises(ServerUnavailable, match="no server answers"):
        EventClient("grpc://127.0.0.1:1").sql("select count(*) from events")


def test_a_query_that_cannot_do_with_the_memory_says_so(client: EventClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MEMORY_LIMIT", "5MiB")
    with pytest.raises(InvalidArgument, match=r"more than 5.0 MiB of memory at once: ask for fewer columns"):
        client.sql("select count(distinct hash(range)) from range(10000000)")


def test_an_event_type_that_there_is_not_is_warned_of_where_the_query_stands(client: EventClient) -> None:
    with pytest.warns(UnknownName, match="event type 'Order.Z'") as told:
        answer = client.sql("""select count(*) from "Order" where event_type = 'Order.Z'""")
    assert answer.item() == 0
    assert [each.filename for each in told] == [__file__]


def test_a_difference_of_times_is_a_duration(client: EventClient) -> None:
    found = client.sql(
        """select max(timestamp) - min(timestamp) as span, avg(timestamp - timestamp '2026-01-01') as mean,
        interval 1 day as day, interval 2 month as months, null::interval as none from events"""
    )
    times = client.read("*")["timestamp"]
    assert found["span"].item() == times.max() - times.min()  # type: ignore[operator]
    assert found["day"].item() == timedelta(days=1)
    assert found["months"].item() == "2 months 0 days 0 µs"
    assert found["none"].item() is None
    assert found["mean"].dtype == pl.Duration("us")
