"""The addresses that this process serves at: a client that is given none finds the newest of them."""

from __future__ import annotations

import threading
from typing import Final

_lock: Final = threading.Lock()
_addresses: Final[list[str]] = []


def announce(url: str) -> None:
    """A server of this process, or one that it has started, answers there from now on."""
    with _lock:
        _addresses.append(url)


def withdraw(url: str) -> None:
    """It answers no longer; one that was never announced is no error."""
    with _lock:
        if url in _addresses:
            _addresses.remove(url)


def newest() -> str | None:
    """The address announced last; None when nothing is served here."""
    with _lock:
        return _addresses[-1] if _addresses else None
