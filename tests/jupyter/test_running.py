"""The service of a kernel: where it answers."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from fraiseql_events import EventClient, ServiceError
from fraiseql_events.jupyter import running
from fraiseql_events.jupyter.running import Running, Wanted


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address where a notebook serves if nobody else does: one that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(running, "DEFAULT_LISTEN", address)
    return address


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_two_notebooks_that_serve_at_the_same_moment_both_do(tmp_path: Path, usual: str, beside: bool) -> None:
    pool_before = pa.default_memory_pool()
    with ThreadPoolExecutor(2) as pool:
        stores = [str(tmp_path / name) for name in ("one", "other")]
        started = list(pool.map(lambda store: Running(Wanted(store=store, beside=beside)), stores))
    try:
        urls = {each.url for each in started}
        assert len(urls) == 2
        assert f"grpc://{usual}" in urls
    finally:
        for each in started:
            each.close()
        pa.set_memory_pool(pool_before)


def test_an_address_that_was_named_is_not_changed(tmp_path: Path, usual: str) -> None:
    with (
        socket.create_server(("127.0.0.1", int(usual.rpartition(":")[2]))),
        pytest.raises(ServiceError, match="taken|in use"),
    ):
        Running(Wanted(store=str(tmp_path), listen=usual))


def test_the_usual_address_is_free_again_at_once_after_clients_have_used_it(tmp_path: Path, usual: str) -> None:
    pool_before = pa.default_memory_pool()
    for _ in range(2):
        with Running(Wanted(store=str(tmp_path))) as service:
            assert service.url == f"grpc://{usual}"
            assert EventClient(service.url).entities() == {}
    pa.set_memory_pool(pool_before)
