"""`fraiseql-events serve` in a process of its own."""

from __future__ import annotations

import collections
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from fraiseql_events import ServiceError
from fraiseql_events.jupyter.beside import own_prefix
from fraiseql_events.token import TOKEN_VARIABLE
from fraiseqlevents_bridge.answering import answering

_END_SECONDS: Final = 15


class Server:
    """`fraiseql-events serve` in a process of its own, which ends when R does, however that ends.

    Args:
        arguments: those of the command; without `--store` it is in a temporary folder, which goes with the process.
        token: what every client must bring.
    """

    def __init__(self, arguments: list[str], token: str | None) -> None:
        self._has_named_store = "--store" in arguments
        # in a session of its own: an interrupt of R's is none of it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fraiseql_events.jupyter.beside", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment() | ({} if token is None else {TOKEN_VARIABLE: token}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log: collections.deque[str] = collections.deque(maxlen=20)
        self._reader = threading.Thread(target=self._drain, name="fraiseql-events-log", daemon=True)
        threading.Thread(target=self._listen, name="fraiseql-events-ready", daemon=True).start()
        self._reader.start()

    @answering
    def ready(self, seconds: float) -> str | None:
        """Its address; None when it is not so far within so many seconds.

        Raises:
            ServiceError: it has ended, for the reason that it gave.
        """
        try:
            line = self._said.get(timeout=seconds)
        except queue.Empty:
            return None
        if line.startswith("ready "):
            return line.split()[1]
        self._reader.join(1)
        raise ServiceError((self._log or ["the server said nothing"])[-1].removeprefix("fraiseql-events: "))

    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends it; again does nothing."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self._has_named_store:  # one that was killed could not remove its own
            for folder in Path(tempfile.gettempdir()).glob(f"{own_prefix(self.pid)}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            for line in out:
                self._said.put(line)
        self._said.put("")

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as log:
            for line in log:
                if line.strip():
                    self._log.append(line.strip())


def _environment() -> dict[str, str]:
    """Without the folders of libraries that R puts first: another Python's library may lie there.

    They are R's own and the system's, which are found all the same.
    """
    found = dict(os.environ)
    folders = found.pop("LD_LIBRARY_PATH", "").split(":")
    first = ("/usr/lib", found.get("R_HOME", "/usr/lib"))
    kept = [each for each in folders if each and not each.startswith(first)]
    return found | ({"LD_LIBRARY_PATH": ":".join(kept)} if kept else {})
