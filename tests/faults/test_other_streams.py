"""A stream that is not the one that was read: made anew, emptied, or short of its tail with sequences used again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraiseql_events import EventClient, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.faults.nats import STREAM, NatsServer
from tests.following import events, following
from tests.processes import Serve, run
from tests.waiting import until

ACCEPT = "--accept-stream"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def serving(nats: NatsServer, tmp_path: Path, *more: str) -> Serve:
    return Serve("--nats", nats.url, "--store", tmp_path / "store", "--commit-seconds", "0.2", *more)


def ids(url: str) -> list[int]:
    with EventClient(url) as client:
        return [int(text) for text in client.read("*")["event_id"]]


def delete_stream(nats: NatsServer) -> None:
    nats.manage(lambda js: js.delete_stream(STREAM))


def lose_tail(nats: NatsServer, tmp_path: Path) -> None:
    """Ten messages of which the last four are lost; their sequences are given to others."""
    nats.publish(events(0, 6))
    nats.stop()
    nats.copy("early")
    nats.start()
    nats.publish(events(6, 10))


def test_a_stream_made_anew_under_a_bridge_ends_it_with_what_to_do(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["committed"] == 10)
        delete_stream(nats)
        nats.publish(events(10, 15))
        server.process.wait(20)
        assert server.process.returncode == 1
        assert server.process.stderr is not None
        said = server.process.stderr.read()
    assert re.search("is not the one that this history was read from: it (no longer exists|was created at)", said)
    assert "go on with what it has stored since 20" in said
    assert "--accept-stream" in said
    assert "Traceback" not in said


def test_a_stream_made_anew_is_gone_on_with_when_that_is_wanted(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish([*events(0, 10), b"bad 1"])
    with serving(nats, tmp_path, ACCEPT) as server:
        url = server.wait_until_ready()
        with following(url) as follower:
            until(lambda: server.status(url)["committed"] == 10)
            delete_stream(nats)
            nats.publish([*events(10, 15), b"bad 2"])
            until(lambda: server.status(url)["committed"] == 15)
            assert follower.ids == list(range(15))
            status = server.status(url)
            assert (status["stream_seq"], status["stream_epoch"], status["missed"]) == (6, 1, 0)
            assert status["state"] == "live"
    with serving(nats, tmp_path) as server:  # it is the known one now
        url = server.wait_until_ready()
        assert ids(url) == list(range(15))
        with EventClient(url) as client:
            assert [letter["payload"] for letter in client.dead_letters()] == ["bad 1", "bad 2"]


def test_a_lost_tail_is_told_and_its_sequences_are_not_skipped(nats: NatsServer, tmp_path: Path) -> None:
    lose_tail(nats, tmp_path)
    store = ["--nats", nats.url, "--store", str(tmp_path / "store")]
    assert json.loads(run("ingest", *store))["events"] == 10
    nats.stop()
    nats.forget("early")
    nats.start()
    assert "it ends at sequence 6, and 10 has been read: it lost the last 4" in run("ingest", *store, code=1)
    nats.publish(events(10, 22))
    assert "its message 10 is not the one that was read" in run("ingest", *store, code=1)
    assert json.loads(run("ingest", *store, ACCEPT))["events"] == 12
    assert json.loads(run("ingest", *store))["events"] == 0
    with serving(nats, tmp_path) as server:
        assert ids(server.wait_until_ready()) == list(range(22))


def test_a_tail_lost_under_a_bridge_is_gone_on_behind(nats: NatsServer, tmp_path: Path) -> None:
    lose_tail(nats, tmp_path)
    with serving(nats, tmp_path, ACCEPT) as server:
        url = server.wait_until_ready()
        with following(url) as follower:
            until(lambda: len(follower.ids) == 10)
            for first in (10, 30):
                nats.stop()
                nats.forget("early")
                nats.start()
                nats.publish([b"bad", *events(first, first + 20)])
                until(lambda: len(follower.ids) == first + 20)  # noqa: B023
            assert follower.ids == list(range(50))
            assert server.status(url)["stream_epoch"] == 2
            assert server.status(url)["dead_letters"] == 2
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        assert ids(url) == list(range(50))
        with EventClient(url) as client:
            assert [letter["sequence"] for letter in client.dead_letters()] == [7, 7]


def test_a_server_that_comes_back_without_its_data(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    with serving(nats, tmp_path, ACCEPT) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["committed"] == 10)
        nats.kill()
        nats.forget()
        nats.start()
        until(lambda: "no longer exists: waiting" in str(server.status(url)["reason"]))
        assert server.status(url)["state"] == "stalled"
        nats.publish(events(10, 20))  # it makes the stream
        until(lambda: server.status(url)["committed"] == 20)
        assert ids(url) == list(range(20))
    nats.stop()
    nats.forget()
    nats.start()
    store = ["--nats", nats.url, "--store", str(tmp_path / "store")]
    assert "it no longer exists" in run("ingest", *store, code=1)


def test_what_a_lost_stream_held_unread_is_counted(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    with serving(nats, tmp_path, ACCEPT) as server:
        url = server.wait_until_ready()
        until(lambda: server.status(url)["committed"] == 10)
        nats.pause_consumers()
        nats.publish(events(10, 30))
        until(lambda: server.status(url)["stream_last_seq"] == 30)
        delete_stream(nats)
        nats.publish(events(30, 35))
        until(lambda: server.status(url)["committed"] == 15)
        assert server.status(url)["missed"] == 20
        assert ids(url) == [*range(10), *range(30, 35)]


def test_a_stream_that_is_made_anew_again_before_it_was_read_is_told_too(nats: NatsServer, tmp_path: Path) -> None:
    nats.publish(events(0, 10))
    store = ["--nats", nats.url, "--store", str(tmp_path / "store")]
    run("ingest", *store)
    for accept, code in ((ACCEPT, 0), (None, 1)):
        delete_stream(nats)
        nats.manage(lambda js: js.add_stream(name=STREAM, subjects=["entity.change.>"]))
        said = run("ingest", *store, *([accept] if accept else []), code=code)
        assert code == 0 or "it was created at" in said


def test_a_history_that_has_read_nothing_takes_any_stream(nats: NatsServer, tmp_path: Path) -> None:
    with serving(nats, tmp_path) as server:
        url = server.wait_until_ready()
        delete_stream(nats)
        nats.publish(events(0, 5))
        until(lambda: server.status(url)["committed"] == 5)
        assert ids(url) == list(range(5))


def test_an_embedded_server_whose_files_are_gone_is_gone_on_with(tmp_path: Path) -> None:
    for first in (0, 10, 20):
        with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
            payloads = events(first, first + 10)
            publish([("entity.change.Order.x", payload) for payload in payloads], StreamOptions(nats=service.nats_url))
            until(lambda: service.status()["offset"] == first + 10)  # noqa: B023
            assert service.url is not None
            assert ids(service.url) == list(range(first + 10))
        shutil.rmtree(tmp_path / "nats")
