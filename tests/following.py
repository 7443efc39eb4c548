"""Followers in threads, and events that are told apart by their number."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import polars as pl

from fraiseql_events import EventClient, EventStream
from tests.mixed import an_event


class Follower:
    """Follows in a thread, and keeps the ids that it has seen."""

    def __init__(self, url: str | None, entity: str = "*", **options: object) -> None:
        self.ids: list[int] = []
        self.error: BaseException | None = None
        self.client = EventClient(url)
        self.stream: EventStream[pl.DataFrame] = self.client.stream(entity, follow=True, **options)  # type: ignore[call-overload]
        self.thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for frame in self.stream:
                self.ids += map(int, frame["event_id"])
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def end(self) -> None:
        self.stream.close()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.client.close()


@contextlib.contextmanager
def following(url: str | None, **options: object) -> Iterator[Follower]:
    follower = Follower(url, **options)  # type: ignore[arg-type]
    try:
        yield follower
    finally:
        follower.end()


def events(first: int, last: int, **changes: object) -> list[bytes]:
    """Events whose ids are the numbers from `first` to before `last`."""
    return [an_event(id=str(number), **changes) for number in range(first, last)]
