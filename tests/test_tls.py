"""A server behind TLS: a proxy ends it, as it is done where there are certificates."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
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
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self.port = self._ready.result(10)

    async def _run(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._forward, "127.0.0.1", 0, ssl=self._context) as server:
            self._ready.set_result(server.sockets[0].getsockname()[1])
            await self._closing.wait()
            server.close()
            await asyncio.sleep(0.5)  # a handshake that is under way ends with its client

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


@pytest.fixture
def behind_tls(
    start: Callable[..., Service], send: Callable[..., int], tmp_path: Path
) -> Iterator[tuple[str, Path]]:
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
