"""The stop button of a notebook, on a real Jupyter kernel: a follow ends at once, and a service there lives on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraiseql_events import EventClient, Service, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.following import events
from tests.kernels import Kernel
from tests.waiting import until

FOLLOW = """
from fraiseql_events import EventClient
client = EventClient({url!r})
for df in client.stream("*", follow=True):
    print("got", df.height, flush=True)
"""
ASYNC_FOLLOW = FOLLOW.replace("for df", "async for df")
SERVE = """
from fraiseql_events import serve
service = serve(embedded=True, store={store!r}, listen="127.0.0.1:0")
print(service.url, service.nats_url)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel(tmp_path) as kernel:
        yield kernel


#: A cell, and what it ends with: ipykernel cancels one that awaits, whatever it awaits.
CELLS = pytest.mark.parametrize(
    ("cell", "ends_with"), [(FOLLOW, "KeyboardInterrupt"), (ASYNC_FOLLOW, "CancelledError")], ids=["for", "async for"]
)


@CELLS
def test_the_stop_button_ends_a_quiet_follow_on_both_sides(
    kernel: Kernel, start: Callable[..., Service], send: Callable[..., int], cell: str, ends_with: str
) -> None:
    service = start()
    assert service._server is not None
    server = service._server
    send(*events(0, 3))
    until(lambda: service.status()["offset"] == 3)
    for _ in range(2):  # the kernel goes on
        kernel.begin(cell.format(url=service.url), "got 3\n")
        assert server.streams == 1
        time.sleep(1.5)  # it waits in whatever it waits in
        error, seconds = kernel.interrupt()
        ended = time.monotonic()
        assert error == ends_with
        assert kernel.error == [ends_with, f"  in line 3: {cell.splitlines()[3]}"]  # in place of a traceback
        assert seconds < 1
        until(lambda: server.streams == 0, 2)
        assert time.monotonic() - ended < 2


@CELLS
def test_a_service_in_the_kernel_lives_on_after_the_stop_button(
    kernel: Kernel, tmp_path: Path, cell: str, ends_with: str
) -> None:
    store = tmp_path / "store"
    url, nats_url = kernel.run(SERVE.format(store=str(store))).split()
    children = kernel.process.children()
    assert sorted(child.name() for child in children) == ["nats-server", "sh"]
    source = StreamOptions(nats=nats_url)
    publish([("entity.change.Order.created", event) for event in events(0, 3)], source)
    with EventClient(url) as client:
        until(lambda: client.status()["offset"] == 3)
        kernel.begin(cell.format(url=url), "got 3\n")
        error, seconds = kernel.interrupt()
        assert (error, seconds < 1) == (ends_with, True)
        until(lambda: kernel.run("print(service._server.streams)") == "0\n", 2)
        publish([("entity.change.Order.created", event) for event in events(3, 5)], source)
        until(lambda: client.status()["offset"] == 5)
        assert client.status()["state"] == "live"
        assert client.read("*")["event_id"].to_list() == list("01234")
        assert all(child.is_running() for child in children)
    kernel.shut_down()
    assert not any(child.is_running() for child in children)
    assert not kernel.process.is_running()  # and its ports with it
    with serve(embedded=True, store=store, listen="127.0.0.1:0") as again, EventClient(again.url) as client:
        until(lambda: client.status()["offset"] == 5)
        assert client.read("*")["event_id"].to_list() == list("01234")


SQL = """
print("asking", flush=True)
EventClient({url!r}).sql("select count(*) from events, range(100000000) a, range(100000000) b")
"""


def test_the_stop_button_ends_a_query_within_a_second(
    kernel: Kernel, start: Callable[..., Service], send: Callable[..., int]
) -> None:
    service = start()
    send(*events(0, 3))
    until(lambda: service.status()["offset"] == 3)
    kernel.run("from fraiseql_events import EventClient")
    kernel.begin(SQL.format(url=service.url), "asking\n")
    time.sleep(1)
    error, seconds = kernel.interrupt()
    assert (error, len(kernel.error)) == ("KeyboardInterrupt", 2)
    assert seconds < 1
    until(lambda: service.status()["streams"] == 0, 2)
    assert kernel.run(f"print(EventClient({service.url!r}).sql('select count(*) from events').item())") == "3\n"
