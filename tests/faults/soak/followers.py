"""Who reads during the soak: followers in threads and in a process, and a reader of random ranges."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from array import array
from pathlib import Path

import numpy as np

from fraiseql_events import EventClient, EventsError
from tests.faults.model import Wanted
from tests.faults.soak.publisher import ENTITIES, Publisher
from tests.faults.soak.stand import Stand
from tests.processes import COMMAND

COLUMNS = ("event_id", "offset")


class Following:
    """A follower in a thread, and what it has seen.

    Args:
        name: as the report has it.
        url: where it reads.
        entity: what it reads.
        pause: seconds that it takes over each batch, until `hurry` is set.
    """

    def __init__(self, name: str, url: str, *, entity: str = "*", pause: float = 0.0) -> None:
        self.name = name
        self.entity = entity
        self.ids = array("q")
        self.offsets = array("q")
        #: When it had seen which number.
        self.moments: list[tuple[float, int]] = []
        self.error: str | None = None
        self.hurry = threading.Event()
        self._pause = pause
        self._client = EventClient(url)
        self.stream = self._client.stream(entity, follow=True, columns=COLUMNS, frames="arrow")
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"follower {name}", daemon=True)
        self._thread.start()

    def first_seen(self, number: int) -> float | None:
        """When an event of that number or a later one was seen."""
        found = None
        for moment, last in reversed(self.moments):
            if last < number:
                break
            found = moment
        return found

    def close(self) -> None:
        self._closing = True
        self.stream.close()
        self._thread.join(10)
        self._client.close()

    def _run(self) -> None:
        try:
            for batch in self.stream:
                self.ids.extend(map(int, batch.column("event_id").to_pylist()))
                self.offsets.extend(batch.column("offset").to_pylist())
                self.moments.append((time.monotonic(), self.ids[-1]))
                if self._pause:
                    self.hurry.wait(self._pause)
            self.error = "the stream ended"
        except BaseException as error:  # noqa: BLE001
            if not self._closing:
                self.error = f"{type(error).__name__}: {error}"


class FollowingProcess:
    """`fraiseql-events stream '*' --follow` into a file."""

    def __init__(self, url: str, output: Path) -> None:
        self.name = "in a process of its own"
        self.entity = "*"
        self._output = output
        self._words = output.with_suffix(".log").open("wb")
        self._sink = output.open("wb")
        arguments = ["stream", "*", "--follow", "--format", "ndjson", "--columns", ",".join(COLUMNS), "--url", url]
        self._process = subprocess.Popen([*COMMAND, *arguments], stdout=self._sink, stderr=self._words)
        self._read_up_to = 0
        self.ids = array("q")
        self.offsets = array("q")

    @property
    def error(self) -> str | None:
        code = self._process.poll()
        return None if code is None else f"the process ended with {code}, see {self._output.stem}.log"

    def look(self) -> None:
        """Takes in the lines that have been written since the last look."""
        with self._output.open("rb") as source:
            source.seek(self._read_up_to)
            text = source.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_up_to += len(whole)
        for line in whole.splitlines():
            row = json.loads(line)
            self.ids.append(int(row["event_id"]))
            self.offsets.append(row["offset"])

    def close(self) -> int:
        """Ends it as Ctrl-C does; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._sink.close()
            self._words.close()


class RandomReader:
    """Reads random ranges, and compares each with what was published.

    Attributes:
        reads, failed: how many were right; how many serve was not there for.
        wrong: what must not happen.
    """

    def __init__(self, stand: Stand, publisher: Publisher, committed: Committed, *, seed: int) -> None:
        self._stand = stand
        self._publisher = publisher
        self._committed = committed
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self.reads = self.failed = self.rows = 0
        self.wrong: list[str] = []
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.4):
            known = len(self._publisher.entity)
            if known:
                self._read(self._draw(known))

    def _draw(self, known: int) -> Wanted:
        chance = self._random
        given: dict[str, object] = {"columns": COLUMNS, "limit": chance.choice([1, 100, 5_000, 20_000])}
        if chance.random() < 0.7:
            given["after_offset"] = chance.randrange(-1, known)
        if chance.random() < 0.5:
            given["entity"] = chance.choice(ENTITIES)
        if chance.random() < 0.4:
            first, last = sorted(chance.randrange(known) for _ in range(2))
            given["start"], given["end"] = self._publisher.moment[first], self._publisher.moment[last]
        return Wanted(**given)  # type: ignore[arg-type]

    def _read(self, wanted: Wanted) -> None:
        asked = time.monotonic()
        sure = self._committed.offset
        disturbed = self._stand.disturbed.is_set()
        try:
            with EventClient(self._stand.url) as client:
                table = client.read(**wanted.arguments(), frames="arrow")
        except EventsError as error:
            self.failed += 1
            if not (disturbed or self._stand.disturbed.is_set() or self._stand.calm_moments[-1] > asked):
                self.wrong.append(f"a read failed while serve was well: {error}")
            return
        found = table["offset"].to_numpy()
        ids = np.array(table["event_id"].to_pylist(), np.int64)
        expected = expected_offsets(wanted, self._publisher)
        enough = min(np.searchsorted(expected, sure), wanted.limit or 0)
        right = expected[: wanted.limit][: len(found)]
        if not (np.array_equal(found, right) and np.array_equal(ids, right) and len(found) >= enough):
            self.wrong.append(f"a read was wrong: {wanted}, {len(found)} rows of at least {enough}")
        self.reads += 1
        self.rows += len(found)


class Committed:
    """The offset that the history is known to reach: a crash takes nothing before it."""

    offset = 0


def expected_offsets(wanted: Wanted, publisher: Publisher) -> np.ndarray:
    """The offsets of what was published and passes, without the limit."""
    count = len(publisher.entity)
    entity = np.frombuffer(bytes(publisher.entity[:count]), np.uint8)
    moment = np.array(publisher.moment[:count], np.int64)
    passes = np.ones(count, bool)
    if wanted.entity != "*":
        passes &= entity == ENTITIES.index(wanted.entity)
    if wanted.start is not None:
        passes &= moment >= wanted.start
    if wanted.end is not None:
        passes &= moment < wanted.end
    if wanted.after_offset is not None:
        passes[: wanted.after_offset + 1] = False
    return np.flatnonzero(passes)
