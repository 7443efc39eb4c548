"""Ten readers of one server, in a process of their own, until its standard input ends; says what each has read."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fraiseql_events import EventClient
from fraiseql_events.errors import EventsError

SLOW_SECONDS: Final = 0.5


@dataclass(slots=True)
class Reader:
    """What one of them asks for; whether it goes on with what arrives, or begins again at the end."""

    name: str
    entity: str
    columns: list[str] | None = None
    follow: bool = False
    pause: float = 0.0
    rows: int = 0
    passes: int = 0
    error: str | None = None

    def read(self, url: str, stopping: Callable[[], bool]) -> None:
        try:
            with EventClient(url) as client:
                while not stopping():
                    self._pass(client, stopping)
        except EventsError as error:
            self.error = str(error)

    def _pass(self, client: EventClient, stopping: Callable[[], bool]) -> None:
        asked: dict[str, Any] = {"columns": self.columns, "follow": self.follow}
        with client.stream(self.entity, frames="arrow", **asked) as stream:
            for batch in stream:
                self.rows += batch.num_rows
                if self.pause:
                    time.sleep(self.pause)
                if stopping():
                    return
        self.passes += 1
        time.sleep(0.1)  # of a history that is empty still


def ten() -> list[Reader]:
    return [
        Reader("follows all", "*", follow=True),
        Reader("follows all, again", "*", follow=True),
        Reader("follows orders", "Order", follow=True),
        Reader("follows two columns of users", "User", ["entity_id", "timestamp"], follow=True),
        Reader("follows all, slowly", "*", follow=True, pause=SLOW_SECONDS),
        Reader("replays all", "*"),
        Reader("replays all, again", "*"),
        Reader("replays orders", "Order"),
        Reader("replays products", "Product"),
        Reader("replays three columns", "*", ["offset", "entity_id", "event_type"]),
    ]


def main(url: str) -> None:
    stopped = threading.Event()
    readers = ten()
    threads = [threading.Thread(target=reader.read, args=(url, stopped.is_set), daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    deadline = time.monotonic() + 2
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))  # a follower that hears nothing waits on
    found = [{"name": each.name, "rows": each.rows, "passes": each.passes, "error": each.error} for each in readers]
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
