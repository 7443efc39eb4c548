"""The addresses that this process serves at: a client that is given none finds the newest of them."""

from __future__ import annotations

import threading
from typing import Final

_lock: Final = threading.Lock()
#: And what each of them wants of its clients.
_addresses: Final[dict[str, str | None]] = {}


def announce(url: str, token: str | None = None) -> None:
    """A server of this process, or one that it has started, answers there from now on, to whoever has the token."""
    with _lock:
        _addresses[url] = token


def withdraw(url: str) -> None:
    """It answers no longer; one that was never announced is no error."""
    with _lock:
        _addresses.pop(url, None)


def newest() -> str | None:
    """The address announced last; None when nothing is served here."""
    with _lock:
        return next(reversed(_addresses), None)


def token_of(url: str) -> str | None:
    """What the server of this process at an address wants; None where there is none, or it wants nothing."""
    with _lock:
        return _addresses.get(url)
