"""A name that no event has: an empty answer, or a column of nulls, is not left without a word."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraiseql_events import EventClient, EventStream, InvalidArgument, Service, UnknownName
from fraiseql_events.connection import Connection
from tests.kernels import Kernel
from tests.mixed import an_event
from tests.waiting import until

Fill = Callable[..., Service]
Send = Callable[..., int]
TOTAL = {"total": 9.5, "status": "paid", "note": None, "items": [{"sku": "a"}]}


@pytest.fixture
def service(filled: Fill) -> Service:
    return filled(
        an_event(data=TOTAL),
        an_event(data=TOTAL, event_type="Order.Paid", timestamp="2026-02-01T00:00:00Z"),
        an_event(entity_type="User", event_type="User.Created"),
    )


@pytest.fixture
def client(service: Service) -> Iterator[EventClient]:
    with EventClient(service.url) as client:
        yield client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the server was asked which entity types there are."""
    found: list[str] = []
    entities = Connection.entities

    def note(connection: Connection, *seconds: float) -> Any:
        found.append(connection.url)
        return entities(connection, *seconds)

    monkeypatch.setattr(Connection, "entities", note)
    return found


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("Ordr",), {}, "no events of 'Ordr' (did you mean Order?); there are Order, User"),
    (("ORDER",), {}, "no events of 'ORDER' (did you mean Order?); there are Order, User"),
    (("Invoice", "2026-01-01"), {}, "no events of 'Invoice'; there are Order, User"),
    (
        ("Order",), {"event_types": ["created"]},
        "no events of 'Order' have the event type 'created' (did you mean Order.Created?); "
        "there are Order.Created, Order.Paid",
    ),
    (
        ("*", "2026-01-01"), {"event_types": ["Payd", "x"]},
        "no events have the event type 'Payd' (did you mean Order.Paid?) or 'x'; "
        "there are Order.Created, Order.Paid, User.Created",
    ),
    (
        ("Order",), {"payload": {"totl": float, "status": str, "items[].skuu": pl.List(pl.String)}},
        "no events that were read have the field 'totl' (did you mean total?) or 'items[].skuu' (did you mean "
        "items[].sku?) in data; there are total, status, note, items[].sku",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("question", "options", "said"), WRONG)
@pytest.mark.parametrize(
    "read",
    [
        lambda client, *question, **options: client.read(*question, **options),
        lambda client, *question, **options: list(client.stream(*question, **options)),
        lambda client, *question, **options: client.stream(*question, **options).to_reader().read_all(),
        lambda client, *question, **options: asyncio.run(collect(client.stream(*question, **options))),
    ],
    ids=["read", "stream", "reader", "async"],
)
def test_a_name_that_no_event_has_is_told_once(
    client: EventClient, read: Callable[..., Any], question: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.warns(UnknownName) as found:
        read(client, *question, **options)
    assert [str(each.message) for each in found] == [said]
    assert found[0].filename == __file__


async def collect(stream: EventStream[Any]) -> list[Any]:
    return [frame async for frame in stream]


def test_it_is_told_each_time_and_a_stream_knows_it(client: EventClient) -> None:
    for _ in range(2):
        with warnings.catch_warnings(record=True) as found:
            warnings.resetwarnings()
            warnings.simplefilter("always", UnknownName)
            stream = client.stream("Ordr")
            assert stream.unknown == ""
            stream.to_polars()
        assert [str(each.message) for each in found] == [stream.unknown]


def test_an_answer_with_events_costs_no_question(client: EventClient, asked: list[str]) -> None:
    assert client.read("Order", payload={"total": float, "items[].sku": pl.List(pl.String)}).height == 2
    assert client.read("*", event_types=["Order.Paid", "Payd"]).height == 1
    assert client.read("Ordr", limit=0).height == 0
    assert asked == []


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (("Order", "2027-01-01"), {}),
        (("*", "2027-01-01"), {}),
        (("Order", "2026-01-01", "2026-01-31"), {"event_types": ["Order.Paid"]}),
        (("Order",), {"after_offset": 10}),
        (("Order",), {"after_offset": 1, "event_types": ["Order.Created"]}),
        (("Order",), {"payload": {"note": str}}),
        (("Order",), {"payload": {'"note"': str}}),
        (("Order", "2027-01-01"), {"payload": {"totl": float}}),
    ],
)
def test_what_is_merely_empty_is_no_wrong_name(
    client: EventClient, question: tuple[Any, ...], options: dict[str, Any]
) -> None:
    client.read(*question, **options)  # a warning would be an error


