"""`payload=`: typed columns beside the others, over every way of reading, and over a cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest

from fraiseql_events import EventClient, InvalidArgument, Service, UnknownName
from tests.mixed import an_event
from tests.proxy import Proxy
from tests.waiting import until

Fill = Callable[..., Service]
Send = Callable[..., int]
Start = Callable[..., Service]
ORDER = {"total": pl.Float64, "items[].sku": pl.List(pl.String)}


def order(number: int, total: object = 9.5) -> bytes:
    data = {"total": total, "items": [{"sku": f"sku-{number}"}], "status": "paid"}
    return an_event(id=str(number), data=data)


@pytest.fixture
def client(filled: Fill) -> EventClient:
    """Of a server with a hundred orders, which came in one message: how they are cut into batches is certain."""
    return EventClient(filled(b"\n".join(order(n, n / 2) for n in range(100))).url)


def test_typed_columns_stand_behind_the_others_in_every_kind_of_frame(client: EventClient) -> None:
    frame = client.read("Order", payload=ORDER)
    assert frame.columns[-2:] == ["total", "items[].sku"]
    assert frame.width == 10
    assert frame["total"].to_list() == [n / 2 for n in range(100)]
    assert frame["items[].sku"].to_list() == [[f"sku-{n}"] for n in range(100)]
    assert client.read("Order", payload=ORDER, frames="pandas")["total"].sum() == 2475
    assert client.read("Order", payload=ORDER, frames="arrow").schema.names == frame.columns
    assert [part.height for part in client.stream("Order", payload=ORDER, batch_size=30)] == [30, 30, 30, 10]
    stream = client.stream("Order", payload=ORDER)  # noqa: F841 - DuckDB finds it by its name
    assert duckdb.sql("select sum(total) from stream").fetchall() == [(2475.0,)]


def test_data_that_was_not_asked_for_is_read_and_left_out(client: EventClient) -> None:
    assert client.read("Order", columns=["entity_id"], payload={"total": float}).columns == ["entity_id", "total"]
    assert client.read("Order", columns=["data"], payload={"total": float}).columns == ["data", "total"]


def test_inferred_columns_keep_their_types_and_what_does_not_fit_later_is_null_and_counted(filled: Fill) -> None:
    odd = [order(n, "a lot") for n in range(20_000, 20_003)]
    client = EventClient(filled(*[order(n, n / 2) for n in range(20_000)], *odd).url)
    stream = client.stream("Order", payload="infer")
    assert stream.schema.names[-3:] == ["total", "items[].sku", "status"]
    totals = [total for frame in stream for total in frame["total"]]
    assert totals == [n / 2 for n in range(20_000)] + [None] * 3
    assert stream.misfits == {"total": 3, "items[].sku": 0, "status": 0}
    with pytest.warns(UserWarning, match=r"of 'total' 3 values do not fit its type, double: they are null"):
        client.read("Order", payload={"total": pl.Float64})


def test_a_follow_has_typed_columns_too(filled: Fill, send: Callable[..., int]) -> None:
    service = filled(order(0))
    with EventClient(service.url).stream("Order", payload=ORDER, follow=True) as stream:
        frames = iter(stream)
        assert next(frames)["total"].to_list() == [9.5]
        send(order(1, 7))
        assert next(frames)["total"].to_list() == [7.0]


def test_a_follow_whose_fields_are_to_be_found_waits_for_its_first_event(start: Start, send: Send) -> None:
    service = start()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(EventClient(service.url).stream, "Order", payload="infer", follow=True)
        until(lambda: service.status()["streams"] == 1)
        assert not asked.done()
        send(order(0))
        with asked.result(20) as stream:
            assert stream.schema.names[-3:] == ["total", "items[].sku", "status"]
            assert next(iter(stream))["total"].to_list() == [9.5]


def test_one_that_waits_for_a_name_that_no_event_has_warns(filled: Fill, send: Send) -> None:
    service = filled(order(0))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (time.sleep(3), send(an_event(entity_type="Ordr", data={"total": 1}))))
        with pytest.warns(UnknownName, match="did you mean Order"):
            EventClient(service.url).stream("Ordr", payload="infer", follow=True).close()


def test_asynchronous_frames_have_them(client: EventClient) -> None:
    async def read() -> float:
        return sum([frame["total"].sum() async for frame in client.stream("Order", payload=ORDER)])

    assert asyncio.run(read()) == 2475


def test_over_a_cut_nothing_is_counted_twice(filled: Fill) -> None:
    service = filled(*[order(n, "odd" if n % 100 == 0 else n) for n in range(60_000)])
    assert service.url is not None
    with Proxy(int(service.url.rpartition(":")[2])) as proxy:
        stream = EventClient(f"grpc://127.0.0.1:{proxy.port}").stream("Order", payload=ORDER, batch_size=500)
        rows = 0
        for frame in stream:
            rows += frame.height
            if rows == 5_000:
                proxy.cut()
        assert (rows, stream.misfits["total"]) == (60_000, 600)


def test_a_payloads_schema_says_what_is_there(client: EventClient) -> None:
    frame = client.payload_schema("Order")
    assert frame.columns == ["field", "type", "present", "examples"]
    assert frame.rows()[0] == ("total", "Float64", 1.0, "0.0, 0.5, 1.0")
    assert frame["field"].to_list() == ["total", "items[].sku", "status"]


def test_what_cannot_be_is_one_sentence_at_once(client: EventClient) -> None:
    with pytest.raises(InvalidArgument, match="'infer', or name fields"):
        client.stream("Order", payload="guess")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="no fields can be found: no events of 'Nobody'; there are Order"):
        client.stream("Nobody", payload="infer")


def test_a_field_with_the_name_of_a_column_stands_beside_it(filled: Fill) -> None:
    client = EventClient(filled(an_event(id="1", data={"user_id": 7, "offset": 3})).url)
    frame = client.read("Order", columns=["user_id", "offset"], payload="infer")
    assert frame.rows() == [(None, 0, 7, 3)]
    assert frame.columns == ["user_id", "offset", "data.user_id", "data.offset"]


def test_times_are_as_exact_as_they_are_written(filled: Fill) -> None:
    moment = "2026-01-31T23:59:59.123456+01:00"
    client = EventClient(filled(an_event(data=json.loads(json.dumps({"at": moment})))).url)
    frame = client.read("Order", payload={"at": pl.Datetime("us", "UTC")})
    assert frame["at"].to_list() == [datetime(2026, 1, 31, 22, 59, 59, 123456, UTC)]
