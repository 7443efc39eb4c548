"""A shop that does not exist, and the changes in its database: the same for the same seed.

Customers sign up and change their addresses, products change price and stock, orders go from created over paid and
shipped to delivered, or are cancelled. The day has its rhythm: little happens at four in the morning, most in the
afternoon. Every day has a flash sale at noon, and in the afternoon of every even day of the month a carrier fails.
"""

from __future__ import annotations

import heapq
import math
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NAMES: Final = (
    "Zoë Müller", "Þór Jónsson", "José Núñez", "Anaïs Lefèvre", "Łukasz Żak", "林美玲", "Ngọc Trần", "Ada Byron",
    "Søren Ødegård", "Chloë O'Brien", "さくら 田中", "Ирина Соколова",
)  # fmt: skip
_GOODS: Final = ("Crème fraîche", "Café moulu", "Thé vert 緑茶", "Jalapeño", "Fraise 🍓", "Gruyère", "Brot", "Soap")
_CARRIERS: Final = ("Poste", "Vélo Express", "Bahn")
_CURRENCIES: Final = ("EUR", "CHF", "GBP")
#: Hours of the day: the flash sale, and when the carrier delivers nothing.
SALE: Final = (12, 14)
FAILURE: Final = (15, 20)
FAILING: Final = "Vélo Express"
#: In a sale so many times as much happens, and an order costs so much of its price.
_RUSH: Final = 2
_OFFER: Final = 0.6
#: So much more, or less, than on an average happens in the afternoon, or at night.
_RHYTHM: Final = 0.4
_DAY: Final = 86_400
#: Of ten changes six and a half are orders, and of these nine are paid within minutes.
_EVENTS_AT_ONCE: Final = 1.6
Event = dict[str, Any]


