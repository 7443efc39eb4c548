"""A server behind TLS: a proxy ends it, as it is done where there are certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from fraiseql_events import EventClient, InvalidArgument, ServerUnavailable, Service
from tests.mixed import an_event
from tests.waiting import until


class TlsProxy:
    """Takes TLS connections, and forwards what they carry to a port of this machine."""

    def __init__(self, target: int, authority: trustme.CA) -> None:
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as tls,
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            back = threading.Thread(target=_copy, args=[server, tls], daemon=True)
            back.start()
            _copy(tls, server)
            back.join()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def behind_tls(start: Callable[..., Service], send: Callable[..., int], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server of one event, and the file of what to trust."""
    service = start()
    send(an_event())
    until(lambda: service.status()["offset"] == 1)
    assert service.url is not None
    authority, roots = trustme.CA(), tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    proxy = TlsProxy(int(service.url.rpartition(":")[2]), authority)
    yield f"grpc+tls://localhost:{proxy.port}", roots
    proxy.close()


def test_a_client_reads_through_tls_from_a_server_that_it_trusts(behind_tls: tuple[str, Path]) -> None:
    url, roots = behind_tls
    with EventClient(url, tls_roots=roots) as client:
        assert client.read("*").height == 1
        assert client.status()["offset"] == 1


def test_a_server_that_is_not_trusted_is_not_read_from(behind_tls: tuple[str, Path], tmp_path: Path) -> None:
    others = tmp_path / "others.pem"
    trustme.CA().cert_pem.write_to_path(others)
    with EventClient(behind_tls[0], tls_roots=others) as client, pytest.raises(ServerUnavailable):
        client.status()


def test_certificates_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("hello")
    for url, roots, says in (
        ("grpc+tls://localhost:1", tmp_path / "nowhere.pem", "cannot be read"),
        ("grpc+tls://localhost:1", text, "holds no certificates"),
        ("grpc://localhost:1", text, "without TLS"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            EventClient(url, tls_roots=roots)
