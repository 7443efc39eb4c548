"""Clients that are slow, stopped, many, gone without a word, or one too many: nobody else feels it, nothing is lost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from pyarrow import flight

from fraiseql_events import EventClient, ServerUnavailable
from tests.faults.clients import BARE, FOLLOW, ClientProcess, assert_history, offset, payloads, streams
from tests.faults.nats import NatsServer
from tests.following import following
from tests.processes import Serve, peak_memory, run
from tests.proxy import Proxy
from tests.waiting import until

A_SECOND = 150_000
STOPPED = 8
#: Events before clients are stopped, and those that they are not sent while they are: 300 bytes each.
SENT, UNSENT = 1_000_000, 1_500_000


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


class SlowFollower:
    """Takes one batch a second until it is let loose."""

    def __init__(self, url: str) -> None:
        self.ids: list[int] = []
        self.loose = threading.Event()
        self.stream = EventClient(url).stream("*", follow=True)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for frame in self.stream:
            self.ids += map(int, frame["event_id"])
            self.loose.wait(1)
            if len(self.ids) >= 10 * A_SECOND:
                return

    def end(self) -> None:
        self.loose.set()
        self.stream.close()
        self.thread.join(5)


def load(folder: Path, *, slow: bool) -> tuple[float, int]:
    """A hundred and fifty thousand events a second, ten times: how long a quick follower takes, the server's peak."""
    with NatsServer(folder / "nats") as nats, Serve("--nats", nats.url, "--store", folder / "store") as serve:
        url = serve.wait_until_ready()
        with ExitStack() as stack:
            quick = stack.enter_context(ClientProcess(FOLLOW, folder / "clients", url))
            late = SlowFollower(url) if slow else None
            if late is not None:
                stack.callback(late.end)
            started = time.monotonic()
            for second in range(10):
                nats.publish(payloads(second * A_SECOND, (second + 1) * A_SECOND))
                time.sleep(max(0.0, started + second + 1 - time.monotonic()))
            quick.wait_for(10 * A_SECOND)
            taken = time.monotonic() - started
            if late is not None:
                assert len(late.ids) < 5 * A_SECOND
                late.loose.set()
                until(lambda: len(late.ids) >= 10 * A_SECOND)
                assert late.ids == list(range(10 * A_SECOND))
                assert late.stream.reconnects == 0
        assert_history(url, 10 * A_SECOND)
        return taken, peak_memory(serve.process.pid)


def test_a_follower_that_reads_a_batch_a_second_costs_little_memory_and_slows_nobody(tmp_path: Path) -> None:
    taken, peak = load(tmp_path / "without", slow=False)
    slow_taken, slow_peak = load(tmp_path / "with", slow=True)
    assert slow_peak < 1.3 * peak, (peak >> 20, slow_peak >> 20)
    assert slow_taken < 1.5 * taken + 3, (taken, slow_taken)


MANY = """
import sys, threading
from fraiseql_events import EventClient
url, count = sys.argv[1], int(sys.argv[2])
def follow():
    seen = 0
    for batch in EventClient(url).stream("*", columns=["event_id"], follow=True, limit=count, frames="arrow"):
        ids = [int(text) for text in batch.column(0).to_pylist()]
        assert ids == list(range(seen, seen + len(ids))), (seen, ids[:3])
        seen += len(ids)
    done.append(seen)
done = []
threads = [threading.Thread(target=follow) for _ in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert done == [count] * 50
print(sum(done), flush=True)
"""


