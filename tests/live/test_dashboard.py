"""`client.live`: what happens now, counted in a thread of its own, against a real server."""

from __future__ import annotations

import gc
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fraiseql_events import EventClient, InvalidArgument, ServerUnavailable, Service
from fraiseql_events.live.dashboard import Live
from tests.mixed import an_event
from tests.proxy import Proxy
from tests.waiting import until

Fill = Callable[..., Service]
Send = Callable[..., int]


def order(status: str = "paid", total: Any = 2.0, *, ago: float = 0.0, **more: Any) -> bytes:
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return an_event(timestamp=moment.isoformat(), data={"status": status, "total": total}, **more)


def shown(live: Live) -> list[str]:
    return [each.text or "" for each in ET.fromstring(live.picture()).iter() if each.tag.endswith("text")]


def reads(live: Live, rows: int) -> bool:
    until(lambda: live.rows >= rows)
    return live.rows == rows


def test_it_counts_by_a_field_of_data_and_goes_on_with_what_arrives(filled: Fill, send: Send) -> None:
    client = EventClient(filled(order(), order("lost", 5), order(entity_type="User")).url)
    with client.live("Order", value="total", by="status") as live:
        assert reads(live, 2)
        until(lambda: live.state == "live")
        send(order(total=4))
        assert reads(live, 3)
        totals = live.totals()
        assert totals.columns == ["status", "events", "values", "sum"]
        assert totals.rows() == [("paid", 2, 2, 6.0), ("lost", 1, 1, 5.0)]
        assert "11" in shown(live)
        assert repr(live).startswith("<Live Order: live, 3 events")


def test_without_a_word_it_counts_event_types_and_of_all_events_entity_types(filled: Fill) -> None:
    client = EventClient(filled(order(event_type="Order.Paid"), order(entity_type="User")).url)
    with client.live("Order") as live:
        assert reads(live, 1)
        assert live.totals().rows() == [("Order.Paid", 1)]
    with client.live() as live:
        assert reads(live, 2)
        assert sorted(live.totals().rows()) == [("Order", 1), ("User", 1)]
        assert "all entity types" in shown(live)


def test_it_begins_as_long_ago_as_its_chart_and_with_start_where_that_is(filled: Fill, send: Send) -> None:
    client = EventClient(filled(order("old", ago=7200), order("new", ago=5)).url)
    with client.live("Order", by="status") as live:
        assert reads(live, 1)
        assert live.totals()["status"].to_list() == ["new"]
        send(order("late", ago=7200))  # of a clock that is wrong, but it happens now
        assert reads(live, 2)
    with client.live("Order", by="status", start="2020-01-01") as live:
        assert reads(live, 3)
    with client.live("Order", by="status", seconds=14_400) as live:
        assert reads(live, 3)


def test_a_pause_holds_the_picture_and_loses_nothing(filled: Fill, send: Send) -> None:
    client = EventClient(filled(order()).url)
    with client.live("Order", by="status") as live:
        assert reads(live, 1)
        live.pause()
        held = live.picture()
        send(*[order("meanwhile") for _ in range(3_000)])
        until(lambda: client.status()["offset"] == 3_001)
        assert (live.rows, live.state) == (1, "paused")
        assert live.picture() == held
        assert "paused" in shown(live)
        live.resume()
        assert reads(live, 3_001)
        assert live.totals().rows() == [("meanwhile", 3_000), ("paid", 1)]


def bins(live: Live) -> int:
    """How many events stand in the chart."""
    return sum(each.events for group in live._look().groups for each in group.bins)


def test_what_came_in_a_pause_longer_than_the_chart_is_counted_but_does_not_stand_at_its_end(
    filled: Fill, send: Send
) -> None:
    client = EventClient(filled(order()).url)
    with client.live("Order", by="status", seconds=2) as live:
        assert reads(live, 1)
        live.pause()
        send(*[order("meanwhile", ago=3) for _ in range(500)])
        until(lambda: client.status()["offset"] == 501)
        live.resume()
        assert reads(live, 501)
        assert bins(live) <= 1
        send(order("of a wrong clock", ago=7200))
        assert reads(live, 502)
        assert bins(live) >= 1
        assert live.state == "live"


def test_what_came_while_the_server_was_away_does_not_stand_at_the_end_either(filled: Fill, send: Send) -> None:
    service = filled(order())
    assert service.url is not None
    port = int(service.url.rpartition(":")[2])
    with Proxy(port) as proxy, EventClient(f"grpc://127.0.0.1:{proxy.port}").live("Order", seconds=2) as live:
        assert reads(live, 1)
        proxy.retarget(1)
        proxy.cut()
        until(lambda: live.state.startswith("asking again: "))
        send(*[order(ago=3) for _ in range(50)])
        until(lambda: service.status()["offset"] == 51)
        proxy.retarget(port)
        assert reads(live, 51)
        assert bins(live) <= 1


@pytest.mark.parametrize("paused", [False, True])
def test_stop_ends_the_stream_on_the_server_and_the_picture_stays(filled: Fill, *, paused: bool) -> None:
    client = EventClient(filled(order()).url)
    live = client.live("Order")
    assert reads(live, 1)
    assert client.status()["streams"] == 1
    if paused:
        live.pause()
    live.stop()
    until(lambda: client.status()["streams"] == 0, 5)
    assert live.state == "stopped"
    live.resume()
    live.pause()
    live.stop()
    assert live.state == "stopped"
    before = live.picture()
    assert "stopped" in shown(live)
    assert live.picture() == before
    assert not live._reader.is_alive()


