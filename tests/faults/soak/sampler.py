"""Looks at serve twice a second: what it says of itself, and what it takes of the machine."""

from __future__ import annotations

import bisect
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from fraiseql_events import EventClient, EventsError
from tests.faults.soak.followers import Committed
from tests.faults.soak.stand import Stand

EVERY_SECONDS = 0.5
WELL = ("live", "quiet")
#: What serve may take to say that nothing comes: half of it for a look that is not answered, half for a busy machine.
NOTICED_SECONDS = 6.0
#: A young process loads libraries, and fills the memory that it keeps of the newest events: 64 MiB, at half a kilobyte
#: an event and 1 000 a second, of which there are more unless NATS is away.
YOUNG_SECONDS = 150.0
#: So long a life is judged by, and in it so little growth is none: what allocators and the list of files take.
LIFE_SECONDS = 270.0
FLAT_PER_MINUTE = 0.03
FLAT_COUNT = 4
MOST_BYTES = 700 << 20


@dataclass(frozen=True)
class Word:
    """What serve said of itself at a moment."""

    moment: float
    state: str
    offset: int


@dataclass(frozen=True)
class Weight:
    """What a process took at an age."""

    age: float
    rss: int
    threads: int
    files: int


class Sampler:
    """Samples in a thread, from its making to `stop`."""

    def __init__(self, stand: Stand, committed: Committed) -> None:
        self._stand = stand
        self._committed = committed
        self.words: list[Word] = []
        self.lives: dict[int, list[Weight]] = {}
        self.last: dict[str, object] = {}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._listen, self._weigh)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            asked = time.monotonic()
            try:
                with EventClient(self._stand.url) as client:
                    status = client.status()
            except EventsError:
                continue
            self.last = status
            self._committed.offset = max(self._committed.offset, status["committed"])
            if time.monotonic() - asked < EVERY_SECONDS:  # else it is of a moment that nobody knows
                self.words.append(Word(time.monotonic(), status["state"], status["offset"]))

    def _weigh(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            try:
                process = psutil.Process(self._stand.serve.process.pid)
                with process.oneshot():
                    weight = Weight(
                        time.time() - process.create_time(),
                        process.memory_info().rss,
                        process.num_threads(),
                        process.num_fds(),
                    )
                if process.status() != psutil.STATUS_ZOMBIE:
                    self.lives.setdefault(process.pid, []).append(weight)
            except psutil.Error:
                pass  # it was killed just now


def lies(words: Sequence[Word], published: Sequence[tuple[float, int]], thaws: Sequence[float]) -> list[str]:
    """Where serve said that it is well although events came into the stream and it had none of them.

    Args:
        words: what it said, in order.
        published: when how many events were in the stream, in order.
        thaws: when a frozen serve, or one that had just started, could begin to look.
    """
    found = []
    since, offset = 0.0, -1
    moments = [moment for moment, _ in published]
    for word in words:
        if word.offset != offset:
            since, offset = word.moment, word.offset
        since = max([since, *(thaw for thaw in thaws if thaw <= word.moment)])
        there = _count_at(moments, published, word.moment - NOTICED_SECONDS)
        if word.state in WELL and word.moment - since > NOTICED_SECONDS and there > word.offset:
            found.append(
                f"serve was {word.state!r} at offset {word.offset} for {word.moment - since:.1f} s, of {there}"
            )
            since = word.moment  # one sentence for each stretch of it
    return found


def _count_at(moments: Sequence[float], published: Sequence[tuple[float, int]], moment: float) -> int:
    at = bisect.bisect_right(moments, moment)
    return published[at - 1][1] if at else 0


def growth(life: Sequence[Weight]) -> tuple[float, int, int] | None:
    """Of one process: the growth of its memory a minute (0.01 is one in a hundred), of its threads, of its open files.

    None for a life that is too short to be judged. Threads and files come and go with readers: their least is compared.
    """
    old = [weight for weight in life if weight.age >= YOUNG_SECONDS]
    if not life or life[-1].age < LIFE_SECONDS or len(old) < 20:
        return None
    slope = statistics.linear_regression([weight.age for weight in old], [weight.rss for weight in old]).slope
    half = len(old) // 2
    first, second = old[:half], old[half:]
    threads = min(weight.threads for weight in second) - min(weight.threads for weight in first)
    files = min(weight.files for weight in second) - min(weight.files for weight in first)
    return slope * 60 / statistics.median(weight.rss for weight in old), threads, files


def heavy(lives: dict[int, list[Weight]]) -> list[str]:
    """What is wrong with what serve took."""
    found = []
    for number, life in enumerate(lives.values(), 1):
        peak = max(weight.rss for weight in life)
        if peak > MOST_BYTES:
            found.append(f"process {number} of serve took {peak >> 20} MiB; {MOST_BYTES >> 20} are the most")
        if (grown := growth(life)) is None:
            continue
        rss, threads, files = grown
        if rss > FLAT_PER_MINUTE:
            found.append(f"process {number} of serve grew by {rss:.1%} a minute")
        if threads > FLAT_COUNT or files > FLAT_COUNT:
            found.append(f"process {number} of serve grew by {threads} threads and {files} open files")
    return found
