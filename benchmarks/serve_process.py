"""`fraiseql-events serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What its last commit may take, and more.
END_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers: its address, and its process."""

    url: str
    pid: int


@contextmanager
def serving(store: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """A server on a store, from when it answers until the block is left. Without ``--nats`` it embeds its own."""
    source = [] if "--nats" in arguments else ["--embedded"]
    command = [sys.executable, "-m", "fraiseql_events.cli", "serve", "--listen", "127.0.0.1:0", "--store", str(store)]
    process = subprocess.Popen(
        [*command, *source, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"serve ended with code {process.wait()} before it answered")
        yield Served(line.removeprefix("ready ").strip(), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=END_SECONDS)
