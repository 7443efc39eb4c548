"""The shop of the demos: it has a story, is the same for the same seed, and is live in `%fraiseql demo`."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events import EventClient, InvalidArgument, serve
from fraiseql_events.live_shop import LiveShop, happening
from fraiseql_events.shop import FAILING, START, Event, Shop
from tests.waiting import until


def test_there_is_a_sale_at_noon_and_a_carrier_that_fails_every_second_afternoon() -> None:
    events = Shop(3, per_day=5_500).events(50_000)
    created = [event for event in events if event["event_type"] == "Order.Created"]
    hours = Counter(at(event).hour for event in created)
    assert hours[12] > 2 * hours[11]
    assert {at(each).hour for each in created if "campaign" in each["data"]} == {12, 13}
    failed = [event for event in events if event["event_type"] == "Order.DeliveryFailed"]
    assert len(failed) > 20
    assert all(fails(event) for event in failed)
    assert {event["data"]["carrier"] for event in failed} == {FAILING}


def at(event: Event) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def fails(event: Event) -> bool:
    """Whether it is in the hours in which the carrier delivers nothing."""
    return at(event).day % 2 == 0 and 15 <= at(event).hour < 20


#: What may come behind what.
STORY: dict[str, tuple[str, ...]] = {
    "Created": ("Paid", "Cancelled"),
    "Paid": ("Shipped",),
    "Shipped": ("Delivered", "DeliveryFailed"),
    "Delivered": (),
    "DeliveryFailed": (),
    "Cancelled": (),
}


@settings(max_examples=60, deadline=None)
@given(st.integers(), st.sampled_from([500, 2_000, 20_000]), st.integers(0, 23), st.integers(0, 10**9))
def test_every_order_goes_through_its_story_once_and_a_failing_carrier_delivers_nothing(
    seed: int, per_day: int, hour: int, opening: int
) -> None:
    state: dict[str, str] = {}
    users: set[str] = set()
    events = Shop(seed, per_day=per_day, start=START + timedelta(hours=hour), opening=opening).events(10_000)
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert len({event["id"] for event in events}) == len(events)
    for event in events:
        entity, _, what = event["event_type"].partition(".")
        key = event["entity_id"]
        if entity == "Order":
            assert what == "Created" if key not in state else what in STORY[state[key]]
            assert event["user_id"] in users
            state[key] = what
            if what.startswith("Deliver"):
                assert (what == "DeliveryFailed") == (fails(event) and event["data"]["carrier"] == FAILING)
        elif entity == "User":
            assert (what == "Created") == (key not in users)
            users.add(key)


def test_the_same_seed_is_the_same_shop_and_one_that_opens_again_repeats_nothing() -> None:
    first, again = Shop(5).events(2_000), Shop(5, opening=2_000).events(2_000)
    assert first == Shop(5).events(2_000)
    assert again == Shop(5, opening=2_000).events(2_000)
    assert not {event["id"] for event in first} & {event["id"] for event in again}
    new = {(event["entity_type"], event["entity_id"]) for event in again if event["event_type"].endswith("Created")}
    assert not new & {(event["entity_type"], event["entity_id"]) for event in first}


@pytest.mark.parametrize("seed", range(5))
def test_it_has_as_many_events_a_day_as_it_was_asked_for_from_the_first_day_on(seed: int) -> None:
    days = Counter(at(event).day for event in Shop(seed, per_day=6_000).events(45_000))
    assert all(5_500 < days[day] < 6_500 for day in range(1, 8))


@pytest.mark.parametrize("seed", range(5))
def test_it_opens_with_about_the_rate_and_varies_moderately_around_it(seed: int) -> None:
    began = time.time()
    moments = [moment - began for moment, _ in islice(happening(rate=50, seed=seed, day=120, opening=0), 15_000)]
    rates = [count / 5 for _, count in sorted(Counter(int(moment // 5) for moment in moments).items())]
    assert all(25 < rate < 75 for rate in rates[:3])
    assert all(15 < rate < 150 for rate in rates[:48])
    assert 45 < sum(moment < 120 for moment in moments) / 120 < 55


def test_a_live_shop_publishes_at_its_rate_what_happens_now(tmp_path: Path) -> None:
    began = time.time()
    with (
        serve(embedded=True, listen="127.0.0.1:0", store=tmp_path / "store") as service,
        LiveShop(service.nats_url, rate=200, seed=4, day=5) as shop,
    ):
        until(lambda: shop.published > 800, 20)
        seconds = time.time() - began
        shop.close()
        until(lambda: service.status()["offset"] >= shop.published, 5)
        frame = EventClient(service.url).read("*")
    assert 100 < 800 / seconds < 450
    assert set(frame["entity_type"]) == {"Order", "User", "Product"}
    times = frame["timestamp"].dt.timestamp("ms") / 1000
    assert times.min() >= began - 1
    assert times.max() <= time.time()


def test_a_shop_that_opens_again_on_the_same_store_goes_on_with_new_events(tmp_path: Path) -> None:
    published = 0
    for _ in range(3):
        with serve(embedded=True, listen="127.0.0.1:0", store=tmp_path / "store") as service:
            with LiveShop(service.nats_url, rate=400, day=5) as shop:
                until(lambda: shop.published > 300, 20)
            published += shop.published
            until(lambda: service.status()["offset"] >= published, 5)  # noqa: B023
            frame = EventClient(service.url).read("*")
    assert frame.height == frame["event_id"].n_unique() == published
    created = frame.filter(pl.col("event_type") == "Order.Created")
    assert created["entity_id"].n_unique() == created.height > 100


@pytest.mark.parametrize("rate", [0, -1, 1e9])
def test_a_rate_that_cannot_be_kept_is_one_sentence(rate: float) -> None:
    with pytest.raises(InvalidArgument, match="events a second at the most"):
        LiveShop("nats://127.0.0.1:1", rate=rate)


@pytest.mark.parametrize("day", [0, 4.9, 86_401, float("nan")])
def test_a_day_that_is_too_short_or_too_long_is_one_sentence(day: float) -> None:
    with pytest.raises(InvalidArgument, match="must have 5 to 86,400 seconds"):
        LiveShop("nats://127.0.0.1:1", day=day)
