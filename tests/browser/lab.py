"""A real JupyterLab in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

import nbformat
import psutil

from tests.waiting import until

ROOT = Path(__file__).parents[2]
#: No question and no word about news: a test is no newcomer.
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
OPTIONS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port=0",  # a free one
    "--LabApp.extension_manager=readonly",  # asks no registry
]


class NoLab(Exception):
    """JupyterLab did not come up; what it said, in a sentence."""


class Lab:
    """A JupyterLab server, up and answering, whose settings, notebooks and temporary files are all in one folder.

    Args:
        folder: an empty one.
        seconds: how long it may take to come up.

    Attributes:
        notebooks: the folder that it shows.
        url: its address, with a slash at the end.
        token: what lets one in.

    Raises:
        NoLab: it ended before it was ready, or is not ready in time.
    """

    def __init__(self, folder: Path, *, seconds: float = 60) -> None:
        self._home = folder / "home"
        self.notebooks = folder / "notebooks"
        self.token = secrets.token_hex(16)
        places = {
            "HOME": self._home,
            "JUPYTER_CONFIG_DIR": folder / "config",
            "JUPYTER_DATA_DIR": folder / "data",
            "JUPYTER_RUNTIME_DIR": folder / "runtime",
            "IPYTHONDIR": folder / "ipython",
            "TMPDIR": folder / "tmp",
        }
        for place in (self.notebooks, *places.values()):
            place.mkdir()
        settings = folder / "config" / "labconfig" / "default_setting_overrides.json"
        settings.parent.mkdir()
        settings.write_text(json.dumps(SETTINGS))
        self._log = folder / "lab.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.browser.server", *OPTIONS, f"--ServerApp.root_dir={self.notebooks}"],
                env=os.environ
                | {name: str(place) for name, place in places.items()}
                | {"PYTHONPATH": str(ROOT), "JUPYTER_TOKEN": self.token},
                cwd=self.notebooks,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = self._wait_until_ready(folder / "runtime", seconds)
        except BaseException:
            self.close()
            raise

    def copy(self, path: Path) -> str:
        """Puts a copy of a notebook into the folder that it shows; its name there."""
        shutil.copy(path, self.notebooks)
        return path.name

    def new(self, name: str) -> str:
        """Puts an empty notebook into the folder that it shows; its name there."""
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        notebook.cells = [nbformat.v4.new_code_cell()]
        nbformat.write(notebook, self.notebooks / name)
        return name

    def processes(self) -> list[psutil.Process]:
        """All that run on its behalf besides itself, such as kernels, also those whose parent is gone."""
        return [each for each in psutil.process_iter() if each.pid != self._process.pid and self._is_ours(each)]

    def ports(self) -> set[int]:
        """Where these listen."""
        found: set[int] = set()
        for each in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {c.laddr.port for c in each.net_connections() if c.status == psutil.CONN_LISTEN}
        return found

    def end_kernels(self) -> None:
        """Ends all kernels.

        Raises:
            AssertionError: something outlived them.
        """
        for each in json.loads(self._ask("GET", "")):
            self._ask("DELETE", f"/{each['id']}")
        until(lambda: not self.processes(), 15)

    def close(self) -> None:
        """Ends it with its kernels.

        Raises:
            AssertionError: something outlived it, and was killed.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        _, alive = psutil.wait_procs(self.processes(), timeout=10)
        left = [f"{each.pid}: {' '.join(each.cmdline())}" for each in alive]
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            left.append(f"JupyterLab itself: {self._log.read_text()[-6000:]}")
            self._process.kill()
            self._process.wait()
        for each in alive:
            each.kill()
        assert not left, f"these did not end by themselves: {left}"

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("HOME") == str(self._home) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:  # it has just ended, or is of another user
            return False

    def _ask(self, method: str, path: str) -> bytes:
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}api/kernels{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def _wait_until_ready(self, runtime: Path, seconds: float) -> str:
        """Its address."""
        end = time.monotonic() + seconds
        while not ((info := list(runtime.glob("jpserver-*.json"))) and info[0].read_text().endswith("}")):
            if self._process.poll() is not None:
                raise NoLab(f"JupyterLab ended before it was ready: {self._last_words()} (all of it: {self._log})")
            if time.monotonic() > end:
                raise NoLab(f"JupyterLab was not ready within {seconds:g} seconds; what it said is in {self._log}")
            time.sleep(0.05)
        url: str = json.loads(info[0].read_text())["url"]
        return url

    def _last_words(self) -> str:
        lines = self._log.read_text().strip().splitlines()
        return lines[-1] if lines else f"it said nothing, with exit code {self._process.returncode}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
