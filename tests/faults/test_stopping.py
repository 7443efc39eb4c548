"""Whatever is going on: a stop ends within ten seconds, leaves nothing behind, and the next start is exact."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from fraiseql_events import EventClient, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.faults.clients import BARE, ClientProcess, assert_history, offset, payloads
from tests.faults.disks import small_disk
from tests.faults.nats import NatsServer
from tests.following import Follower, events, following
from tests.mixed import an_event
from tests.processes import Serve
from tests.waiting import until

STOP_SECONDS = 10


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """Sends a signal; what was said on standard error until the end, which comes in time."""
    sent = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert time.monotonic() - sent < STOP_SECONDS
    assert "Traceback" not in said
    return said


def assert_next_start_is_exact(nats: NatsServer, store: Path, count: int) -> None:
    with Serve("--nats", nats.url, "--store", store) as again:
        url = again.wait_until_ready()
        until(lambda: offset(url) >= count)
        assert_history(url, count)


class Publisher:
    """Publishes as fast as it can until it is ended."""

    def __init__(self, nats: NatsServer, make: Callable[[int, int], list[bytes]], each: int) -> None:
        self.count = 0
        self._nats, self._make, self._each = nats, make, each
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set() and self.count < 5_000_000:
            self._nats.publish(self._make(self.count, self.count + self._each))
            self.count += self._each

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.mark.parametrize(("make", "each"), [(payloads, 100_000), (events, 5_000)], ids=["Arrow", "JSON"])
def test_a_stop_under_full_load_is_in_time_and_exact(
    tmp_path: Path, nats: NatsServer, make: Callable[[int, int], list[bytes]], each: int
) -> None:
    publisher = Publisher(nats, make, each)
    try:
        for _ in range(2):
            with Serve("--nats", nats.url, "--store", tmp_path / "store", "--commit-events", "20000") as running:
                url = running.wait_until_ready()
                before = offset(url)
                until(lambda: offset(url) > before + each)  # noqa: B023
                stop(running.process)
                assert running.process.returncode == 0
    finally:
        publisher.end()
    assert_next_start_is_exact(nats, tmp_path / "store", publisher.count)


def test_a_stop_while_nats_hangs_is_in_time(tmp_path: Path, nats: NatsServer) -> None:
    nats.publish(payloads(0, 10_000))
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as running:
        url = running.wait_until_ready()
        until(lambda: offset(url) == 10_000)
        nats.freeze()
        stop(running.process)
        assert running.process.returncode == 0
        nats.thaw()
    assert_next_start_is_exact(nats, tmp_path / "store", 10_000)


def test_a_stop_while_the_disk_is_full_is_in_time_and_says_so(tmp_path: Path, nats: NatsServer) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = disk.folder / "store"
        with Serve("--nats", nats.url, "--store", store, "--commit-events", "5000") as running:
            url = running.wait_until_ready()
            disk.fill()
            nats.publish(payloads(0, 100_000))
            until(lambda: EventClient(url).status()["state"] == "stalled")
            said = stop(running.process)
            assert running.process.returncode == 1
            assert said.splitlines()[-1].startswith("fraiseql-events: the events cannot be written to ")
            assert said.splitlines()[-1].endswith("No space left on device")
        disk.make_room()
        assert_next_start_is_exact(nats, store, 100_000)


def test_a_stop_with_fifty_followers_of_which_some_do_not_read_is_in_time(tmp_path: Path, nats: NatsServer) -> None:
    nats.publish(payloads(0, 200_000))
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as running, ExitStack() as stack:
        url = running.wait_until_ready()
        until(lambda: offset(url) == 200_000)
        followers = [stack.enter_context(following(url, columns=["event_id"], after_offset=199_000)) for _ in range(47)]
        blocked = [stack.enter_context(ClientProcess(BARE, tmp_path / "clients", url, "no more")) for _ in range(3)]
        until(lambda: all(len(follower.ids) == 999 for follower in followers))
        until(lambda: all(client.seen for client in blocked))
        blocked[0].stop()
        assert EventClient(url).status()["streams"] == 50
        stop(running.process)
        assert running.process.returncode == 0
    assert_next_start_is_exact(nats, tmp_path / "store", 200_000)


def test_a_stop_during_the_start_is_in_time(tmp_path: Path, nats: NatsServer) -> None:
    nats.publish(payloads(0, 50_000))
    for moment in (0.1, 0.3, 0.5, 0.7, 0.9, 1.1):
        with Serve("--nats", nats.url, "--store", tmp_path / "store") as starting:
            time.sleep(moment)
            stop(starting.process)
            assert starting.process.returncode in (0, -signal.SIGTERM)  # before it listens to signals it just ends
    nats.freeze()
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as starting:
        time.sleep(2)
        stop(starting.process)
        assert starting.process.returncode == 0
    nats.thaw()
    assert_next_start_is_exact(nats, tmp_path / "store", 50_000)


def test_ctrl_c_twice_or_held_down_leaves_nothing_behind(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for times in (2, 5_000):
        with Serve("--embedded", "--store", store) as running, ExitStack() as stack:
            url = running.wait_until_ready()
            children = psutil.Process(running.process.pid).children()
            assert sorted(child.name() for child in children) == ["nats-server", "sh"]
            follower = stack.enter_context(following(url))
            kept = offset(url)
            target = StreamOptions(nats=EventClient(url).status()["nats"])
            publish([("entity.change.x.y", one) for one in payloads(kept, kept + 10_000)], target)
            until(lambda: len(follower.ids) == kept + 10_000)  # noqa: B023
            for _ in range(times - 1):
                running.process.send_signal(signal.SIGINT)
            stop(running.process, signal.SIGINT)
            assert running.process.returncode == 0
            assert not any(child.is_running() for child in children)
    with Serve("--embedded", "--store", store) as again:
        assert_history(again.wait_until_ready(), 20_000)


#: Threads that end by themselves, soon after what they were for.
_LINGERING = ("fraiseql-events-read", "fraiseql-events-ahead")


def test_fifty_starts_and_stops_leave_nothing_behind(tmp_path: Path) -> None:
    def state() -> tuple[int, int, int]:
        process = psutil.Process()
        return threading.active_count(), process.num_fds(), len(process.children())

    states: list[tuple[int, int, int]] = []
    for round_ in range(50):
        followers: list[Follower] = []
        with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
            assert service.status()["offset"] == round_
            publish([("entity.change.Order.x", an_event(id=str(round_)))], StreamOptions(nats=service.nats_url))
            until(lambda: service.status()["offset"] == round_ + 1)  # noqa: B023
            if round_ % 5 == 0:
                followers = [Follower(service.url) for _ in range(2)]
                until(lambda: all(len(follower.ids) == round_ + 1 for follower in followers))  # noqa: B023
        service.close()
        for follower in followers:
            assert follower.thread.is_alive()
            follower.end()
        if round_ == 3 or round_ > 45:  # the first ones load libraries
            until(lambda: not any(thread.name in _LINGERING for thread in threading.enumerate()))
            states.append(state())
    assert max(threads for threads, _, _ in states) <= states[0][0]
    assert max(files for _, files, _ in states) <= states[0][1]
    assert max(children for _, _, children in states) == states[0][2]
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        assert_history(str(service.url), 50)