def test_it_says_that_the_server_is_away_and_goes_on_when_it_is_back(filled: Fill, send: Send) -> None:
    service = filled(order())
    assert service.url is not None
    port = int(service.url.rpartition(":")[2])
    with Proxy(port) as proxy, EventClient(f"grpc://127.0.0.1:{proxy.port}").live("Order") as live:
        assert reads(live, 1)
        proxy.retarget(1)
        proxy.cut()
        until(lambda: live.state.startswith("asking again: "))
        assert any(text.startswith("asking again: ") for text in shown(live))
        send(*[order() for _ in range(10)])
        proxy.retarget(port)
        assert reads(live, 11)
        assert live.state == "live"


def test_what_does_not_fit_is_counted_as_none_and_said(filled: Fill) -> None:
    client = EventClient(filled(order(total="a lot"), order(), order({"a": 1}), order(None)).url)  # type: ignore[arg-type]
    with client.live("Order", value="total", by="status") as live:
        assert reads(live, 4)
        assert live.totals().rows() == [("paid", 2, 1, 2.0), ('{"a":1}', 1, 1, 2.0), (None, 1, 1, 2.0)]
        assert any("did not fit" in text for text in shown(live))


@pytest.mark.parametrize(("first", "rest"), [("others", "(others)"), ("0", "others")])
def test_what_is_told_apart_no_more_is_a_row_that_is_called_as_no_group_is(filled: Fill, first: str, rest: str) -> None:
    client = EventClient(filled(*map(order, [first, *map(str, range(1, 200)), "more", "and more"])).url)
    with client.live("Order", by="status") as live:
        assert reads(live, 202)
        totals = dict(live.totals().rows())
        assert (len(totals), totals[rest], totals[first]) == (201, 2, 1)


def test_it_begins_where_its_chart_does_also_when_nothing_has_happened_for_a_while(filled: Fill) -> None:
    old, new = order("old", ago=7200), order("new", ago=60)
    service = filled(*[old] * 50, *[new] * 12_000, *[order("User", ago=50, entity_type="User")] * 100)
    client = EventClient(service.url)
    until(lambda: client.status()["events_per_second"] == 0)
    with client.live("Order", by="status", seconds=600) as live:
        assert reads(live, 12_000)
        assert live.totals().rows() == [("new", 12_000)]
    with client.live("Invoice", seconds=600) as live:
        until(lambda: live.state == "live")
        assert live.rows == 0


@pytest.mark.parametrize("name", ["event_id", "timestamp", "user_id", "offset", "data"])
def test_a_field_of_data_that_is_called_like_a_column_is_shown_with_its_own_values(filled: Fill, name: str) -> None:
    client = EventClient(filled(an_event(data={name: 4711}, timestamp=datetime.now(UTC).isoformat())).url)
    with client.live("Order", value=name) as live:
        assert reads(live, 1)
        assert shown(live)[-1] == "4,711"
    if name != "user_id":  # that is a column, which tells groups apart as well
        with client.live("Order", by=name) as live:
            assert reads(live, 1)
            assert shown(live)[-1] == "4711"


def test_a_text_that_means_no_number_does_not_spoil_the_sum(filled: Fill) -> None:
    client = EventClient(filled(order(total="NaN"), order(total="inf"), order(total=3)).url)
    with client.live("Order", value="total", by="status") as live:
        assert reads(live, 3)
        assert live.totals().rows() == [("paid", 3, 1, 3.0)]
        assert any(text.startswith("2 values did not fit") for text in shown(live))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"value": "items[].price"}, r"value='items\[\].price' has several values an event: name a field that has one"),
    ({"by": "tags[]"}, r"by='tags\[\]' has several values"),
    ({"value": "total", "by": "total"}, "'total' cannot be both value= and by="),
    ({"seconds": 0}, "seconds=0: a chart has from a second to 31 days, in seconds"),
    ({"seconds": "60"}, "seconds='60': a chart has from a second to 31 days, in seconds"),
    ({"seconds": float("nan")}, "seconds=nan"),
    ({"start": "yesterday"}, "start 'yesterday' is neither a date nor an RFC 3339 time"),
    ({"event_types": "Order.Created"}, r"write event_types=\['Order.Created'\]"),
    ({"value": 7}, "7"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_what_is_wrong_is_said_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        EventClient("grpc://127.0.0.1:1").live("Order", **options)


def test_without_a_server_it_is_one_sentence() -> None:
    with pytest.raises(ServerUnavailable, match="no server answers at"):
        EventClient("grpc://127.0.0.1:1").live("Order")


def test_an_entity_type_that_there_is_not_yet_is_waited_for(filled: Fill, send: Send) -> None:
    client = EventClient(filled(order()).url)
    with client.live("Invoice") as live:
        until(lambda: live.state == "live")
        assert live.totals().is_empty()
        send(order(entity_type="Invoice"))
        assert reads(live, 1)


@pytest.mark.parametrize("paused", [False, True])
def test_one_that_was_never_shown_and_that_nobody_has_any_more_ends(filled: Fill, send: Send, *, paused: bool) -> None:
    client = EventClient(filled(order()).url)
    live = client.live("Order")
    assert reads(live, 1)
    reader = live._reader
    if paused:
        live.pause()
        send(order())
    assert client.status()["streams"] == 1
    del live
    until(lambda: gc.collect() >= 0 and client.status()["streams"] == 0, 5)
    until(lambda: not reader.is_alive(), 5)


def test_in_a_terminal_it_is_a_line(filled: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    with EventClient(filled(order()).url).live("Order") as live:
        assert reads(live, 1)
        live._ipython_display_()
    assert capsys.readouterr().out.startswith("<Live Order: live, 1 events")
