"""The faults: each begins, holds for a while, and ends; and the order in which they come."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import nats.errors
import nats.js.errors

from tests.faults.nats import STREAM
from tests.faults.soak.stand import Stand

PAIRS = 0.2
CALM_SECONDS = (0.5, 2.5)


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: as the report has it.
        group: what it strikes; two faults at once strike two things.
        make: holds it as long as its context is open.
        hold: the least and the most seconds that it is held.
        ends_serve: whether serve is another process afterwards.
    """

    name: str
    group: str
    make: Callable[[Stand], AbstractContextManager[None]]
    hold: tuple[float, float]
    ends_serve: bool = False


@dataclass(frozen=True)
class Step:
    """One fault, or two at once; how long they are held, and how long it is calm afterwards."""

    faults: tuple[Fault, ...]
    hold: float
    calm: float

    @property
    def name(self) -> str:
        return self.faults[0].name if len(self.faults) == 1 else "two of these at once"


@contextmanager
def serve_is_killed(stand: Stand) -> Iterator[None]:
    stand.disturbed.set()
    stand.serve.kill()
    yield
    stand.start_serve()


@contextmanager
def serve_is_stopped(stand: Stand) -> Iterator[None]:
    stand.disturbed.set()
    try:
        code = stand.serve.end(signal.SIGTERM)
    except subprocess.TimeoutExpired:
        stand.violations.append("serve did not end on SIGTERM")
        stand.serve.kill()
        code = 0
    if code != 0 and not stand.excused.is_set():
        stand.violations.append(f"serve ended with {code} on SIGTERM, see serve.log")
    yield
    stand.start_serve()


@contextmanager
def serve_is_frozen(stand: Stand) -> Iterator[None]:
    stand.disturbed.set()
    stand.serve.process.send_signal(signal.SIGSTOP)
    yield
    stand.serve.process.send_signal(signal.SIGCONT)
    stand.serve_is_well()


@contextmanager
def nats_is_killed(stand: Stand) -> Iterator[None]:
    stand.nats.kill()
    yield
    stand.nats.start()


@contextmanager
def nats_is_stopped(stand: Stand) -> Iterator[None]:
    stand.nats.stop()
    yield
    stand.nats.start()


@contextmanager
def nats_is_frozen(stand: Stand) -> Iterator[None]:
    stand.nats.freeze()
    yield
    stand.nats.thaw()


@contextmanager
def the_consumer_is_deleted(stand: Stand) -> Iterator[None]:
    with contextlib.suppress(nats.errors.Error, nats.js.errors.NotFoundError, OSError):  # none is there just now
        if name := stand.consumer():
            stand.nats.manage(lambda js: js.delete_consumer(STREAM, name))
    yield


@contextmanager
def the_disk_is_full(stand: Stand) -> Iterator[None]:
    stand.fill_the_disk()
    yield
    stand.empty_the_disk()


def cut(way: str) -> Callable[[Stand], AbstractContextManager[None]]:
    @contextmanager
    def make(stand: Stand) -> Iterator[None]:
        getattr(stand, way).cut()
        yield

    return make


def deadened(way: str) -> Callable[[Stand], AbstractContextManager[None]]:
    """Its connections die without a word; new ones are as good as ever."""

    @contextmanager
    def make(stand: Stand) -> Iterator[None]:
        proxy = getattr(stand, way)
        dead = proxy.deaden()
        stand.dead.append((proxy, dead))
        yield

    return make


def frozen(way: str) -> Callable[[Stand], AbstractContextManager[None]]:
    @contextmanager
    def make(stand: Stand) -> Iterator[None]:
        getattr(stand, way).frozen.set()
        yield
        getattr(stand, way).frozen.clear()

    return make


def slow(way: str, seconds: float) -> Callable[[Stand], AbstractContextManager[None]]:
    @contextmanager
    def make(stand: Stand) -> Iterator[None]:
        getattr(stand, way).delay = seconds
        yield
        getattr(stand, way).delay = 0.0

    return make


DISK_FULL = Fault("disk full", "disk", the_disk_is_full, (3, 8))
FAULTS = (
    Fault("serve: kill -9", "serve", serve_is_killed, (0, 2), ends_serve=True),
    Fault("serve: SIGTERM, started again", "serve", serve_is_stopped, (0, 2), ends_serve=True),
    Fault("serve: frozen (SIGSTOP)", "serve", serve_is_frozen, (1, 9)),
    Fault("NATS: kill -9", "nats", nats_is_killed, (0, 7)),
    Fault("NATS: stopped, started again", "nats", nats_is_stopped, (0, 7)),
    Fault("NATS: frozen (SIGSTOP)", "nats", nats_is_frozen, (1, 12)),
    Fault("consumer deleted", "nats", the_consumer_is_deleted, (0, 0)),
    Fault("bridge's connection: cut", "bridge", cut("nats_way"), (0, 0)),
    Fault("bridge's connection: dead without a word", "bridge", deadened("nats_way"), (0, 0)),
    Fault("bridge's connection: frozen", "bridge", frozen("nats_way"), (1, 12)),
    Fault("bridge's connection: slow", "bridge", slow("nats_way", 0.1), (2, 6)),
    Fault("follower's connection: cut", "follower", cut("follower_way"), (0, 0)),
    Fault("follower's connection: dead without a word", "follower", deadened("follower_way"), (0, 0)),
    Fault("follower's connection: frozen", "follower", frozen("follower_way"), (1, 12)),
    Fault("follower's connection: slow", "follower", slow("follower_way", 0.2), (2, 6)),
    DISK_FULL,
)


def plan(seed: int, faults: Sequence[Fault], *, haste: float = 1.0) -> Iterator[Step]:
    """Every fault once in random order, again and again; now and then two at once. The same for the same seed.

    Args:
        seed: another one gives another order.
        faults: those that there are.
        haste: what the times are multiplied by: a short soak holds its faults for less.
    """
    chance = random.Random(seed)
    while True:
        for first in chance.sample(faults, len(faults)):
            struck = [first]
            if chance.random() < PAIRS:
                struck.append(chance.choice([fault for fault in faults if fault.group != first.group]))
            hold = max(chance.uniform(*fault.hold) for fault in struck)
            yield Step(tuple(struck), hold * haste, chance.uniform(*CALM_SECONDS) * haste)
