"""What goes wrong with NATS, on real processes: each fault is lived through, and the history is exact after it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nats.js.errors
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from fraiseql_events import EventClient
from tests.faults.nats import STREAM, NatsServer
from tests.faults.traffic import Traffic
from tests.following import events, following
from tests.processes import Serve, run
from tests.proxy import Proxy
from tests.waiting import until

WELL = ("live", "quiet")
Status = dict[str, Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def proxy(server: NatsServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


class Served:
    """`fraiseql-events serve` on a store, and a client of it."""

    def __init__(self, port: int, store: Path) -> None:
        self.process = Serve("--nats", f"nats://127.0.0.1:{port}", "--store", store, "--commit-seconds", "0.2")
        self.url = self.process.wait_until_ready()
        self.client = EventClient(self.url)

    @property
    def status(self) -> Status:
        return self.client.status()

    @property
    def offset(self) -> int:
        return int(self.status["offset"])

    def ids(self) -> list[int]:
        return [int(text) for text in self.client.read("*", columns=["event_id"])["event_id"]]


@contextlib.contextmanager
def served(port: int, store: Path) -> Iterator[Served]:
    served = Served(port, store)
    with served.process, served.client:
        yield served


def audit(served: Served, expected: Iterable[int], *, missed: int = 0) -> None:
    """Every event once and in order, in the history; what was lost is counted, and all is well."""
    ids = list(expected)
    until(lambda: served.status["committed"] >= len(ids))
    until(lambda: served.status["state"] in WELL and served.status["lag"] == 0)
    until(lambda: served.status["missed"] >= missed)
    assert served.ids() == ids
    status = served.status
    assert (status["offset"], status["missed"], status["dead_letters"]) == (len(ids), missed, 0)


def stalls(served: Served, reason: str, *, lasting: float = 0) -> None:
    """Within 15 seconds status says so, and why; and says it for as long as it lasts."""
    until(lambda: served.status["state"] == "stalled", 15)
    assert re.search(reason, served.status["reason"]), served.status["reason"]
    deadline = time.monotonic() + lasting
    while True:
        status = served.status
        assert status["state"] == "stalled", status
        assert status["reason"] == status["last_error"]
        assert status["last_message_age_seconds"] > 0
        if time.monotonic() >= deadline:
            return
        time.sleep(0.1)


def consumer_of(server: NatsServer) -> str:
    """The name of the bridge's consumer."""
    (found,) = server.manage(lambda js: js.consumers_info(STREAM))
    assert found.name.startswith("fraiseql-events-")
    return str(found.name)


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill -9"])
def test_a_server_that_restarts_in_the_midst_of_traffic_costs_nothing(
    server: NatsServer, tmp_path: Path, end: Callable[[NatsServer], None]
) -> None:
    with (
        served(server.port, tmp_path / "store") as bridge,
        Traffic(server) as traffic,
        following(bridge.url) as follower,
    ):
        for round_ in range(3):
            until(lambda: bridge.offset > round_ * 400 + 200)  # noqa: B023
            end(server)
            stalls(bridge, "NATS server does not answer|Server Shutdown")
            server.start()
        until(lambda: bridge.offset > 1400)
        count = traffic.end()
        audit(bridge, range(count))
        until(lambda: len(follower.ids) >= count)
        assert follower.ids == list(range(count))
        assert follower.stream.reconnects == 0


def delete_consumer(server: NatsServer, name: str) -> bool:
    """Whether it was there: it may not have been made anew yet."""
    try:
        server.manage(lambda js: js.delete_consumer(STREAM, name))
    except nats.js.errors.NotFoundError:
        return False
    return True