def test_a_type_that_lies_behind_the_sample_is_none_that_there_is_not(
    client: EventClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraiseql_events.names.SAMPLE", 1)
    assert client.read("Order", after_offset=1, event_types=["Order.Paid"]).is_empty()
    with pytest.warns(UnknownName, match=r"'Order.Lost'.*; there are Order.Created$"):
        client.read("Order", after_offset=1, event_types=["Order.Lost"])


def test_a_value_that_does_not_fit_is_told_as_that_alone(client: EventClient) -> None:
    with pytest.warns(UserWarning, match="of 'status' 2 values do not fit") as found:
        client.read("Order", payload={"status": int})
    assert len(found) == 1


@pytest.fixture
def told() -> Iterator[list[warnings.WarningMessage]]:
    """What is warned of, in whatever thread."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def test_a_follow_tells_it_and_goes_on(client: EventClient, send: Send, told: list[warnings.WarningMessage]) -> None:
    stream = client.stream("Ordr", follow=True, progress=False)
    frames: list[pl.DataFrame] = []
    thread = threading.Thread(target=lambda: frames.append(next(iter(stream))))
    thread.start()
    until(lambda: told, 10)
    assert stream.state == "open"
    assert str(told[0].message) == stream.unknown == "no events of 'Ordr' (did you mean Order?); there are Order, User"
    send(an_event(entity_type="Ordr"))
    thread.join(10)
    stream.close()
    assert [frame.height for frame in frames] == [1]
    assert len(told) == 1
    assert stream.unknown == ""


def test_a_follow_tells_of_a_column_of_nulls(
    client: EventClient, send: Send, told: list[warnings.WarningMessage]
) -> None:
    with client.stream("Order", follow=True, payload={"totl": float}) as stream:
        frames = iter(stream)
        assert next(frames).height == 2
        threading.Timer(3, send, [an_event()]).start()
        assert next(frames).height == 1
        assert [str(each.message) for each in told] == [stream.unknown]
        assert stream.unknown.startswith("no events that were read have the field 'totl' (did you mean total?) in data")


def test_a_follow_from_before_the_first_event_waits_in_silence(start: Fill, send: Send, asked: list[str]) -> None:
    with EventClient(start().url).stream("Order", follow=True) as stream:
        frames = iter(stream)
        threading.Timer(4, send, [an_event()]).start()
        assert next(frames).height == 1
    assert len(asked) == 1


LIVE: list[tuple[str, dict[str, Any], str]] = [
    ("Ordr", {}, "no events of 'Ordr' (did you mean Order?)"),
    ("Order", {"event_types": ["created"]}, "have the event type 'created' (did you mean Order.Created?)"),
    ("Order", {"value": "totl", "by": "statuss"}, "the field 'statuss' (did you mean status?) or 'totl'"),
]


@pytest.mark.parametrize(("entity", "options", "said"), LIVE)
def test_a_dashboard_says_it_in_its_picture(
    client: EventClient, send: Send, entity: str, options: dict[str, Any], said: str
) -> None:
    send(
        an_event(entity_type="Order", timestamp=datetime.now(UTC).isoformat())
    )  # a chart reads the events of its time only
    with client.live(entity, **options) as live:  # and a warning would be an error
        until(lambda: said in live.picture().replace("&#x27;", "'"), 10)
        until(lambda: live.state == "live")


def test_what_comes_ends_what_a_dashboard_says(client: EventClient, send: Send) -> None:
    with client.live("Ordr") as live:
        until(lambda: "did you mean Order" in live.picture(), 10)
        send(an_event(entity_type="Ordr", timestamp=datetime.now(UTC).isoformat()))
        until(lambda: live.rows == 1)
        assert "did you mean" not in live.picture()


def test_fields_cannot_be_found_of_what_is_not_there(client: EventClient) -> None:
    for ask in (lambda: client.payload_schema("ordr"), lambda: client.read("ordr", payload="infer")):
        with pytest.raises(InvalidArgument) as caught:
            ask()
        assert str(caught.value) == (
            "no fields can be found: no events of 'ordr' (did you mean Order?); there are Order, User"
        )
    with pytest.raises(InvalidArgument, match="no fields can be found: no event is asked for that is there"):
        client.payload_schema("Order", "2027-01-01")


def test_a_notebook_shows_it_each_time_that_a_cell_is_run(service: Service, tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run(f"from fraiseql_events import EventClient; client = EventClient({service.url!r})")
        kernel.run("%load_ext fraiseql_events")
        read = "frame = client.read('Ordr')"
        for code in (read, read, f"%fraiseql stream Ordr --url {service.url}"):
            where, what = warned(kernel, code)
            assert "ipykernel_" in where
            assert what.startswith("no events of 'Ordr' (did you mean Order?); there are Order, User\n")
            assert "Ordr" in what.splitlines()[1]  # the line of the cell
        assert "no events of 'Ordr'" in warned(kernel, "frame = client.scan('Ordr').collect()")[1]


def warned(kernel: Kernel, code: str) -> tuple[str, str]:
    """The place and the text of the one warning that a cell shows."""
    kernel.run(code)
    said = "".join(each["content"]["text"] for each in kernel.heard if each["content"].get("name") == "stderr")
    where, what = said.split(": UnknownName: ")
    return where, what
