"""A program as a child process that does not outlive this one, however this one ends.

A shell beside it reads a pipe that ends with this process, even by SIGKILL or `os._exit`. (Linux could send the child a
signal by itself, but does so at the end of the *thread* that started it.) The child tells that shell its process id
before it becomes the program: there is no moment at which it is not watched.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from fraiseql_events.lifeline import hold_alone

log: Final = logging.getLogger(__name__)

SHELL: Final = "/bin/sh"
STOP_SECONDS: Final = 5
#: Learns the child's id; at the pipe's end ends the child, and kills it if it is still there five seconds later.
_WATCH: Final = """\
read -r child || exit 0
read -r nothing
kill "$child" || exit 0
for second in 1 2 3 4 5; do sleep 1; kill -0 "$child" || exit 0; done
kill -9 "$child"
"""
_START: Final = 'echo $$; exec "$@" >&2'


class WatchedProcess:
    """A program that runs until `end`, or until this process ends; on Windows until `end` only.

    Args:
        command: the program and its arguments.
        output: where it writes, to standard output and standard error.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], output: IO[bytes]) -> None:
        self._watchdog = None if sys.platform == "win32" or not _has_shell() else _start_watchdog()
        starter = [] if self._watchdog is None else [SHELL, "-c", _START, SHELL]
        try:
            self._process = subprocess.Popen(
                [*starter, *command],
                stdin=subprocess.DEVNULL,
                stdout=output if self._watchdog is None else self._watchdog.stdin,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for the program that started us
            )
        except BaseException:
            self._dismiss()
            raise

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Waits for the program's end, so long at the most; its exit code, None while it runs."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._dismiss()
        return code

    def end(self) -> None:
        """Ends the program, and waits for that; again does nothing."""
        if self.wait(0) is None:
            self._process.terminate()
            if self.wait(STOP_SECONDS) is None:
                self._process.kill()
                self._process.wait()
                self._dismiss()

    def _dismiss(self) -> None:
        """Ends the watchdog before the program's id can be another's: only once that has ended, and then at once."""
        if self._watchdog is not None:
            assert self._watchdog.stdin is not None
            self._watchdog.kill()
            self._watchdog.wait()
            self._watchdog.stdin.close()


def _start_watchdog() -> subprocess.Popen[bytes]:
    watchdog = subprocess.Popen(
        [SHELL, "-c", _WATCH, "fraiseql-events-watchdog"],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",  # else it would keep a folder's disk busy
        start_new_session=True,
    )
    assert watchdog.stdin is not None
    hold_alone(watchdog.stdin)
    return watchdog


def _has_shell() -> bool:
    found = Path(SHELL).exists()
    if not found:
        log.warning("there is no %s here: if this program is killed, its embedded nats-server lives on", SHELL)
    return found
