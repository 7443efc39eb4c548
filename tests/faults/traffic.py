"""Events that keep coming, whatever happens to the server that they are published to."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

import nats
import nats.errors
from nats.js import JetStreamContext

from tests.faults.nats import NatsServer
from tests.following import events

SUBJECT = "entity.change.Order.created"
TRIES = 200


class Traffic:
    """Publishes numbered events in a thread, one by one, each until it is acknowledged.

    The server knows one that is sent again by its id, so the stream holds each once: `count` of them, from 0 on.
    """

    def __init__(self, server: NatsServer) -> None:
        self._url = server.url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), name="traffic", daemon=True)
        self.count = 0

    async def _publish(self) -> None:
        async def ignore(error: Exception) -> None:
            """Its own connection is none of a test's faults."""

        client = await nats.connect(
            self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore, connect_timeout=2
        )
        while not self._ending.is_set():
            await self._publish_one(client.jetstream())
        await client.close()

    async def _publish_one(self, stream: JetStreamContext) -> None:
        (event,) = events(self.count, self.count + 1)
        for _ in range(TRIES):  # until it is acknowledged, even when this is ending: it may be in the stream
            try:
                await stream.publish(SUBJECT, event, timeout=0.5, headers={"Nats-Msg-Id": str(self.count)})
                self.count += 1
                return
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.05)
        raise AssertionError(f"event {self.count} was never acknowledged")

    def end(self) -> int:
        """Ends when the last one is acknowledged; how many there are."""
        self._ending.set()
        self._thread.join(15)
        assert not self._thread.is_alive(), "the last event is not acknowledged"
        return self.count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join(15)
