"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Waits until something is so; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended does not, though nobody may have waited for it yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
