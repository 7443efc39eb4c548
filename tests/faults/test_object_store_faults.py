"""An object store that hangs: the rest of the process goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fraiseql_events import EventClient
from tests.faults.nats import NatsServer
from tests.following import events, following
from tests.log.test_object_store import bucket  # noqa: F401  (a fixture)
from tests.processes import Serve
from tests.waiting import until


@pytest.fixture
def store_server(bucket: str) -> Iterator[psutil.Process]:  # noqa: F811
    """The process that holds the bucket `s3://bucket/shop`."""
    (server,) = [child for child in psutil.Process().children() if "moto.server" in " ".join(child.cmdline())]
    yield server
    server.send_signal(signal.SIGCONT)


def test_a_store_that_hangs_for_long_holds_up_commits_alone(store_server: psutil.Process, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        nats.publish(events(0, 100))
        with Serve("--nats", nats.url, "--store", "s3://bucket/shop", "--commit-seconds", "0.2") as server:
            url = server.wait_until_ready()
            until(lambda: server.status(url)["committed"] == 100)
            with following(url) as follower:
                until(lambda: len(follower.ids) == 100)
                store_server.suspend()
                began = time.monotonic()
                for number in range(100, 160):
                    nats.publish(events(number, number + 1))
                    until(lambda: len(follower.ids) == number + 1, 5)  # noqa: B023
                    time.sleep(0.1)
                until(lambda: server.status(url)["state"] == "stalled", 20)
                assert "the store has been busy with one commit for" in server.status(url)["reason"]
                until(lambda: time.monotonic() - began > 20)
                store_server.resume()
                until(lambda: server.status(url)["committed"] == 160)
                until(lambda: server.status(url)["state"] == "live")
                assert follower.ids == list(range(160))
                assert follower.stream.reconnects == 0


def test_a_store_that_hangs_does_not_keep_serve_from_ending(store_server: psutil.Process, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        server = Serve("--nats", nats.url, "--store", "s3://bucket/shop", "--commit-seconds", "0.2")
        url = server.wait_until_ready()
        nats.publish(events(0, 100))
        until(lambda: server.status(url)["committed"] == 100)
        store_server.suspend()
        nats.publish(events(100, 200))
        until(lambda: server.status(url)["offset"] == 200)
        time.sleep(1)
        os.kill(server.process.pid, signal.SIGTERM)
        _, said = server.process.communicate(timeout=10)
        assert server.process.returncode == 1
        assert "the store does not answer" in said
        store_server.resume()
        with Serve("--nats", nats.url, "--store", "s3://bucket/shop") as server:
            url = server.wait_until_ready()
            until(lambda: server.status(url)["offset"] == 200)
            with EventClient(url) as client:
                assert client.read("*")["event_id"].to_list() == [str(number) for number in range(200)]
