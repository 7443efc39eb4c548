"""A server behind TLS: a proxy ends it, as it is done where there are certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from fraiseql_events import EventClient, InvalidArgument, ServerUnavailable, Service
from tests.mixed import an_event
from tests.tls import TlsProxy
from tests.waiting import until


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
