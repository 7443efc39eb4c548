"""What goes wrong with ClickHouse, as one of our errors: it may pass, or it does not, in a sentence that says so."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from typing import Final

from fraiseql_events.errors import SinkError, SinkUnavailable
from fraiseql_events.sinks.address import PASSWORD_VARIABLE, USER_VARIABLE, Address

#: ClickHouse's names of what may pass: it is short of time, memory, disk, connections, or of its Keeper.
_PASSING: Final = frozenset(
    (
        "ABORTED",
        "ALL_CONNECTION_TRIES_FAILED",
        "ALL_REPLICAS_LOST",
        "ASYNC_LOAD_CANCELED",
        "ASYNC_LOAD_FAILED",
        "CANNOT_ALLOCATE_MEMORY",
        "CANNOT_FSYNC",
        "CANNOT_OPEN_FILE",
        "CANNOT_READ_ALL_DATA",
        "CANNOT_READ_FROM_SOCKET",
        "CANNOT_SCHEDULE_TASK",
        "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
        "CANNOT_WRITE_TO_SOCKET",
        "DEADLOCK_AVOIDED",
        "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
        "DNS_ERROR",
        "KEEPER_EXCEPTION",
        "MEMORY_LIMIT_EXCEEDED",
        "NETWORK_ERROR",
        "NO_ZOOKEEPER",
        "NOT_ENOUGH_SPACE",
        "POCO_EXCEPTION",
        "QUERY_WAS_CANCELLED",
        "QUOTA_EXCEEDED",
        "S3_ERROR",
        "SERVER_OVERLOADED",
        "SOCKET_TIMEOUT",
        "TABLE_IS_BEING_RESTARTED",
        "TABLE_IS_READ_ONLY",
        "TIMEOUT_EXCEEDED",
        "TOO_FEW_LIVE_REPLICAS",
        "TOO_MANY_PARTS",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
        "UNEXPECTED_END_OF_FILE",
        "UNKNOWN_STATUS_OF_INSERT",
        "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    )
)
#: What the system says of a full disk, whatever ClickHouse calls it.
_NO_ROOM: Final = "No space left on device"
_REFUSED: Final = frozenset(("AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "UNKNOWN_USER", "WRONG_PASSWORD"))
_GONE: Final = frozenset(("UNKNOWN_DATABASE", "UNKNOWN_TABLE"))
#: What TLS says when no TLS answers.
_NO_TLS: Final = frozenset(("HTTP_REQUEST", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"))
#: How a connection ends too early; the driver has a name of its own for a part of them.
_CUT: Final = (ConnectionError, http.client.IncompleteRead, ssl.SSLError)
#: What a web server or a proxy says that has no time now.
_BUSY: Final = frozenset((408, 425, 429))
_STATUS: Final = re.compile(r"HTTP status (\d+)")
_SAID: Final = re.compile(r"Code: \d+\.\s*(?:DB::\w*Exception:)?\s*(.*)", re.DOTALL)
#: What stands in ClickHouse's sentences and says nothing to a person: codes within, and the numbers of tables.
_NOISE: Final = re.compile(r"Code: \d+\.\s*|DB::\w*Exception:\s*|\s*\([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)")
#: Where what is said ends: behind it come its name, where it happened, the version and the stack.
_END: Final = re.compile(
    r"\s*(?:\(version |Stack trace:|\(for url |: [Ww]hile (?:executing|pushing|processing)|\.?\s*\([A-Z][A-Z_]{4,}\))"
)


def trouble(error: Exception, address: Address) -> SinkError:
    """An error of clickhouse-connect's, or of what it uses, as one of ours.

    Args:
        error: what was raised.
        address: the ClickHouse that was asked.
    """
    where, text = f"ClickHouse at {address.shown}", str(error)
    if (code := getattr(error, "code", None)) is not None:
        return _said(getattr(error, "name", None), int(code), text, where)
    if address.embedded and isinstance(error, OSError):  # a temporary file of the driver's, on a full disk
        return SinkUnavailable(f"{where} cannot be given a block: {error}")
    if address.embedded:
        return SinkError(f"{where} refuses: {_sentence(text)}")
    if status := _STATUS.search(text):
        return _status(int(status[1]), address.shown, where)
    return _on_the_way(error, address.shown, where)


def no_clickhouse(shown: str, what: str) -> SinkError:
    """Somebody else answers there."""
    return SinkError(
        f"{shown} answers, but as no ClickHouse does: {what}; ClickHouse speaks HTTP at port 8123, and HTTPS at 8443"
    )


def _said(name: str | None, code: int, text: str, where: str) -> SinkError:
    """What ClickHouse itself has said."""
    said = _sentence(text)
    if name in _REFUSED:
        how = f"write {USER_VARIABLE} and {PASSWORD_VARIABLE}, or http://USER:PASSWORD@HOST:PORT"
        return SinkError(f"{where} does not take this user and password: {how}")
    if name is None:  # the connection ended before the answer did
        return SinkUnavailable(f"{where} cannot take it now: its error {code}")
    if name in _PASSING or _NO_ROOM in text:
        return SinkUnavailable(f"{where} cannot take it now: {said}")
    if name == "ACCESS_DENIED":
        return SinkError(
            f"{where} refuses: {said}; a sink's user makes its tables, selects and inserts, and reads system.tables, "
            "system.columns and system.processes"
        )
    if name in _GONE:
        return SinkError(f"{where} refuses: {said}; start the sink again, which says what is gone or makes it")
    return SinkError(f"{where} refuses: {said}")


def _status(status: int, shown: str, where: str) -> SinkError:
    """What a web server or a proxy has said."""
    if status == 401:
        return SinkError(f"{where} does not take this user and password: HTTP status 401, of a proxy before it")
    if status == 413:
        return SinkError(f"a proxy before {where} takes no block of this size (HTTP status 413): let it take 256 MB")
    if status < 500 and status not in _BUSY:
        return no_clickhouse(shown, f"HTTP status {status}")
    return SinkUnavailable(f"{where} cannot take it now: HTTP status {status}")


def _on_the_way(error: Exception, shown: str, where: str) -> SinkError:
    """What has happened to the connection, or to what came over it."""
    from urllib3 import exceptions

    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            how = "where its authority is your own, name the file of its certificates (PEM) in SSL_CERT_FILE"
            return SinkError(f"the certificate of {shown} is not trusted: {cause.verify_message.rstrip('.')}; {how}")
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return SinkError(f"{shown} speaks no TLS: write http:// for a ClickHouse without")
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, _CUT):
            return no_clickhouse(shown, "not in HTTP")
        if isinstance(cause, ConnectionRefusedError):
            return SinkUnavailable(f"no {where} answers: the connection is refused")
        if isinstance(cause, exceptions.NameResolutionError):
            return SinkUnavailable(f"no {where} answers: nobody knows the host's name")
        if isinstance(cause, TimeoutError | exceptions.TimeoutError):
            return SinkUnavailable(f"{where} does not answer in time")
        if isinstance(cause, _CUT):
            return SinkUnavailable(f"{where} has cut the connection before it answered")
    if any(isinstance(cause, exceptions.HTTPError | OSError) for cause in causes):
        return SinkUnavailable(f"no {where} answers: {_sentence(str(causes[0]))}")
    return no_clickhouse(shown, "what it says is not understood")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error came from, the innermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return reversed(found)


def _sentence(text: str) -> str:
    """The first thing that ClickHouse says, without codes, versions and stack traces."""
    found = _SAID.search(text)
    said = _END.split(_NOISE.sub("", found[1] if found else text))[0]
    said = " ".join(said.split()).rstrip(".")
    return said if len(said) <= 300 else said[:299] + "…"
