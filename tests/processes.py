"""The command line in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

COMMAND = [sys.executable, "-m", "fraiseql_events.cli"]


def run(*arguments: str | Path, stdin: bytes | None = None, code: int = 0) -> str:
    """Runs a command to its end; what it printed to standard output."""
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, timeout=100, check=False
    )
    assert result.returncode == code, (result.returncode, result.stdout[-2000:], result.stderr[-2000:])
    return (result.stdout if code == 0 else result.stderr).decode()


class Serve:
    """`fraiseql-events serve`, up and answering.

    Attributes:
        said: what it wrote to standard error, once it has ended.
    """

    said = ""

    def __init__(
        self, *arguments: str | Path, listen: str = "127.0.0.1:0", stderr: int | IO[bytes] = subprocess.PIPE
    ) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--listen", listen, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def wait_until_ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready grpc://"), (line, self.process.communicate()[1])
        return line.removeprefix("ready ").strip()

    def status(self, url: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("status", "--json", "--url", url))
        return found

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=15)
        self.said += said or ""
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def peak_memory(pid: int) -> int:
    """The most bytes that a process has had in memory (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM: this test needs Linux")
