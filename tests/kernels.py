"""A real Jupyter kernel, driven as a notebook drives it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from queue import Empty
from typing import Any, Self

import psutil
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[1]


class Kernel:
    """A kernel as a notebook has it.

    Attributes:
        error: what the last cell showed of its error, line by line.
        printed: what it printed before it failed, or after the stop button was pressed.
        text: what it showed as plain text.
        heard: every message on the kernel's output channel while the last cell ran, those of threads too.
    """

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        environment = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython")}
        self.manager.start_kernel(env=os.environ | environment, cwd=str(folder))
        self._connect()

    def _connect(self) -> None:
        self.process = psutil.Process(self.manager.provisioner.pid)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(30)

    def begin(self, code: str, says: str) -> None:
        """Runs a cell that goes on; returns when it has said something."""
        self._message = self.client.execute(code)
        assert self._listen(20, says)[0] == says

    def start(self, code: str) -> None:
        """Runs a cell that goes on; returns at once."""
        self._message = self.client.execute(code)

    def shown_within(self, seconds: float) -> list[dict[str, Any]]:
        """What a cell that goes on shows within so many seconds: text and HTML, again for each time that it changes."""
        shown, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                found = self.client.get_iopub_msg(timeout=left)
            except Empty:
                break
            if found["msg_type"] in ("display_data", "update_display_data"):
                shown.append(found["content"]["data"])
        return shown

    def run(self, code: str) -> str:
        """Runs a cell to its end; what it printed."""
        self._message = self.client.execute(code)
        printed, error = self._listen(20)
        assert error is None, self.error
        return printed

    def fail(self, code: str) -> list[str]:
        """Runs a cell that ends with an error; what is shown of it, line by line."""
        self._message = self.client.execute(code)
        self.printed, error = self._listen(20)
        assert error is not None
        return self.error

    def restart(self) -> None:
        """As the menu's "Restart kernel" does."""
        self.client.stop_channels()
        self.manager.restart_kernel()
        self._connect()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Ends it without a word."""
        self.client.stop_channels()
        self.process.send_signal(number)
        self.process.wait()

    def start_again(self) -> None:
        """Starts another in the place of one that was killed."""
        self.manager.restart_kernel(now=True)
        self._connect()

    def interrupt(self) -> tuple[str | None, float]:
        """Presses the stop button; the error that the cell ends with, and the seconds that it took."""
        pressed = time.monotonic()
        self.manager.interrupt_kernel()
        self.printed, error = self._listen(20)
        return error, time.monotonic() - pressed

    @property
    def html(self) -> str:
        """What the last cell showed as HTML."""
        return self._html

    def _listen(self, seconds: float, says: str | None = None) -> tuple[str, str | None]:
        """What the cell prints until it has said something, or ended; the name of its error."""
        printed, error = "", None
        self.error, self._html, self.text = [], "", ""
        self.heard: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while says is None or printed != says:
            try:
                found: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"the cell did not end; it printed {printed!r}") from None
            self.heard.append(found)
            if found["parent_header"].get("msg_id") != self._message:
                continue
            kind, content = found["msg_type"], found["content"]
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            elif kind in ("execute_result", "display_data"):
                self._html += content["data"].get("text/html", "")
                self.text += content["data"].get("text/plain", "")
            elif kind == "error":
                error, self.error = content["ename"], content["traceback"]
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
