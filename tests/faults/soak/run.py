"""The course of a soak: readers are set up, faults come and go, it becomes quiet, and all is audited."""

from __future__ import annotations

import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fraiseql_events import EventClient
from fraiseql_events.event import LOG_SCHEMA
from tests.faults.model import Wanted
from tests.faults.nats import STREAM
from tests.faults.soak.audit import disk_faults, history_faults, letter_faults, sequence_faults, status_faults
from tests.faults.soak.faults import DISK_FULL, FAULTS, Step, plan
from tests.faults.soak.followers import Committed, Following, FollowingProcess, RandomReader, expected_offsets
from tests.faults.soak.publisher import ENTITIES, Publisher, messages
from tests.faults.soak.sampler import LIFE_SECONDS, Sampler, Weight, heavy, lies
from tests.faults.soak.stand import Stand

RECOVERY_SECONDS = 60.0
QUIET_SECONDS = 90.0
#: A shorter soak holds its faults for half as long, to meet more of them.
UNHURRIED_SECONDS = 300
#: In this part of a long soak serve is left alive, so that its memory can be judged.
LONG_LIFE = 0.6


@dataclass
class Result:
    """What a soak has found."""

    seconds: int
    rate: int
    seed: int
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    lives: dict[int, list[Weight]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Soak:
    """One soak in a folder."""

    def __init__(self, folder: Path, *, seconds: int, rate: int, seed: int) -> None:
        self.result = Result(seconds, rate, seed)
        self._stand = Stand(folder, seconds=seconds)
        self._faults = [fault for fault in FAULTS if self._stand.has_small_disk or fault is not DISK_FULL]
        self.result.left_out = [fault.name for fault in FAULTS if fault not in self._faults]
        self._publisher = Publisher(self._stand.nats.port, rate=rate, seed=seed)
        self._committed = Committed()
        self._sampler = Sampler(self._stand, self._committed)
        url, way = self._stand.url, f"grpc://127.0.0.1:{self._stand.follower_way.port}"
        self._quick = Following("quick", url)
        self._proxied = Following("on the way that breaks", way)
        self._slow = Following("slow", url, pause=0.3)
        self._orders = Following("of orders", url, entity=ENTITIES[0])
        self._process = FollowingProcess(url, folder / "follower.ndjson")
        self._reader = RandomReader(self._stand, self._publisher, self._committed, seed=seed)

    def run(self) -> Result:
        """Runs it to its end; what is wrong is in the result."""
        try:
            self._publisher.start()
            self._trouble()
            self._become_quiet()
            self._audit()
        except Exception as error:  # noqa: BLE001 (what is known by then is to be seen all the same)
            traceback.print_exc()
            self.result.wrong += [*self._stand.violations, f"the soak broke off: {type(error).__name__}: {error}"]
        finally:
            for one in self._followers:
                one.close()
            self._stand.end(keep=bool(self.result.wrong))
        return self.result

    def _trouble(self) -> None:
        seed, seconds = self.result.seed, self.result.seconds
        wild = plan(seed, self._faults, haste=1.0 if seconds >= UNHURRIED_SECONDS else 0.5)
        gentle = plan(seed + 1, [fault for fault in self._faults if not fault.ends_serve])
        began = time.monotonic()
        time.sleep(2)
        while (elapsed := time.monotonic() - began) < seconds:
            long_life = LONG_LIFE * seconds > LIFE_SECONDS and elapsed > (1 - LONG_LIFE) * seconds
            self._step(next(gentle if long_life else wild))

    def _step(self, step: Step) -> None:
        stand = self._stand
        if {"nats", "bridge", "disk"} & {fault.group for fault in step.faults}:
            stand.excused.set()
        held = [fault.make(stand) for fault in step.faults]
        for one in held:
            one.__enter__()
        time.sleep(step.hold)
        ended, fresh = time.monotonic(), len(self._publisher.entity)
        with ThreadPoolExecutor(len(held)) as pool:  # a serve that starts may wait for a NATS that returns
            list(pool.map(lambda one: one.__exit__(None, None, None), held))
        recovery = self._recovery(fresh, ended)
        stand.excused.clear()
        self.result.recoveries.setdefault(step.name, []).append(recovery)
        if recovery >= RECOVERY_SECONDS:
            names = ", ".join(fault.name for fault in step.faults)
            stand.violations.append(f"nothing fresh was seen for {RECOVERY_SECONDS:.0f} s after: {names}")
        stand.bury_the_dead()
        stand.look_after_serve()
        time.sleep(step.calm)

    def _recovery(self, fresh: int, ended: float) -> float:
        """Seconds from the end of a fault to the moment when two followers have seen an event made after it."""
        deadline = ended + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            seen = [one.first_seen(fresh) for one in (self._quick, self._proxied)]
            if None not in seen:
                return max(moment for moment in seen if moment is not None) - ended
            if any(one.error for one in (self._quick, self._proxied)) or self._stand.serve.process.poll() is not None:
                break
            time.sleep(0.01)
        return RECOVERY_SECONDS

    def _become_quiet(self) -> None:
        self._publisher.stop()
        self._slow.hurry.set()
        deadline = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < deadline and not self._is_quiet():
            time.sleep(0.2)
        time.sleep(3)  # what is too much would come now
        self._reader.stop()
        self._process.look()

    def _is_quiet(self) -> bool:
        self._process.look()
        last = self._sampler.last
        events = len(self._publisher.entity)
        return last.get("committed") == events and all(
            one.error or len(one.ids) >= len(self._expected(one)) for one in self._followers
        )

    @property
    def _followers(self) -> list[Following | FollowingProcess]:
        return [self._quick, self._proxied, self._slow, self._orders, self._process]

    def _expected(self, follower: Following | FollowingProcess) -> np.ndarray:
        return expected_offsets(Wanted(entity=follower.entity), self._publisher)

    def _audit(self) -> None:
        publisher, stand, wrong = self._publisher, self._stand, self.result.wrong
        events = len(publisher.entity)
        wrong += [publisher.trouble] if publisher.trouble else []
        wrong += self._reader.wrong
        for one in self._followers:
            wrong += [f"follower {one.name}: {one.error}"] if one.error else []
            wrong += sequence_faults(f"follower {one.name}", one.ids, self._expected(one))
            wrong += sequence_faults(f"offsets of follower {one.name}", one.offsets, self._expected(one))
        stored = stand.nats.manage(lambda js: js.stream_info(STREAM)).state.messages
        wrong += [] if stored == publisher.sent else [f"the stream holds {stored} messages of {publisher.sent}"]
        wrong += self._history_faults(events)
        wrong += letter_faults(stand.url, publisher.dead)
        wrong += status_faults(stand.url, events, len(publisher.dead), publisher.sent)
        self._sampler.stop()
        wrong += lies(self._sampler.words, publisher.progress, stand.calm_moments)
        wrong += heavy(self._sampler.lives)
        self._count(events)
        if self._process.error is None and (code := self._process.close()) != 0:
            wrong.append(f"the follower in a process ended with {code} on SIGINT")
        if (code := stand.serve.end(signal.SIGTERM)) != 0:
            wrong.append(f"serve ended with {code} in the end, see serve.log")
        wrong += disk_faults(stand.store, events)
        wrong += stand.violations

    def _history_faults(self, events: int) -> list[str]:
        made: Iterator[dict[str, object]] = (event for _, event in messages(self.result.seed) if event is not None)
        with EventClient(self._stand.url) as client:
            stream = client.stream("*", columns=LOG_SCHEMA.names, frames="arrow")
            return history_faults(stream, made, events)

    def _count(self, events: int) -> None:
        self.result.lives = dict(self._sampler.lives)
        states = Counter(word.state for word in self._sampler.words)
        self.result.counts = {
            "messages published": self._publisher.sent,
            "events in the history": events,
            "dead letters": len(self._publisher.dead),
            "events seen by followers": sum(len(one.ids) for one in self._followers),
            "times that followers asked again": sum(
                one.stream.reconnects for one in self._followers if isinstance(one, Following)
            ),
            "random reads": self._reader.reads,
            "events in random reads": self._reader.rows,
            "random reads that met a serve that was away": self._reader.failed,
            "lives of serve": self._stand.lives,
            **{f"looks at serve that found it {state}": count for state, count in sorted(states.items())},
        }