class Shop:
    """A stream of events, in the order of their times.

    Each is a dict as FraiseQL publishes it: `id`, `event_type`, `entity_type`, `entity_id`, `timestamp` (RFC 3339,
    UTC), `data` (a dict), `user_id` and `org_id`. Of an order come ``Order.Created``, ``Order.Paid``,
    ``Order.Shipped`` and ``Order.Delivered``, or ``Order.DeliveryFailed``; or after the first ``Order.Cancelled``.

    Args:
        seed: another one makes another shop.
        per_day: events on an average day, from the first day on. More happen by day, twice as many in a sale.
        start: when it opens, in UTC.
        opening: it stands in the ids of orders and users, and makes other events, so that a shop that opens again
            repeats nothing; 0 does not stand there.

    Example:
        >>> [event["event_type"] for event in Shop(seed=7).events(3)]
        ['User.Created', 'Order.Created', 'Order.Created']
    """

    def __init__(self, seed: int = 1, *, per_day: float = 5_500, start: datetime = START, opening: int = 0) -> None:
        self._random = random.Random(f"{seed} {opening}")  # noqa: S311
        self._per_second = per_day / _DAY / _AVERAGE
        self._opening = f"{opening}-" if opening else ""
        self._start = self._now = start
        self._orgs = [f"org-{number:02d}" for number in range(1, 6)]
        self._users = 0
        self._orders = 0
        self._due: list[tuple[datetime, int, Event]] = []
        self._ticket = 0
        #: Of each hour, how many changes are planned for it, besides payments.
        self._planned: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Event]:
        while True:
            self._now += timedelta(seconds=self._random.expovariate(self._pace()))
            while self._due and self._due[0][0] <= self._now:
                when, _, event = heapq.heappop(self._due)
                yield _told(event, when)
            yield self._happen()

    def events(self, count: int) -> list[Event]:
        """The next so many events."""
        return [event for _, event in zip(range(count), self, strict=False)]

    def _pace(self) -> float:
        """Changes a second, so that with what was planned before so much happens as at this hour it should."""
        wanted = self._per_second * _liveliness(self._now)
        hour = self._hour(self._now)
        self._planned.pop(hour - 1, None)
        planned = self._planned[hour] / 3_600
        return max(wanted - planned, wanted / 20) / _EVENTS_AT_ONCE

    def _hour(self, moment: datetime) -> int:
        return int((moment - self._start).total_seconds() // 3_600)

    def _happen(self) -> Event:
        chance = self._random.random()
        if self._users == 0 or chance < 0.10:
            return self._sign_up()
        if _is_sale(self._now) and chance > 0.35:
            return self._order(_OFFER)
        if chance < 0.15:
            return self._event("User", "Updated", self._someone(), {"address": {"city": "Zürich", "zip": "8001"}})
        if chance < 0.35:
            return self._change_product()
        return self._order()

    def _sign_up(self) -> Event:
        self._users += 1
        name = self._random.choice(_NAMES)
        data = {"name": name, "email": f"u{self._users}@example.org", "newsletter": self._random.random() < 0.3}
        return self._event("User", "Created", self._user(self._users), data)

    def _change_product(self) -> Event:
        number = self._random.randrange(len(_GOODS))
        data = {"name": _GOODS[number], "stock": self._random.randrange(500), "price": self._price()}
        return self._event("Product", "Updated", f"sku-{number:03d}", data)

    def _order(self, offer: float | None = None) -> Event:
        self._orders += 1
        order = f"order-{self._opening}{self._orders}"
        items: list[dict[str, Any]] = [
            {"sku": f"sku-{self._random.randrange(len(_GOODS)):03d}", "quantity": self._random.randint(1, 4),
             "price": self._price()}
            for _ in range(self._random.randint(1, 4))
        ]  # fmt: skip
        total = round(sum(item["quantity"] * item["price"] for item in items), 2)
        user, currency = self._someone(), self._random.choice(_CURRENCIES)
        base: dict[str, Any] = {"status": "created", "total": total, "currency": currency, "items": items}
        if offer is not None:
            total = round(total * offer, 2)
            base |= {"total": total, "campaign": "flash sale"}
        if self._random.random() < 0.08:
            self._later(order, "Cancelled", 2, {"status": "cancelled", "reason": None}, user)
        else:
            self._later(order, "Paid", 0.2, {"status": "paid", "total": total, "currency": currency}, user)
            carrier = self._random.choice(_CARRIERS)
            self._later(order, "Shipped", 14, {"status": "shipped", "carrier": carrier}, user)
            self._later(order, "Delivered", 44, {"status": "delivered", "carrier": carrier}, user)
        return self._event("Order", "Created", order, base, user)

    def _later(self, order: str, what: str, hours: float, data: dict[str, Any], user: str) -> None:
        when = self._now + timedelta(hours=hours * self._random.uniform(0.5, 1.5))
        self._ticket += 1
        if what != "Paid":
            self._planned[self._hour(when)] += 1
        heapq.heappush(self._due, (when, self._ticket, self._event("Order", what, order, data, user, when)))

    def _event(
        self,
        entity: str,
        what: str,
        key: str,
        data: dict[str, Any],
        user: str | None = None,
        when: datetime | None = None,
    ) -> Event:
        return {
            "id": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "event_type": f"{entity}.{what}",
            "entity_type": entity,
            "entity_id": key,
            "timestamp": (when or self._now).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "data": data,
            "user_id": user,
            "org_id": self._random.choice(self._orgs),
        }

    def _someone(self) -> str:
        return self._user(self._random.randint(1, self._users))

    def _user(self, number: int) -> str:
        return f"user-{self._opening}{number}"

    def _price(self) -> float:
        return round(self._random.lognormvariate(2.5, 0.8), 2)


def _is_sale(moment: datetime) -> bool:
    return SALE[0] <= moment.hour < SALE[1]


def _liveliness(moment: datetime) -> float:
    """How much happens at a time of the day: 1 would be an average one, were there no sale."""
    hour = moment.hour + moment.minute / 60
    return (1 + _RHYTHM * math.sin((hour - 10) / 24 * 2 * math.pi)) * (_RUSH if _is_sale(moment) else 1)


#: The mean over a day.
_AVERAGE: Final = math.fsum(_liveliness(START + timedelta(minutes=minute)) for minute in range(1_440)) / 1_440


def _told(event: Event, when: datetime) -> Event:
    """A change that was planned, as it comes about: what a failing carrier was to deliver, it does not."""
    fails = when.day % 2 == 0 and FAILURE[0] <= when.hour < FAILURE[1]
    if not fails or event["event_type"] != "Order.Delivered" or event["data"]["carrier"] != FAILING:
        return event
    data = {"status": "delivery failed", "carrier": FAILING, "reason": "no courier"}
    return event | {"event_type": "Order.DeliveryFailed", "data": data}
