"""An embedded nats-server ends with the program that started it, however that ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fraiseql_events import serve
from fraiseql_events.bridge import watched
from fraiseql_events.bridge.embedded import EmbeddedNats
from tests.waiting import lives, until

COUNT = 500
SERVICE = f"""
from fraiseql_events import serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.mixed import an_event
service = serve(embedded=True, store=folder, listen="127.0.0.1:0")
publish([("entity.change.Order.x", an_event(id=str(n))) for n in range({COUNT})], StreamOptions(nats=service.nats_url))
"""
SERVER = """
from pathlib import Path
from fraiseql_events.bridge.embedded import EmbeddedNats
server = EmbeddedNats(Path(folder))
"""
ENDS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "exit-at-once": "threading.Thread(target=os._exit, args=[1]).start(); time.sleep(60)",
    "forgotten": "",
}


def in_a_program(start: str, folder: Path, end: str) -> list[psutil.Process]:
    """Starts a server in a program that then ends in some way; the processes that it had started by then."""
    code = f"""
import os, psutil, signal, sys, threading, time
folder = {str(folder)!r}
{start}
print(*(child.pid for child in psutil.Process().children()), flush=True)
{end}
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        children = [psutil.Process(int(pid)) for pid in program.stdout.readline().split()]
        program.wait(60)
    return children


def servers(folder: Path) -> list[psutil.Process]:
    """The nats-servers that run on files in a folder."""
    found = [each for each in psutil.process_iter(["name", "cmdline"]) if each.info["name"] == "nats-server"]
    return [each for each in found if str(folder) in " ".join(each.info["cmdline"] or [])]


@pytest.mark.parametrize("end", ENDS)
def test_no_server_outlives_its_program_and_the_next_start_has_all_events(tmp_path: Path, end: str) -> None:
    in_a_program(SERVICE, tmp_path, ENDS[end])
    started = time.monotonic()
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as again:
        assert time.monotonic() - started < 10
        assert len(servers(tmp_path)) == 1
        until(lambda: again.status()["offset"] == COUNT)


@pytest.mark.parametrize("end", ENDS)
def test_a_server_on_a_temporary_store_ends_by_itself(tmp_path: Path, end: str) -> None:
    folder = f"import tempfile; kept = tempfile.TemporaryDirectory(dir={str(tmp_path)!r}); folder = kept.name"
    children = in_a_program(folder + SERVICE, tmp_path, ENDS[end])
    assert len(children) == 2
    until(lambda: not any(lives(child) for child in children), 10)
    assert servers(tmp_path) == []


def test_a_server_ends_with_its_program_though_a_fork_of_that_lives_on(tmp_path: Path) -> None:
    fork = "if os.fork() == 0: time.sleep(60); os._exit(0)\n"
    fork += "print(max(child.pid for child in psutil.Process().children()), flush=True)\n"
    code = f"import os, psutil, time\nfolder = {str(tmp_path)!r}\n{SERVER}{fork}time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        child = psutil.Process(int(running.stdout.readline()))
        assert len(servers(tmp_path)) == 1
        running.kill()
        running.wait()
        until(lambda: not servers(tmp_path), 5)
        assert lives(child)
        child.kill()


def test_a_program_that_is_killed_while_the_server_starts_leaves_none(tmp_path: Path) -> None:
    for number in range(20):
        code = f"folder = {str(tmp_path / str(number))!r}\nprint(flush=True)\n{SERVER}"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            program.stdout.readline()
            until(lambda: (tmp_path / str(number) / "nats-server.log").exists())  # noqa: B023
            time.sleep(number * 0.0005)
            program.kill()
    until(lambda: not servers(tmp_path), 5)


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[psutil.Process]:
    """A server that has lost its program and its watchdog."""
    end = "[child.kill() for child in psutil.Process().children() if child.name() != 'nats-server']\n" + ENDS["SIGKILL"]
    children = in_a_program(SERVER, tmp_path, end)
    (server,) = [child for child in children if lives(child)]
    yield server
    if lives(server):
        server.kill()


def test_a_server_that_was_left_behind_is_ended_by_the_next(tmp_path: Path, orphan: psutil.Process) -> None:
    assert orphan.name() == "nats-server"
    with EmbeddedNats(tmp_path) as server:
        assert not lives(orphan)
        assert [each.pid for each in servers(tmp_path)] == [server.pid]
    (tmp_path / "nats-server_1.ports").write_text('{"nats": ["nats://127.0.0.1:1"]}')
    EmbeddedNats(tmp_path).close()  # process 1 is nobody's server


def test_a_start_waits_until_a_server_that_ends_slowly_is_gone(tmp_path: Path, orphan: psutil.Process) -> None:
    orphan.suspend()
    for ports in tmp_path.glob("*.ports"):
        ports.unlink()  # as it does itself shortly before its end
    started: list[EmbeddedNats] = []
    starting = threading.Thread(target=lambda: started.append(EmbeddedNats(tmp_path)))
    starting.start()
    time.sleep(1)
    assert starting.is_alive()
    assert servers(tmp_path) == [orphan]
    orphan.resume()
    starting.join(20)
    with started[0] as server:
        assert [each.pid for each in servers(tmp_path)] == [server.pid]


def test_a_start_kills_a_server_that_does_not_end(tmp_path: Path, orphan: psutil.Process) -> None:
    orphan.suspend()
    with EmbeddedNats(tmp_path) as server:
        assert not lives(orphan)
        assert [each.pid for each in servers(tmp_path)] == [server.pid]


def test_a_server_that_does_not_end_with_its_program_is_killed(tmp_path: Path) -> None:
    suspend = "[child.suspend() for child in psutil.Process().children() if child.name() == 'nats-server']\n"
    in_a_program(SERVER, tmp_path, suspend + ENDS["SIGKILL"])
    assert len(servers(tmp_path)) == 1
    until(lambda: not servers(tmp_path), 10)


def test_a_server_that_was_started_again_ends_with_its_program_too(tmp_path: Path) -> None:
    again = "first = server.pid; os.kill(first, signal.SIGKILL)\nwhile server.pid == first: time.sleep(0.01)\n"
    children = in_a_program(SERVER + again, tmp_path, ENDS["SIGKILL"])
    assert len(children) == 2
    until(lambda: not any(lives(child) for child in children), 10)


def test_without_a_shell_a_server_runs_and_it_is_said_what_that_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched, "SHELL", str(tmp_path / "sh"))
    with EmbeddedNats(tmp_path):
        assert [child.name() for child in psutil.Process().children() if child in servers(tmp_path)] == ["nats-server"]
    assert "if this program is killed, its embedded nats-server lives on" in caplog.text
    assert servers(tmp_path) == []