def test_a_consumer_that_is_deleted_in_mid_read_is_made_anew(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge, Traffic(server) as traffic:
        name = consumer_of(server)
        for round_ in range(5):
            until(lambda: bridge.offset > round_ * 100 and delete_consumer(server, name))  # noqa: B023
        until(lambda: bridge.offset > 600)
        audit(bridge, range(traffic.end()))
        assert consumer_of(server) == name


def usurp(server: NatsServer, name: str) -> bool:
    """Puts another consumer, which sends all messages again and again, in the place of one; False: ours was quicker."""
    config = ConsumerConfig(
        name=name, deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT, ack_wait=0.2, max_ack_pending=50
    )

    async def replace(js: Any) -> bool:
        with contextlib.suppress(APIError):
            await js.delete_consumer(STREAM, name)
        try:
            await js.add_consumer(STREAM, config)
        except APIError:
            return False
        return True

    return bool(server.manage(replace))


def test_a_consumer_that_is_replaced_again_and_again_doubles_nothing(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge, Traffic(server) as traffic:
        name = consumer_of(server)
        until(lambda: bridge.offset > 100)
        assert sum(usurp(server, name) for _ in range(60)) > 20
        reached = bridge.offset
        until(lambda: bridge.offset > reached + 300)
        audit(bridge, range(traffic.end()))
        info = server.manage(lambda js: js.consumer_info(STREAM, name))
        assert info.config.ack_policy == AckPolicy.NONE


def test_a_consumer_that_is_replaced_while_the_program_sleeps_doubles_nothing(
    server: NatsServer, tmp_path: Path
) -> None:
    server.publish(events(0, 500))
    with served(server.port, tmp_path / "store") as bridge:
        name = consumer_of(server)
        until(lambda: bridge.offset == 500)
        os.kill(bridge.process.process.pid, signal.SIGSTOP)
        until(lambda: server.manage(lambda js: js.consumer_info(STREAM, name)).num_waiting == 0)
        assert usurp(server, name)
        os.kill(bridge.process.process.pid, signal.SIGCONT)
        server.publish(events(500, 600))
        audit(bridge, range(600))


def test_a_consumer_that_is_paused_is_made_anew(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge:
        name = consumer_of(server)
        server.publish(events(0, 10))
        until(lambda: bridge.offset == 10)
        server.manage(lambda js: js.pause_consumer(STREAM, name, "2126-01-01T00:00:00Z"))
        server.publish(events(10, 20))
        audit(bridge, range(20))


def test_a_connection_that_hangs_is_said_to_stall_and_then_goes_on(
    server: NatsServer, proxy: Proxy, tmp_path: Path
) -> None:
    server.publish(events(0, 100))
    with served(proxy.port, tmp_path / "store") as bridge, following(bridge.url) as follower:
        until(lambda: bridge.offset == 100)
        proxy.frozen.set()
        began = time.monotonic()
        server.publish(events(100, 200))
        stalls(bridge, "NATS server")
        stalls(bridge, "NATS server", lasting=began + 20 - time.monotonic())
        proxy.frozen.clear()
        server.publish(events(200, 300))
        audit(bridge, range(300))
        until(lambda: len(follower.ids) >= 300)
        assert follower.ids == list(range(300))


def test_a_server_that_hangs_is_said_to_stall_and_then_goes_on(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge, Traffic(server) as traffic:
        until(lambda: bridge.offset > 100)
        server.freeze()
        stalls(bridge, "NATS server", lasting=3)
        server.thaw()
        reached = bridge.offset
        until(lambda: bridge.offset > reached + 100)
        audit(bridge, range(traffic.end()))


def test_a_connection_that_died_without_a_word_is_left_for_a_new_one(
    server: NatsServer, proxy: Proxy, tmp_path: Path
) -> None:
    server.publish(events(0, 100))
    with served(proxy.port, tmp_path / "store") as bridge:
        until(lambda: bridge.offset == 100)
        proxy.deaden()
        server.publish(events(100, 200))
        stalls(bridge, "NATS server")
        audit(bridge, range(200))


def test_messages_that_are_purged_unread_are_missed(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge:
        server.publish(events(0, 100))
        audit(bridge, range(100))
        server.manage(lambda js: js.purge_stream(STREAM))
        server.publish(events(100, 110))
        audit(bridge, range(110))  # those had been read
    server.publish(events(110, 200))
    server.manage(lambda js: js.purge_stream(STREAM, keep=30))
    with served(server.port, tmp_path / "store") as bridge:
        audit(bridge, [*range(110), *range(170, 200)], missed=60)
    server.publish(events(200, 210))
    server.manage(lambda js: js.purge_stream(STREAM))
    for _ in range(2):
        with served(server.port, tmp_path / "store") as bridge:
            assert bridge.status["missed"] == 70, "nothing comes that could tell of it"
    server.publish(events(210, 220))
    for _ in range(2):
        with served(server.port, tmp_path / "store") as bridge:
            audit(bridge, [*range(110), *range(170, 200), *range(210, 220)], missed=70)


def test_messages_that_go_before_the_first_is_read_are_missed_once_the_stream_is_served(
    server: NatsServer, proxy: Proxy, tmp_path: Path
) -> None:
    with served(proxy.port, tmp_path / "store") as bridge:
        proxy.frozen.set()
        time.sleep(0.2)  # until the proxy has seen it
        proxy.cut()
        server.publish(events(0, 100))
        server.manage(lambda js: js.purge_stream(STREAM, keep=10))
        proxy.frozen.clear()
        audit(bridge, range(90, 100), missed=90)
    with served(proxy.port, tmp_path / "store") as bridge:
        audit(bridge, range(90, 100), missed=90)


def test_messages_that_age_out_unread_are_missed(server: NatsServer, tmp_path: Path) -> None:
    server.manage(lambda js: js.add_stream(name=STREAM, subjects=["entity.change.>"], max_age=1))
    with served(server.port, tmp_path / "store") as bridge:
        server.publish(events(0, 20))
        audit(bridge, range(20))
    server.publish(events(20, 60))
    until(lambda: server.manage(lambda js: js.stream_info(STREAM)).state.messages == 0)
    for first in (60, 70):
        with served(server.port, tmp_path / "store") as bridge:
            assert bridge.status["missed"] == 40
            server.publish(events(first, first + 10))
            audit(bridge, [*range(20), *range(60, first + 10)], missed=40)
            until(lambda: server.manage(lambda js: js.stream_info(STREAM)).state.messages == 0)
            assert bridge.status["missed"] == 40, "those had been read"


def test_messages_that_are_discarded_while_the_bridge_is_held_up_are_missed(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", sync="1m") as server, Proxy(server.port) as proxy:
        server.manage(lambda js: js.add_stream(name=STREAM, subjects=["entity.change.>"], max_msgs=500))
        with served(proxy.port, tmp_path / "store") as bridge:
            server.publish(events(0, 100))
            audit(bridge, range(100))
            proxy.frozen.set()
            time.sleep(0.2)  # until the proxy has seen it
            server.publish(events(100, 40_000))  # more than the pulls that are under way ask for
            proxy.frozen.clear()
            until(lambda: bridge.status["stream_seq"] == 40_000)
            ids = bridge.ids()
            assert ids == sorted(set(ids))
            assert ids[:100] == list(range(100))
            assert ids[-500:] == list(range(39_500, 40_000))
            assert len(ids) < 39_000, "nothing was discarded unread"
            audit(bridge, ids, missed=40_000 - len(ids))
        with served(proxy.port, tmp_path / "store") as bridge:
            audit(bridge, ids, missed=40_000 - len(ids))


def delete(server: NatsServer, *ids: int) -> None:
    """Deletes events of a stream that holds all from 0 on."""

    async def run(js: Any) -> None:
        for number in ids:
            await js.delete_msg(STREAM, number + 1)

    server.manage(run)


def test_messages_that_were_deleted_from_the_middle_are_missed_when_they_were_unread(
    server: NatsServer, tmp_path: Path
) -> None:
    server.publish(events(0, 100))
    delete(server, 0, 10, 11, 50, 98, 99)
    before = sorted(set(range(98)) - {0, 10, 11, 50})
    with served(server.port, tmp_path / "store") as bridge:
        audit(bridge, before)
        delete(server, 20)
        server.publish(events(100, 110))
        audit(bridge, [*before, *range(100, 110)])
    server.publish(events(110, 200))
    delete(server, 30, 105, 110, 150, 151, 198, 199)
    after = sorted({*before, *range(100, 198)} - {110, 150, 151})
    for _ in range(2):
        with served(server.port, tmp_path / "store") as bridge:
            audit(bridge, after, missed=5)
    server.publish(events(200, 210))
    with served(server.port, tmp_path / "store") as bridge:
        audit(bridge, [*after, *range(200, 210)], missed=5)


def test_without_a_server_there_is_one_sentence(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        server.kill()
        said = run("serve", "--nats", server.url, "--store", tmp_path / "store", "--listen", "127.0.0.1:0", code=1)
    assert re.fullmatch(r"fraiseql-events: no NATS server answers at nats://127.0.0.1:\d+ \(.*\): .*\n", said)


def test_a_server_that_is_away_for_long_is_waited_for(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge, following(bridge.url) as follower:
        server.publish(events(0, 10))
        audit(bridge, range(10))
        server.kill()
        stalls(bridge, "the NATS server does not answer", lasting=5)
        server.start()
        server.publish(events(10, 20))
        audit(bridge, range(20))
        until(lambda: len(follower.ids) >= 20)
        assert follower.ids == list(range(20))


def test_a_jetstream_that_goes_while_its_server_stays_is_waited_for(server: NatsServer, tmp_path: Path) -> None:
    with served(server.port, tmp_path / "store") as bridge:
        server.publish(events(0, 10))
        audit(bridge, range(10))
        server.allow_jetstream(False)
        until(lambda: "JetStream not enabled for account" in (bridge.status["reason"] or ""), 15)
        stalls(bridge, "JetStream not enabled for account", lasting=2)
        server.allow_jetstream(True)
        until(lambda: bridge.status["state"] in WELL)
        server.publish(events(10, 20))
        audit(bridge, range(20))
        bridge.process.end()
    assert 1 <= bridge.process.said.count("reading goes on") <= 2, "it is said at every try"
