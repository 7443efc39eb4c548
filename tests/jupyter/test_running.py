"""The service of a kernel: where it answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from fraiseql_events import EventClient, InvalidArgument, ServiceError
from fraiseql_events.jupyter import running
from fraiseql_events.jupyter.running import Running, Wanted
from tests.waiting import lives, until


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address where a notebook serves if nobody else does: one that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(running, "DEFAULT_LISTEN", address)
    return address


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_two_notebooks_that_serve_at_the_same_moment_both_do(tmp_path: Path, usual: str, beside: bool) -> None:
    pool_before = pa.default_memory_pool()
    with ThreadPoolExecutor(2) as pool:
        stores = [str(tmp_path / name) for name in ("one", "other")]
        started = list(pool.map(lambda store: Running(Wanted(store=store, beside=beside)), stores))
    try:
        urls = {each.url for each in started}
        assert len(urls) == 2
        assert f"grpc://{usual}" in urls
    finally:
        for each in started:
            each.close()
        pa.set_memory_pool(pool_before)


def test_an_address_that_was_named_is_not_changed(tmp_path: Path, usual: str) -> None:
    with (
        socket.create_server(("127.0.0.1", int(usual.rpartition(":")[2]))),
        pytest.raises(ServiceError, match="taken|in use"),
    ):
        Running(Wanted(store=str(tmp_path), listen=usual))


def test_the_usual_address_is_free_again_at_once_after_clients_have_used_it(tmp_path: Path, usual: str) -> None:
    pool_before = pa.default_memory_pool()
    for _ in range(2):
        with Running(Wanted(store=str(tmp_path))) as service:
            assert service.url == f"grpc://{usual}"
            assert EventClient(service.url).entities() == {}
    pa.set_memory_pool(pool_before)


def test_a_service_beside_ends_with_its_kernel_though_a_fork_of_that_lives_on(tmp_path: Path) -> None:
    code = f"""
import os, psutil, time
from fraiseql_events.jupyter.running import Running, Wanted
running = Running(Wanted(store={str(tmp_path)!r}, listen="127.0.0.1:0", beside=True))
pids = [child.pid for child in psutil.Process().children(recursive=True)]
if (fork := os.fork()) == 0: time.sleep(60); os._exit(0)
print(fork, *pids, flush=True)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        fork, *children = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
    assert len(children) == 3
    until(lambda: not any(lives(child) for child in children), 15)
    assert lives(fork)
    fork.kill()


def test_a_service_beside_that_does_not_end_is_ended_and_its_own_folder_removed() -> None:
    code = """
import signal, threading, time
from contextlib import ExitStack
from fraiseql_events.jupyter import beside
signal.signal(signal.SIGTERM, signal.SIG_IGN)
beside.END_SECONDS = 1
own = ExitStack()
own.callback(print, "removed", flush=True)
threading.Thread(target=beside._end_with_the_kernel, args=[own], daemon=True).start()
time.sleep(60)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, b"removed\n")


@pytest.mark.parametrize("named", [False, True], ids=["temporary", "named"])
def test_a_store_beside_is_removed_at_the_end_where_nobody_named_it(tmp_path: Path, named: bool) -> None:
    store = ["--store", str(tmp_path / "fraiseql-events-mine")] if named else []
    with subprocess.Popen(
        [sys.executable, "-m", "fraiseql_events.jupyter.beside", "--embedded", "--listen", "127.0.0.1:0", *store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline().startswith(b"ready ")
        (folder,) = tmp_path.glob("fraiseql-events-*")
        assert (folder / "nats").is_dir()
        program.stdin.close()  # as the system does when the one that started it is killed
        assert program.wait(30) == 0
    assert folder.exists() == named


def test_a_start_beside_that_is_ended_leaves_no_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fraiseql_events.jupyter.beside", "--embedded", "--listen", "127.0.0.1:0"],
        stdin=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as program:
        until(lambda: list(tmp_path.glob("fraiseql-events-*")))
        program.terminate()
        assert program.wait(30) == 0
    assert list(tmp_path.glob("fraiseql-events-*")) == []


def test_a_shop_that_opens_anew_goes_on_with_new_orders(tmp_path: Path) -> None:
    kernel, wanted = running.Kernel(), Wanted(store=str(tmp_path / "store"), listen="127.0.0.1:0")
    pool_before = pa.default_memory_pool()
    kernel.serve(wanted)
    try:
        kernel.demo(rate=300, seed=1, day=5)
        shop = kernel.demo(rate=400, seed=1)
        with pytest.raises(InvalidArgument):
            kernel.demo(rate=0, seed=1)
        assert kernel.demo(rate=None, seed=1) is shop  # what cannot be has closed nothing
        until(lambda: shop.published > 200)
        kernel.restart()
        again = kernel.shop
        assert again is not None
        until(lambda: again.published > 200)
        client = EventClient(kernel.running.url if kernel.running else "")
        until(lambda: client.entities()["Order"].events > 400)
        events = client.read("*", columns=["event_id", "event_type", "entity_id"])
    finally:
        kernel.stop()
        pa.set_memory_pool(pool_before)
    assert events["event_id"].is_duplicated().sum() == 0
    created = events.filter(events["event_type"] == "Order.Created")["entity_id"]
    assert created.is_duplicated().sum() == 0
    assert created.str.split("-").list.slice(1, 1).n_unique() > 2


def test_a_restart_changes_only_what_it_is_told(tmp_path: Path) -> None:
    kernel, pool_before = running.Kernel(), pa.default_memory_pool()
    try:
        first = kernel.serve(Wanted(store=str(tmp_path / "store"), listen="127.0.0.1:0", beside=True))
        client = EventClient(first.url)
        again = kernel.restart(token="secret")
        assert again.wanted == Wanted(
            store=str(tmp_path / "store"),
            listen="127.0.0.1:0",
            beside=True,
            token="secret",
        )
        assert client.status()["state"]  # one of before that has no token of its own knows the new one
        assert kernel.serve(Wanted()) is again  # nothing is named: what runs is shown
    finally:
        kernel.stop()
        pa.set_memory_pool(pool_before)


def test_a_process_beside_that_others_have_ended_is_started_anew(tmp_path: Path) -> None:
    kernel, wanted = running.Kernel(), Wanted(store=str(tmp_path / "store"), listen="127.0.0.1:0", beside=True)
    try:
        first = kernel.serve(wanted)
        assert isinstance(first._served, running._Beside)
        first._served._process.kill()
        until(lambda: not first.lives)
        again = kernel.serve(wanted)
        assert again is not first
        assert again.status()["state"]
    finally:
        kernel.stop()