def test_two_hundred_followers_at_once_see_every_event_in_order(tmp_path: Path, nats: NatsServer) -> None:
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as serve, ExitStack() as stack:
        url = serve.wait_until_ready()
        nats.publish(payloads(0, 2_000))
        clients = [stack.enter_context(ClientProcess(MANY, tmp_path / "clients", url, "20000")) for _ in range(4)]
        until(lambda: streams(url) == 200)
        for first in range(2_000, 20_000, 2_000):
            nats.publish(payloads(first, first + 2_000, rows=200))
        for client in clients:
            client.wait_for(200 // 4 * 20_000)
        until(lambda: streams(url) == 0)
        assert_history(url, 20_000)


@contextmanager
def a_machine_of_its_own(name: str) -> Iterator[tuple[str, list[str]]]:
    """A network namespace on a cable: our address on it, and what runs a command there."""
    here, there = f"{name}a", f"{name}b"
    inside = ["ip", "netns", "exec", name]
    try:
        for command in (
            ["ip", "netns", "add", name],
            ["ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name],
            ["ip", "address", "add", "198.18.77.1/30", "dev", here],
            ["ip", "link", "set", here, "up"],
            [*inside, "ip", "address", "add", "198.18.77.2/30", "dev", there],
            [*inside, "ip", "link", "set", there, "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        yield "198.18.77.1", inside
    finally:
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def may_make_machines() -> bool:
    made = shutil.which("ip") and subprocess.run(["ip", "netns", "add", "fe-probe"], check=False, capture_output=True)
    if not made or made.returncode:
        return False
    subprocess.run(["ip", "netns", "delete", "fe-probe"], check=True)
    return True


def test_clients_whose_machine_vanishes_are_noticed(tmp_path: Path, nats: NatsServer) -> None:
    """One that waits for events, which is sent heartbeats, and one that has not read, which is sent nothing."""
    if not may_make_machines() and "CI" not in os.environ:
        pytest.skip("no right to make a network namespace")
    nats.publish(payloads(0, 200_000))
    with a_machine_of_its_own(f"fe{os.getpid()}") as (address, inside), ExitStack() as stack:
        serve = stack.enter_context(Serve("--nats", nats.url, "--store", tmp_path / "store", listen=f"{address}:0"))
        url = serve.wait_until_ready()
        until(lambda: offset(url) == 200_000)
        quiet, blocked = (
            stack.enter_context(ClientProcess(BARE, tmp_path / "clients", *program, prefix=inside))
            for program in ([url], [url, "no more"])
        )
        until(lambda: quiet.seen == 200_000 and blocked.seen > 0)
        time.sleep(2)  # until the way of the second is full
        assert streams(url) == 2
        subprocess.run([*inside, "ip", "link", "set", f"fe{os.getpid()}b", "down"], check=True)
        until(lambda: streams(url) == 0, 30)
        assert connections(serve, port_of(url)) == 0
        assert_history(url, 200_000)


def connections(serve: Serve, port: int) -> int:
    """How many clients are connected, ourselves not counted."""
    found = psutil.Process(serve.process.pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in found)


def test_stopped_clients_cost_little_memory_slow_nobody_and_go_on_without_a_gap(
    tmp_path: Path, nats: NatsServer
) -> None:
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as serve, ExitStack() as stack:
        url = serve.wait_until_ready()
        quick, *stopped = (
            stack.enter_context(ClientProcess(FOLLOW, tmp_path / "clients", url)) for _ in range(1 + STOPPED)
        )
        publish_all(nats, 0, SENT)
        for client in (quick, *stopped):
            client.wait_for(SENT)
        peak = peak_memory(serve.process.pid)
        for client in stopped:
            client.stop()
        publish_all(nats, SENT, SENT + UNSENT)
        quick.wait_for(SENT + UNSENT)
        more = peak_memory(serve.process.pid) - peak
        assert more < 180 * UNSENT, more >> 20
        for client in stopped[1:]:
            client.go_on()
            client.wait_for(SENT + UNSENT)
        stopped[0].process.kill()
        until(lambda: streams(url) == STOPPED)
        assert_history(url, SENT + UNSENT)


def publish_all(nats: NatsServer, first: int, last: int) -> None:
    """In pieces that JetStream takes at once."""
    for start in range(first, last, 100_000):
        nats.publish(payloads(start, start + 100_000))


def test_a_client_that_takes_nothing_for_long_is_not_dropped(tmp_path: Path, nats: NatsServer) -> None:
    """Its receive buffer is full, and its kernel says so: gRPC's own time-out, 20 s, would count that as silence."""
    nats.publish(payloads(0, 200_000))
    with Serve("--nats", nats.url, "--store", tmp_path / "store") as serve:
        url = serve.wait_until_ready()
        until(lambda: offset(url) == 200_000)
        with Proxy(port_of(url)) as proxy:
            reader = flight.connect(f"grpc://127.0.0.1:{proxy.port}").do_get(flight.Ticket(b"events:*"))
            for one in proxy._pairs:  # a buffer that does not grow is smaller than what gRPC sends unasked
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            rows = sum(reader.read_chunk().data.num_rows for _ in range(5))
            proxy.frozen.set()
            until(lambda: unsent(url) > 0)
            time.sleep(23)
            assert unsent(url) > 0
            proxy.frozen.clear()
            assert rows + sum(chunk.data.num_rows for chunk in reader) == 200_000


def unsent(url: str) -> int:
    """Bytes in the server's kernel that no client has taken."""
    shown = subprocess.run(
        ["ss", "-tnH", "state", "established", f"sport = :{port_of(url)}"], check=True, capture_output=True, text=True
    ).stdout
    return max(int(line.split()[1]) for line in shown.splitlines())


def test_one_follower_too_many_is_told_that_the_server_is_busy(tmp_path: Path, nats: NatsServer) -> None:
    with Serve("--nats", nats.url, "--store", tmp_path / "store", "--max-streams", "1") as serve:
        url = serve.wait_until_ready()
        nats.publish(payloads(0, 2_000))
        with following(url) as first, EventClient(url) as client:
            until(lambda: len(first.ids) == 2_000)
            with pytest.raises(ServerUnavailable) as caught:
                client.read("*")
            assert str(caught.value) == (
                f"the server at {url} is busy: 1 stream is open, as many as it serves at once; close one, try again "
                "later, or start it with a larger --max-streams"
            )
            assert "is busy: 1 stream is open" in run("stream", "Order", "--url", url, code=1)
        until(lambda: streams(url) == 0)
        assert_history(url, 2_000)
    said = run("serve", "--max-streams", "20000", "--nats", nats.url, "--store", tmp_path / "store", code=2)
    assert "max_streams is 20000: it must be a whole number from 1 to 10000" in said


def test_a_follower_that_comes_back_to_a_busy_server_waits_for_room(tmp_path: Path, nats: NatsServer) -> None:
    arguments = ("--nats", nats.url, "--store", tmp_path / "store", "--max-streams", "1")
    nats.publish(payloads(0, 2_000))
    with ExitStack() as stack:
        serve = stack.enter_context(Serve(*arguments))
        proxy = stack.enter_context(Proxy(port_of(serve.wait_until_ready())))
        follower = stack.enter_context(following(f"grpc://127.0.0.1:{proxy.port}"))
        until(lambda: len(follower.ids) == 2_000)
        serve.kill()
        serve = stack.enter_context(Serve(*arguments))
        url = serve.wait_until_ready()
        with following(url) as other:
            until(lambda: len(other.ids) == 2_000)
            proxy.retarget(port_of(url))
            nats.publish(payloads(2_000, 4_000))
            until(lambda: len(other.ids) == 4_000)
            time.sleep(3)
            assert follower.ids == list(range(2_000))
            assert follower.error is None
        until(lambda: len(follower.ids) == 4_000)
        assert follower.ids == list(range(4_000))


def test_a_batch_answer_and_a_follow_go_on_after_a_kill_of_their_server(tmp_path: Path, nats: NatsServer) -> None:
    arguments = ("--nats", nats.url, "--store", tmp_path / "store")
    nats.publish(payloads(0, 300_000))
    with ExitStack() as stack:
        serve = stack.enter_context(Serve(*arguments))
        url = serve.wait_until_ready()
        until(lambda: offset(url) == 300_000)
        follower = stack.enter_context(following(url))
        ids: list[int] = []
        batch = EventClient(url).stream("*")
        for frame in batch:
            ids += map(int, frame["event_id"])
            if batch.reconnects == 0 and len(ids) >= 20_000 and serve.process.poll() is None:
                serve.kill()
                stack.enter_context(Serve(*arguments, listen=url.removeprefix("grpc://"))).wait_until_ready()
        until(lambda: len(follower.ids) >= 300_000)
        assert ids == follower.ids == list(range(300_000))
        assert batch.reconnects >= 1
        assert follower.stream.reconnects == 1
        assert_history(url, 300_000)
