"""Where a ClickHouse is: a server's address, or a folder for the engine that runs in this process."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.wording import shown, without_password

USER_VARIABLE: Final = "CLICKHOUSE_USER"
PASSWORD_VARIABLE: Final = "CLICKHOUSE_PASSWORD"  # noqa: S105 - a name
_PORTS: Final = {"http": 8123, "https": 8443}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: The tables of the counts have longer ones, and ClickHouse's are files.
LONGEST_NAME: Final = 100
#: Words of its SQL that stand where a name is expected, and its databases, which it does not keep.
_WORDS: Final = frozenset(("function", "information_schema", "system", "table"))
_FORMS: Final = "write http://HOST:8123, https://HOST:8443, or chdb:///FOLDER for the engine in this process"


@dataclass(frozen=True, slots=True)
class Address:
    """A ClickHouse.

    Attributes:
        shown: the address as a sentence may show it, without a password.
        embedded: whether it is the engine in this process.
        options: what `clickhouse_connect.get_client` is told.
    """

    shown: str
    embedded: bool
    options: dict[str, Any] = field(repr=False)


def parse_address(url: str) -> Address:
    """Reads an address; user and password may be in it, or in CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(url, str):
        raise InvalidArgument(f"{shown(url)} is no address of a ClickHouse: {_FORMS}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"{without_password(url)!r} is no address of a ClickHouse: {_FORMS}") from None
    if url.startswith("chdb://"):
        return _folder(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise InvalidArgument(f"{without_password(url)!r} is no address of a ClickHouse: {_FORMS}")
    return Address(without_password(url), embedded=False, options=_server(parts, port))


def check_name(what: str, name: str) -> str:
    """A table's or a database's name, of letters, digits and underscores.

    Raises:
        InvalidArgument: it is none.
    """
    if isinstance(name, str) and (len(name) > LONGEST_NAME or name.lower() in _WORDS):
        raise InvalidArgument(
            f"{shown(name)} is no name for a {what} here: it is a word of ClickHouse's own, or longer than "
            f"{LONGEST_NAME} characters"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument(f"{shown(name)} is no name for a {what}: letters, digits and _ are, such as shop_events")
    return name


def _folder(url: str) -> Address:
    path = os.path.expanduser(url.removeprefix("chdb://"))
    if not path or path.startswith(":"):
        raise InvalidArgument(f"{url!r} names no folder: write chdb:///FOLDER, or chdb://FOLDER for one that is here")
    return Address(url, embedded=True, options={"interface": "chdb", "path": os.path.realpath(path)})


def _server(parts: SplitResult, port: int | None) -> dict[str, Any]:
    user = unquote(parts.username) if parts.username else os.environ.get(USER_VARIABLE, "default")
    password = unquote(parts.password) if parts.password else os.environ.get(PASSWORD_VARIABLE, "")
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": port or _PORTS[parts.scheme],
        "username": user,
        "password": password,
        "proxy_path": parts.path,
    }
