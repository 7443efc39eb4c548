"""What a person gives the client, checked: one sentence where it is wrong, and nothing is sent."""

from __future__ import annotations

import inspect
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, TypeVar, cast

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.frames import DtypeBackend
from fraiseql_events.ticket import Compression, entity_or_all
from fraiseql_events.time_range import Time
from fraiseql_events.wording import near, shown, without_password

F = TypeVar("F", bound=Callable[..., Any])

_MINUTES: Final = re.compile(r"\A(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2})([Zz]|[+-]\d{2}:\d{2})?\Z", re.ASCII)
_SCHEMES: Final = ("grpc", "grpc+tcp", "grpc+tls", "grpc+unix")
MOST_PORT: Final = 65535
#: Paths in `data` and their types; or "infer".
Payload = Mapping[str, Any] | Literal["infer"]


class StreamOptions(TypedDict, total=False):
    """The options that `EventClient.stream` and `EventClient.read` share."""

    limit: int | None
    columns: Sequence[str] | None
    event_types: Sequence[str] | None
    after_offset: int | None
    history: str | None
    batch_size: int
    compression: Compression | None
    follow: bool
    payload: Payload | None
    progress: bool
    dtype_backend: DtypeBackend | None


def takes(model: Callable[..., Any] | None = None) -> Callable[[F], F]:
    """Has a method refuse what it does not take in one sentence.

    Args:
        model: the method that it hands its options on to: it takes the same, and says so where it is looked up.
    """

    def decorate(method: F) -> F:
        signature = inspect.signature(method)
        if model is not None:
            signature = signature.replace(parameters=list(inspect.signature(model).parameters.values()))
        known = [name for name in signature.parameters if name != "self"]

        @wraps(method)
        def call(*given: Any, **options: Any) -> Any:
            for name in options:
                if name not in known:
                    raise InvalidArgument(
                        f"{method.__name__} has no option {name}{near(name, known)}; there are {', '.join(known)}"
                    )
            try:
                signature.bind(*given, **options)
            except TypeError as error:
                raise InvalidArgument(f"{method.__name__}: {error}; it takes {', '.join(known)}") from None
            return method(*given, **options)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return cast("F", call)

    return decorate


def check_url(url: str) -> str:
    """The address of a Flight server, if it is one; ``HOST:PORT`` is one too."""
    if isinstance(url, str) and re.fullmatch(r"[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+", url):
        url = f"grpc://{url}"
    if not isinstance(url, str):
        raise InvalidArgument(f"{shown(url)} is no address of a Flight server: write grpc://HOST:PORT")
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES or not rest:
        raise InvalidArgument(f"{without_password(url)!r} is no address of a Flight server: write grpc://HOST:PORT")
    if scheme == "grpc+unix":
        return url
    port = re.search(r":([0-9]+)$", rest)
    if port is None:
        raise InvalidArgument(f"{without_password(url)!r} has no port: write grpc://HOST:PORT")
    if not 1 <= int(port[1]) <= MOST_PORT:
        said = f"{without_password(url)!r} has the port {port[1]}"
        raise InvalidArgument(f"{said}: there are those from 1 to {MOST_PORT}")
    return url


def read_certificates(url: str, path: str | os.PathLike[str] | None) -> bytes | None:
    """The certificates (PEM) of a file, for an address that is reached by TLS; None for none."""
    if path is None:
        return None
    if not url.startswith("grpc+tls://"):
        raise InvalidArgument(f"tls_roots is for addresses such as grpc+tls://HOST:PORT; {url} is reached without TLS")
    try:
        found = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"tls_roots {path} cannot be read: {error.strerror or error}") from error
    if b"-----BEGIN CERTIFICATE-----" not in found:
        raise InvalidArgument(f"tls_roots {path} holds no certificates: a file in PEM is expected")
    return found


def entity_type(entity: str) -> str | None:
    """An entity type; None is all of them, which a person writes as ``*``."""
    if entity is None:
        raise InvalidArgument("entity is None: name an entity type such as 'Order', or '*' for all")
    return entity_or_all(entity)


def with_seconds(when: Time | None) -> Time | None:
    """A time as a ticket has it: a person may leave out the seconds, as in ``2026-01-31 12:00``."""
    return _MINUTES.sub(r"\1:00\2", when) if isinstance(when, str) else when


def integer(value: Any) -> Any:
    """Whole numbers of other kinds (NumPy's) as Python's own; `Ticket` refuses the rest."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def names(option: str, names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Several names, not one text."""
    if isinstance(names, str):
        raise InvalidArgument(f"{option}={names!r} is one text: write {option}=[{names!r}]")
    try:
        return None if names is None else tuple(names)
    except TypeError:
        raise InvalidArgument(f"{option}={names!r}: it must be a list of strings") from None
