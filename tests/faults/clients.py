"""Clients in processes of their own, that can be stopped and killed, and what they have seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from fraiseql_events import EventClient
from tests.test_memory import payload
from tests.waiting import until

#: Follows; says how many events it has seen, all of them in order.
FOLLOW = """
import sys
from fraiseql_events import EventClient
seen = 0
for batch in EventClient(sys.argv[1]).stream("*", follow=True, frames="arrow"):
    ids = [int(text) for text in batch.column("event_id").to_pylist()]
    assert ids == list(range(seen, seen + len(ids))), (seen, ids[:3])
    seen += len(ids)
    print(seen, flush=True)
"""
#: A follower of pyarrow's alone, which never asks again; with a second argument it stops reading after one batch.
BARE = """
import sys, time
from pyarrow import flight
reader = flight.connect(sys.argv[1]).do_get(flight.Ticket(b"events:*:::streaming"))
seen = 0
while True:
    seen += reader.read_chunk().data.num_rows
    print(seen, flush=True)
    time.sleep(3600 * (len(sys.argv) > 2))
"""


class ClientProcess:
    """Runs one of the programs above."""

    def __init__(self, program: str, folder: Path, *arguments: str, prefix: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out = folder / f"client-{len(list(folder.iterdir()))}.txt"
        with self._out.open("w") as sink:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", program, *arguments], stdout=sink, stderr=subprocess.DEVNULL
            )

    @property
    def seen(self) -> int:
        """How many events it has seen, by its last whole line."""
        lines = self._out.read_text().split("\n")[:-1]
        return int(lines[-1]) if lines else 0

    def wait_for(self, events: int, seconds: float = 60) -> None:
        until(lambda: self.seen >= events or self.process.poll() is not None, seconds)
        assert self.seen == events

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(10)


def payloads(first: int, last: int, *, rows: int = 2_000) -> list[bytes]:
    """Arrow payloads of events whose ids are the numbers from `first` to before `last`; about 300 bytes each."""
    return [payload(number, rows) for number in range(first, last, rows)]


def streams(url: str) -> int:
    """How many answers a server has open."""
    with EventClient(url) as client:
        found: int = client.status()["streams"]
        return found


def offset(url: str) -> int:
    """How many events a server has."""
    with EventClient(url) as client:
        found: int = client.status()["offset"]
        return found


def assert_history(url: str, count: int) -> None:
    """Every event once, in order, none beside them."""
    with EventClient(url) as client:
        table = client.read("*", columns=["event_id", "offset"], frames="arrow")
    numbers = np.arange(count)
    assert np.array_equal(table["offset"].to_numpy(), numbers), (table.num_rows, count)
    assert np.array_equal(table["event_id"].to_numpy().astype(np.int64), numbers)
