"""Disks that are full, read-only or slow, files that are damaged, and a second writer: nothing is lost or doubled."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraiseql_events import EventClient, NatsUnavailable, ServerError
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.faults.clients import assert_history, offset, payloads
from tests.faults.disks import read_only, small_disk
from tests.faults.nats import NatsServer
from tests.following import events, following
from tests.processes import Serve, peak_memory, run
from tests.waiting import until


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def status(url: str) -> dict[str, Any]:
    with EventClient(url) as client:
        return client.status()


def arguments(nats: NatsServer, store: Path, *, commit: int = 5_000, seconds: float = 0.3) -> tuple[str | Path, ...]:
    return ("--nats", nats.url, "--store", store, "--commit-events", str(commit), "--commit-seconds", str(seconds))


def is_stalled(url: str, *words: str) -> bool:
    found = status(url)
    return found["state"] == "stalled" and all(word in found["reason"] for word in words)


def test_a_full_disk_holds_the_bridge_back_and_it_goes_on_when_there_is_room(tmp_path: Path, nats: NatsServer) -> None:
    with (
        small_disk(tmp_path / "disk") as disk,
        Serve(*arguments(nats, disk.folder / "store")) as serve,
        following(serve.wait_until_ready()) as follower,
    ):
        url = follower.client.url
        nats.publish(payloads(0, 10_000))
        until(lambda: status(url)["committed"] == 10_000)
        disk.fill()
        nats.publish(payloads(10_000, 12_000))
        until(lambda: is_stalled(url, str(disk.folder), "No space left on device"))
        until(lambda: len(follower.ids) == 12_000)
        peak = peak_memory(serve.process.pid)
        nats.publish(payloads(12_000, 300_000))
        time.sleep(3)
        held = status(url)
        assert held["committed"] == 10_000
        assert held["offset"] <= 50_000
        assert peak_memory(serve.process.pid) < peak + (64 << 20)
        until(lambda: len(follower.ids) == held["offset"])
        disk.make_room()
        until(lambda: status(url)["committed"] == 300_000, 60)
        assert status(url)["last_error"] is None
        until(lambda: len(follower.ids) == 300_000)
        assert follower.ids == list(range(300_000))
        assert_history(url, 300_000)


@pytest.mark.parametrize("old", [False, True], ids=["new store", "old store"])
def test_a_disk_that_is_full_at_the_start_is_said(tmp_path: Path, old: bool) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = disk.folder / "store"
        if old:
            with Serve("--embedded", "--store", store) as serve:
                serve.wait_until_ready()
        disk.fill()
        said = run("serve", "--embedded", "--store", store, "--listen", "127.0.0.1:0", code=1)
        reason = (
            f"the embedded NATS server cannot start: the disk of {store}/nats is full"
            if old
            else f"the table {store}/events cannot be opened: No space left on device"
        )
        assert said == f"fraiseql-events: {reason}\n"


def test_an_embedded_nats_server_goes_on_after_its_disk_was_full(tmp_path: Path) -> None:
    """nats-server would refuse every message until it is started again, and so it is started again."""
    with (
        small_disk(tmp_path / "disk", 48) as disk,
        Serve("--embedded", "--store", disk.folder / "store", "--commit-seconds", "0.3") as serve,
    ):
        url = serve.wait_until_ready()
        target = StreamOptions(nats=status(url)["nats"])
        publish([("entity.change.x.y", one) for one in payloads(0, 10_000)], target)
        until(lambda: status(url)["committed"] == 10_000)
        disk.fill()
        with pytest.raises(NatsUnavailable, match="nothing was acknowledged for 15 seconds"):
            publish([("entity.change.x.y", one) for one in payloads(10_000, 12_000)], target)
        assert is_stalled(url, "the embedded NATS server takes no messages", str(disk.folder), "is full")
        disk.make_room()
        until(lambda: status(url)["last_error"] is None)
        kept = offset(url)
        publish([("entity.change.x.y", one) for one in payloads(kept, 20_000)], target)
        until(lambda: status(url)["committed"] == 20_000)
        assert_history(url, 20_000)


def test_a_store_that_becomes_read_only_stalls_until_it_can_be_written(tmp_path: Path, nats: NatsServer) -> None:
    store = tmp_path / "store"
    with Serve(*arguments(nats, store)) as serve, following(serve.wait_until_ready()) as follower:
        url = follower.client.url
        nats.publish(payloads(0, 10_000))
        until(lambda: status(url)["committed"] == 10_000)
        with read_only(store / "events"):
            nats.publish(payloads(10_000, 20_000))
            until(lambda: is_stalled(url, str(store), "Read-only file system"))
            until(lambda: len(follower.ids) >= 12_000)
            assert status(url)["committed"] == 10_000
        until(lambda: status(url)["committed"] == 20_000)
        until(lambda: len(follower.ids) == 20_000)
        assert follower.ids == list(range(20_000))
        assert_history(url, 20_000)
    with read_only(store):
        said = run("serve", *arguments(nats, store), "--listen", "127.0.0.1:0", code=1)
    assert said == f"fraiseql-events: the store {store} cannot be opened: Read-only file system\n"


SLOW = """
import os, time
whole = os.fsync
def slow(handle):
    if os.path.exists(os.environ["SLOW_DISK"]):
        time.sleep(1.5)
    whole(handle)
