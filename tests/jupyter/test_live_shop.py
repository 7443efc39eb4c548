"""The shop of `%fraiseql demo`: live, with a story, and the same for the same seed."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from fraiseql_events import EventClient, InvalidArgument, serve
from fraiseql_events.jupyter.live_shop import LiveShop
from fraiseql_events.shop import FAILING, Shop
from tests.waiting import until


def test_a_story_has_a_sale_at_noon_and_a_carrier_that_fails_every_second_afternoon() -> None:
    events = list(islice(Shop(3, per_day=3_000, story=True), 30_000))
    created = [event for event in events if event["event_type"] == "Order.Created"]
    hours = Counter(datetime.fromisoformat(event["timestamp"]).hour for event in created)
    assert hours[12] > 3 * hours[11]
    assert {datetime.fromisoformat(each["timestamp"]).hour for each in created if "campaign" in each["data"]} == {
        12,
        13,
    }
    failed = [event for event in events if event["event_type"] == "Order.DeliveryFailed"]
    moments = [datetime.fromisoformat(event["timestamp"]) for event in failed]
    assert len(failed) > 20
    assert all(moment.day % 2 == 0 and 15 <= moment.hour < 20 for moment in moments)
    assert {event["data"]["carrier"] for event in failed} == {FAILING}


def test_the_same_seed_is_the_same_shop_and_without_a_story_it_is_as_before() -> None:
    assert Shop(5, story=True).events(2_000) == Shop(5, story=True).events(2_000)
    assert not any("campaign" in event["data"] for event in Shop(5).events(20_000))


def test_a_live_shop_publishes_at_its_rate_what_happens_now(nats_url: str, tmp_path: Path) -> None:
    began = time.time()
    with (
        serve(nats=nats_url, listen="127.0.0.1:0", store=tmp_path / "store") as service,
        LiveShop(nats_url, rate=200, seed=4, day=5) as shop,
    ):
        until(lambda: shop.published > 800, 20)
        seconds = time.time() - began
        shop.close()
        until(lambda: service.status()["offset"] >= shop.published, 5)
        frame = EventClient(service.url).read("*")
    assert 800 / seconds > 60
    assert set(frame["entity_type"]) == {"Order", "User", "Product"}
    times = frame["timestamp"].dt.timestamp("ms") / 1000
    assert times.min() >= began - 1
    assert times.max() <= time.time()


@pytest.mark.parametrize("rate", [0, -1, 1e9])
def test_a_rate_that_cannot_be_kept_is_one_sentence(rate: float) -> None:
    with pytest.raises(InvalidArgument, match="events a second at the most"):
        LiveShop("nats://127.0.0.1:1", rate=rate)


@pytest.mark.parametrize("day", [0, 4.9, 86_401, float("nan")])
def test_a_day_that_is_too_short_or_too_long_is_one_sentence(day: float) -> None:
    with pytest.raises(InvalidArgument, match="must have 5 to 86,400 seconds"):
        LiveShop("nats://127.0.0.1:1", day=day)
