"""Clients that vanish: a network that went away, a machine that lost its power. Linux only; elsewhere nothing is done.

gRPC would wait for ever for one that is sent nothing, and drops one that is alive but has not read for 20 seconds (its
TCP_USER_TIMEOUT counts a full receive buffer too). Its keepalive cannot be set from pyarrow, so the kernel's is:
accepted connections inherit it from the listening socket. It probes idle connections; the others are looked at here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fraiseql_events.closing import Closing

log: Final = logging.getLogger(__name__)

#: An idle client is probed after so long, so often, and has gone when so many probes are not answered: 25 s.
IDLE_SECONDS: Final = 10
INTERVAL_SECONDS: Final = 5
PROBES: Final = 3
#: One that owes an answer has gone when it has been silent for so long, and was tried so often.
SILENCE_SECONDS: Final = 20
TRIES: Final = 3
LOOK_SECONDS: Final = 4.0

_FILES: Final = Path("/proc/self/fd")
#: Of the kernel's `struct tcp_info`: retransmits, probes, and milliseconds since the last acknowledgement.
_TCP_INFO: Final = struct.Struct("=2xBB52xI")


class Keepalive(Closing):
    """Looks after the connections of a server of this process, in a thread, until it is closed.

    Args:
        port: the port that the server listens on.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fraiseql-events-keepalive", daemon=True)
        if sys.platform == "linux" and _FILES.is_dir():
            for found in self._sockets(listening=True):
                _set_keepalive(found)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread; again does nothing."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def drop_all(self) -> None:
        """Breaks off every connection: a stream whose client does not read cannot be ended otherwise."""
        if self._thread.is_alive():
            for found in self._sockets(listening=False):
                _break_off(found)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):  # no file may be left to open: the next look comes soon
                self._drop_vanished()

    def _drop_vanished(self) -> None:
        for found in self._sockets(listening=False):
            if _has_vanished(found):
                log.info("a client has vanished: its connection is broken off")
                _break_off(found)

    def _sockets(self, *, listening: bool) -> Iterator[socket.socket]:
        """This process's TCP sockets on the port."""
        if sys.platform != "linux":
            return
        for name in os.listdir(_FILES):
            with contextlib.suppress(OSError), _socket_of(int(name)) as found:
                if _is_on(found, self._port) and bool(_option(found, socket.SO_ACCEPTCONN)) == listening:
                    yield found


def _socket_of(number: int) -> socket.socket:
    """A second handle on a socket, by its file descriptor; the server closes its own when it likes.

    Raises:
        OSError: it is none. Of a file a second handle is not made: closing it would drop the file's POSIX locks.
    """
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError("not a socket")
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _is_on(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        return False
    return bool(found.getsockname()[1] == port)


def _option(found: socket.socket, option: int) -> int:
    return found.getsockopt(socket.SOL_SOCKET, option)


def _set_keepalive(found: socket.socket) -> None:
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE_SECONDS),
        (socket.TCP_KEEPINTVL, INTERVAL_SECONDS),
        (socket.TCP_KEEPCNT, PROBES),
        (socket.TCP_USER_TIMEOUT, 0),
    ):
        found.setsockopt(socket.IPPROTO_TCP, option, value)


def _has_vanished(found: socket.socket) -> bool:
    """Whether neither data nor probes have been acknowledged for long. A stopped client's kernel does answer probes."""
    retransmits, probes, silence = _TCP_INFO.unpack(
        found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    )
    return bool(max(retransmits, probes) >= TRIES and silence >= 1000 * SILENCE_SECONDS)


def _break_off(found: socket.socket) -> None:
    with contextlib.suppress(OSError):
        found.shutdown(socket.SHUT_RDWR)
