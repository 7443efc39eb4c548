"""Pipes that tell a child process of our end: the system closes them with this process, however that comes."""

from __future__ import annotations

import os
import sys
import weakref
from typing import IO, Any, Final

_held: Final[weakref.WeakSet[IO[Any]]] = weakref.WeakSet()


def hold_alone(pipe: IO[Any]) -> None:
    """Keeps the end of a pipe that leads to a child in this process: a fork of it would hold it open after our end."""
    _held.add(pipe)


def _let_go() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for pipe in _held:
        if not pipe.closed:
            os.dup2(nothing, pipe.fileno(), inheritable=False)  # whoever closes it later closes no file of another's
    os.close(nothing)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)