os.fsync = slow
"""


def test_a_slow_disk_does_not_keep_events_from_followers(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW)
    flag = tmp_path / "slow" / "flag"
    monkeypatch.setenv("SLOW_DISK", str(flag))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "slow"), str(Path.cwd())]))
    with Serve(*arguments(nats, tmp_path / "store")) as serve, following(serve.wait_until_ready()) as follower:
        url = follower.client.url
        nats.publish(events(0, 100))
        until(lambda: status(url)["committed"] == 100)
        flag.touch()
        delays, behind = [], 0
        for number in range(100, 160):
            nats.publish(events(number, number + 1))
            sent = time.monotonic()
            until(lambda: len(follower.ids) == number + 1)  # noqa: B023
            delays.append(time.monotonic() - sent)
            found = status(url)
            assert found["state"] == "live"
            behind = max(behind, found["offset"] - found["committed"])
            time.sleep(0.2)
        assert sorted(delays)[len(delays) // 2] < 0.2, "an event waits for a commit"
        assert behind >= 20, "the disk was not slow"
        flag.unlink()
        until(lambda: status(url)["committed"] == 160)
        assert follower.ids == list(range(160))
        assert_history(url, 160)


@pytest.fixture
def killed(tmp_path: Path, nats: NatsServer) -> Path:
    """The store of a server that was killed after more than a hundred commits, a checkpoint among them."""
    store = tmp_path / "store"
    serve = Serve(*arguments(nats, store, commit=1))
    url = serve.wait_until_ready()
    for number in range(106):
        nats.publish(events(number, number + 1))
        until(lambda: status(url)["committed"] == number + 1)  # noqa: B023
    log = store / "events" / "_delta_log"
    until(lambda: (log / "_last_checkpoint").exists())
    serve.kill()
    return store


def test_whatever_a_power_cut_tore_is_read_again_or_not_needed(tmp_path: Path, nats: NatsServer, killed: Path) -> None:
    log = "events/_delta_log"
    for number, (name, left) in enumerate(
        [("0*.json", 0.0), ("0*.json", 0.5), ("*.checkpoint.parquet", 0.0), ("*.checkpoint.parquet", 0.7),
         ("_last_checkpoint", 0.0), ("_last_checkpoint", 0.5)]
    ):  # fmt: skip
        store = tmp_path / f"torn-{number}"
        shutil.copytree(killed, store)
        torn = max((store / log).glob(name))
        torn.write_bytes(torn.read_bytes()[: int(torn.stat().st_size * left)])
        half = store / "events" / "entity_type=Order" / "part-half.parquet"
        half.write_bytes(b"PAR1 and no more")
        with Serve(*arguments(nats, store)) as serve:
            url = serve.wait_until_ready()
            until(lambda: status(url)["committed"] == 106)  # noqa: B023
            assert_history(url, 106)


@pytest.mark.parametrize("how", ["flipped", "truncated", "removed"])
def test_a_damaged_file_is_said_and_all_others_are_read(tmp_path: Path, nats: NatsServer, how: str) -> None:
    store = tmp_path / "store"
    with Serve(*arguments(nats, store, commit=1000, seconds=60)) as serve:
        url = serve.wait_until_ready()
        for first in range(0, 3_000, 1_000):
            nats.publish(events(first, first + 1_000))
            until(lambda: status(url)["committed"] == first + 1_000)  # noqa: B023
        assert serve.end() == 0
    damaged = sorted((store / "events" / "entity_type=Order").glob("*.parquet"))[1]
    whole = damaged.read_bytes()
    middle = len(whole) // 3
    flipped = whole[:middle] + bytes(byte ^ 0xFF for byte in whole[middle : middle + 8]) + whole[middle + 8 :]
    damaged.write_bytes(flipped if how == "flipped" else whole[:middle])
    if how == "removed":
        damaged.unlink()
    with Serve(*arguments(nats, store, commit=1000)) as serve, EventClient(serve.wait_until_ready()) as client:
        url = client.url
        with pytest.raises(ServerError) as caught:
            client.read("*")
        assert str(caught.value) == (
            f"the server at {url} answered: a file of the history cannot be read; the server's log says which and why"
        )
        ids = client.read("*", limit=1_000)["event_id"].to_list()
        assert ids == [str(number) for number in range(1_000)]
        nats.publish(events(3_000, 4_000))
        until(lambda: status(url)["committed"] == 4_000)
        ids = client.read("*", after_offset=1_999)["event_id"].to_list()
        assert ids == [str(number) for number in range(2_000, 4_000)]
        serve.process.terminate()
        said = serve.process.communicate(timeout=15)[1]
    assert f"{damaged.name} in {store}/events cannot be read: " in said
    assert "Traceback" not in said


def test_a_second_server_on_a_store_is_refused_by_whatever_path_and_starts_after_a_kill(
    tmp_path: Path, nats: NatsServer
) -> None:
    store = tmp_path / "store"
    (tmp_path / "link").symlink_to(store)
    nats.publish(payloads(0, 2_000))
    with Serve(*arguments(nats, store)) as first:
        url = first.wait_until_ready()
        for path in (store, tmp_path / "link", Path(os.path.relpath(store))):
            said = run("serve", *arguments(nats, path), "--listen", "127.0.0.1:0", code=1)
            assert f"the store {path} is in use by process {first.process.pid} on " in said
            assert len(said.splitlines()) == 1
        nats.publish(payloads(2_000, 4_000))
        until(lambda: status(url)["committed"] == 4_000)
        assert status(url)["last_error"] is None
        first.kill()
        started = time.monotonic()
        with Serve(*arguments(nats, tmp_path / "link")) as second:
            url = second.wait_until_ready()
            assert time.monotonic() - started < 10
            nats.publish(payloads(4_000, 6_000))
            until(lambda: status(url)["committed"] == 6_000)
            assert_history(url, 6_000)
