"""Disks that are small, full, or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A disk of some MiB at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leaves no byte of room."""
        handle = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        try:
            while os.write(handle, bytes(4096)):
                pass
        except OSError:
            pass  # full
        finally:
            os.close(handle)

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, mebibytes: int = 24) -> Iterator[SmallDisk]:
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, by its name, cannot be written meanwhile."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
