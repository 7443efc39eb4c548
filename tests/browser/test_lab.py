"""The tests in a browser themselves: what is missing is one sentence, and nothing outlives them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.browser.lab import ROOT, Lab, NoLab
from tests.waiting import until


def configure(folder: Path, code: str) -> dict[str, str]:
    """The environment of a JupyterLab that runs some code when it starts."""
    folder.mkdir()
    (folder / "jupyter_server_config.py").write_text(code)
    return {"JUPYTER_CONFIG_PATH": str(folder)}


def commands_at(home: Path) -> list[str]:
    """What runs with a home that is somewhere in a folder."""
    return [
        " ".join(each.info["cmdline"])
        for each in psutil.process_iter(["cmdline", "environ", "status"])
        if each.info["status"] != psutil.STATUS_ZOMBIE
        and (each.info["environ"] or {}).get("HOME", "").startswith(str(home))
    ]


@contextmanager
def a_run(tmp_path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """One of the tests in a browser, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'run'}"]
    command += ["tests/browser/test_dashboard.py", "-k", "buttons"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no port is free')", "JupyterLab ended before it was ready: no port is free "),
        ("import time; time.sleep(600)", "JupyterLab was not ready within 5 seconds; what it said is in "),
    ],
)
def test_a_jupyterlab_that_does_not_come_up_is_one_sentence_and_ends(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in configure(tmp_path / "config", code).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "lab").mkdir()
    with pytest.raises(NoLab, match=f"^{said}"):
        Lab(tmp_path / "lab", seconds=5 if "sleep" in code else 60)
    assert commands_at(tmp_path) == []


def test_in_the_tests_it_is_that_sentence_and_no_traceback(tmp_path: Path) -> None:
    environment = configure(tmp_path / "config", "raise SystemExit('no port is free')")
    with a_run(tmp_path, **environment) as run:
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1
    assert "\nJupyterLab ended before it was ready: no port is free (all of it: " in said
    assert "lab.py" not in said
    assert commands_at(tmp_path) == []


def test_without_chromium_it_is_one_sentence_at_once(tmp_path: Path) -> None:
    with a_run(tmp_path, PATH=str(tmp_path)) as run:
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1
    assert "\nthere is no chromium, which these tests drive: `apt-get install chromium` installs it\n" in said
    assert "conftest.py" not in said
    assert not list(tmp_path.glob("run/lab*"))


@pytest.mark.timeout(200)
def test_nothing_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    parts = ("chromium", "tests.browser.server", "ipykernel", "nats-server")
    with a_run(tmp_path) as run:
        until(lambda: all(part in " ".join(commands_at(tmp_path)) for part in parts), 80)
        children = psutil.Process(run.pid).children(recursive=True)
        run.kill()
        run.wait()
        until(lambda: not commands_at(tmp_path), 30)
        until(lambda: not [each for each in children if lives(each)], 10)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
