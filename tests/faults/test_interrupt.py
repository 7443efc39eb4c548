"""The stop button of a notebook, on a real Jupyter kernel: a follow ends at once, and a service there lives on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any, Self

import psutil
import pytest
from jupyter_client.manager import KernelManager

from fraiseql_events import EventClient, Service, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from tests.following import events
from tests.waiting import until

ROOT = Path(__file__).parents[2]

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


class Kernel:
    """A kernel as a notebook has it."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        environment = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython")}
        self.manager.start_kernel(env=os.environ | environment, cwd=str(folder))
        self.process = psutil.Process(self.manager.provisioner.pid)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(30)

    def begin(self, code: str, says: str) -> None:
        """Runs a cell that goes on; returns when it has said something."""
        self._message = self.client.execute(code)
        assert self._listen(20, says)[0] == says

    def run(self, code: str) -> str:
        """Runs a cell to its end; what it printed."""
        self._message = self.client.execute(code)
        printed, error = self._listen(20)
        assert error is None, error
        return printed

    def interrupt(self) -> tuple[str | None, float]:
        """Presses the stop button; the error that the cell ends with, and the seconds that it took."""
        pressed = time.monotonic()
        self.manager.interrupt_kernel()
        _, error = self._listen(20)
        return error, time.monotonic() - pressed

    def _listen(self, seconds: float, says: str | None = None) -> tuple[str, str | None]:
        """What the cell prints until it has said something, or ended; the name of its error."""
        printed, error = "", None
        deadline = time.monotonic() + seconds
        while says is None or printed != says:
            try:
                found: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"the cell did not end; it printed {printed!r}") from None
            if found["parent_header"].get("msg_id") != self._message:
                continue
            kind, content = found["msg_type"], found["content"]
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        return printed, error

    def shut_down(self) -> None:
        """Ends it as the menu does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()
        assert not self.process.is_running()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.manager.has_kernel:
            self.client.stop_channels()
            self.manager.shutdown_kernel()
        self.manager.cleanup_resources()


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
        assert seconds < 1
        until(lambda: server.streams == 0, 2)
        assert time.monotonic() - ended < 2


@CELLS
def test_a_service_in_the_kernel_lives_on_after_the_stop_button(
    kernel: Kernel, tmp_path: Path, cell: str, ends_with: str
) -> None:
    store = tmp_path / "store"
    url, nats_url = kernel.run(SERVE.format(store=str(store))).split()
    (nats,) = kernel.process.children()
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
        assert nats.is_running()
    kernel.shut_down()
    assert not nats.is_running()
    assert not kernel.process.is_running()  # and its ports with it
    with serve(embedded=True, store=store, listen="127.0.0.1:0") as again, EventClient(again.url) as client:
        until(lambda: client.status()["offset"] == 5)
        assert client.read("*")["event_id"].to_list() == list("01234")
