"""A TCP proxy that can cut its connections, delay what they carry, and freeze them without a word."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterable
from typing import Self


class Proxy:
    """Forwards connections to a port of this machine.

    Attributes:
        port: where it listens.
        frozen: while set, no byte goes through and no connection ends.
        delay: how long each piece of data is held before it goes on, in seconds.
        carried: bytes that have gone through, either way.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self.frozen = threading.Event()
        self.delay = 0.0
        self.carried = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def retarget(self, target: int) -> None:
        """Sends new connections to another port."""
        self._target = target

    def deaden(self) -> list[socket.socket]:
        """Lets the connections that there are pass nothing more, without a word; new ones are as good as ever."""
        dead = list(self._pairs)
        for one in dead:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one)
        return dead

    def cut(self, some: Iterable[socket.socket] | None = None) -> None:
        """Ends all connections at once, or some that `deaden` has told."""
        for one in list(self._pairs) if some is None else some:
            self._drop(one)

    def _run(self) -> None:
        with selectors.DefaultSelector() as self._selector:
            self._selector.register(self._listener, selectors.EVENT_READ)
            while not self._closed.is_set():
                if self.frozen.is_set():
                    self._closed.wait(0.02)
                    continue
                for key, _ in self._selector.select(0.05):
                    self._accept() if key.fileobj is self._listener else self._forward(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._pairs[client], self._pairs[server] = server, client
        for one in (client, server):
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data:
                self._closed.wait(self.delay)
                self._pairs[source].sendall(data)
                self.carried += len(data)
                return
        except (OSError, KeyError):
            pass
        self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        for each in (one, other):
            if each is not None:
                self._pairs.pop(each, None)
                with contextlib.suppress(KeyError, ValueError, OSError):
                    self._selector.unregister(each)
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._thread.join()
        self.cut()
        self._listener.close()
