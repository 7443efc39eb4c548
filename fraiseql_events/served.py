"""What this process serves, and where: a client that is given no address finds the newest of them."""

from __future__ import annotations

import threading
from typing import Final
from urllib.parse import urlsplit

from fraiseql_events.wording import without_password

_lock: Final = threading.Lock()
#: And what each of them wants of its clients.
_addresses: Final[dict[str, str | None]] = {}
#: Those that this process has ended.
_ended: Final[set[str]] = set()
#: NATS servers' addresses with their passwords, by what is shown of them.
_whole: Final[dict[str, str]] = {}
_SCHEMES: Final = ("grpc", "grpc+tcp")
#: Names by which a machine reaches itself, and what listens on all of its addresses.
_SAME: Final = {"localhost": ("127.0.0.1", "::1"), "0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}  # noqa: S104


def announce(url: str, token: str | None = None) -> None:
    """A server of this process, or one that it has started, answers there from now on, to whoever has the token."""
    with _lock:
        _addresses[url] = token
        _ended.discard(url)


def withdraw(url: str) -> None:
    """It answers no longer; one that was never announced is no error."""
    with _lock:
        if url in _addresses:
            del _addresses[url]
            _ended.add(url)


def newest() -> str | None:
    """The address announced last; None when nothing is served here."""
    with _lock:
        return next(reversed(_addresses), None)


def token_of(url: str) -> str | None:
    """What the server of this process at an address wants; None where there is none, or it wants nothing."""
    with _lock:
        return next((token for served, token in _addresses.items() if _is_one(url, served)), None)


def ended_here(url: str) -> bool:
    """Whether the server at an address was one of this process, which has ended it and not started it again."""
    with _lock:
        return any(_is_one(url, served) for served in _ended)


def remember_password(url: str) -> None:
    """A service of this process reads from there: whoever publishes to it here needs not name the password again."""
    with _lock:
        _whole[without_password(url)] = url


def with_password(url: str) -> str:
    """An address as it was before it was shown, where a service of this process reads from it."""
    with _lock:
        return _whole.get(url, url)


def _is_one(url: str, other: str) -> bool:
    """Whether two addresses lead to one server."""
    return url == other or not _places(url).isdisjoint(_places(other))


def _places(url: str) -> frozenset[tuple[str, int]]:
    """The addresses and the port that a URL of a server without TLS means."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return frozenset()
    if parts.scheme not in _SCHEMES or host is None or port is None:
        return frozenset()
    return frozenset((each, port) for each in _SAME.get(host, (host,)))
