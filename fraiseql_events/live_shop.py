"""A shop whose days pass in minutes: its changes go into the stream as they happen."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import nats.errors

from fraiseql_events.bridge.consumer import StreamOptions, create_stream, find_stream
from fraiseql_events.bridge.natspy import BulkClient, connect, publish_frame
from fraiseql_events.bridge.publisher import subject_of
from fraiseql_events.closing import Closing
from fraiseql_events.errors import EventsError, InvalidArgument
from fraiseql_events.shop import START, Event, Shop

log: Final = logging.getLogger(__name__)

#: A day of the shop takes so long: its rhythm, its sale and its failing carrier can be watched.
DAY_SECONDS: Final = 120.0
SHORTEST_DAY: Final = 5.0
MOST_RATE: Final = 5_000
DEFAULT_RATE: Final = 20
_TICK: Final = 0.05
_DAY: Final = 86_400
#: It opens at nine in the morning: about as much happens then as on an average.
_OPENS: Final = START + timedelta(hours=9)


def check(rate: float, day: float) -> None:
    """Whether a shop can be so.

    Raises:
        InvalidArgument: the rate is none that it can keep, or the day is too short.
    """
    if not 0 < rate <= MOST_RATE:
        raise InvalidArgument(f"the rate {rate:g} must be more than 0, and {MOST_RATE:,} events a second at the most")
    if not SHORTEST_DAY <= day <= _DAY:
        raise InvalidArgument(f"the day {day:g} must have {SHORTEST_DAY:g} to {_DAY:,} seconds")


class LiveShop(Closing):
    """A shop that is open until it is closed.

    What it does depends on its arguments, and on how many messages the stream has had when it opens: one that opens
    again repeats nothing. What an earlier one had not delivered is not delivered.

    Args:
        nats: the NATS server to publish to.
        rate: events a second, on an average: half as many at night, and twice as many in a sale.
        seed: another one makes another shop.
        day: how many seconds its days take.

    Raises:
        InvalidArgument: the rate is none that it can keep, or the day is too short.
    """

    def __init__(self, nats: str, *, rate: float = DEFAULT_RATE, seed: int = 1, day: float = DAY_SECONDS) -> None:
        check(rate, day)
        self.rate, self.seed, self.day = rate, seed, day
        self.published = 0
        self._nats = nats
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fraiseql-events-shop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Closes the shop; again does nothing."""
        self._closing.set()
        self._thread.join()

    def __repr__(self) -> str:
        pace = f"{self.rate:g} events a second on an average, a day in {self.day:g} seconds"
        state = pace if self._thread.is_alive() else "closed"
        return f"<a shop: {state}, {self.published:,} events so far>"

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except (EventsError, nats.errors.Error, OSError) as error:
            log.error("the shop closed: %s", error)

    async def _publish(self) -> None:
        client = await connect(self._nats, name="fraiseql-events shop")
        try:
            options = StreamOptions(nats=self._nats)
            found = await find_stream(client, options) or await create_stream(client, options)
            await self._keep_open(client, found.state.last_seq)
            await client.flush()
        finally:
            await client.close()

    async def _keep_open(self, client: BulkClient, opening: int) -> None:
        due = happening(rate=self.rate, seed=self.seed, day=self.day, opening=opening)
        moment, event = next(due)
        while not self._closing.is_set():
            frames = []
            while moment <= time.time():
                to = subject_of(event["entity_type"], event["event_type"])
                frames.append(publish_frame(to, "", msgspec.json.encode(event)))
                moment, event = next(due)
            if frames:
                await client.publish_bulk(b"".join(frames))
                self.published += len(frames)
            await asyncio.sleep(_TICK)


def happening(*, rate: float, seed: int, day: float, opening: int) -> Iterator[tuple[float, Event]]:
    """The changes of a shop that opens now, each with the moment (seconds since the epoch) at which it happens here."""
    began, speed = time.time(), _DAY / day
    for event in Shop(seed, per_day=rate * day, start=_OPENS, opening=opening):
        passed = (datetime.fromisoformat(event["timestamp"]) - _OPENS).total_seconds() / speed
        now = datetime.fromtimestamp(began + passed, UTC).isoformat(timespec="microseconds")
        yield began + passed, event | {"timestamp": now.replace("+00:00", "Z")}
