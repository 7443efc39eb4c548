"""How fast do events get into a data frame of R's?"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.history import history_of
from benchmarks.running import Bar, Numbers, Report, run, run_in_order
from benchmarks.serving import serving

QUESTION = "how fast do events of all types get into a data frame of R's, without the package arrow?"
EVENTS = 1_000_000
#: Times the best of what reticulate can do by itself.
MOST = 1.5
#: A pandas frame is none of them: reticulate before 1.41 leaves those of pandas 3 as they are.
ROUTES = {
    "fraiseqlevents": "Ours: `events_read()`.",
    "lists": "reticulate makes vectors of Python's lists, column by column; what is missing is lost.",
    "csv, read.csv": "A file of CSV that pyarrow writes and R's own `read.csv` reads.",
    "csv, fread": "The same, read by `fread` of the package data.table.",
}
_FOLDER = Path(__file__).parent


def _route(name: str, about: str) -> Callable[[Numbers], Numbers]:
    def read(settings: Numbers) -> Numbers:
        with serving("history", settings) as server:
            environment = os.environ | {"R_LIBS": settings["library"], "RETICULATE_PYTHON": sys.executable}
            environment |= {"R_LD_LIBRARY_PATH": settings["r"], "PYTHONPATH": str(_FOLDER.parent)}
            command = ["Rscript", "--vanilla", str(_FOLDER / "r.R"), name, server.url]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found: Numbers = json.loads(done.stdout.splitlines()[-1])
        assert found["events"] == settings["events"], found
        return found

    read.__doc__ = about
    return read


CONTENDERS = {name: _route(name, about) for name, about in ROUTES.items()}


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    with tempfile.TemporaryDirectory(prefix="fraiseql-events-") as folder:
        install = ["R", "CMD", "INSTALL", "--no-docs", f"--library={folder}", str(_FOLDER.parent / "r")]
        subprocess.run(install, check=True, capture_output=True)
        home = run_in_order(["R", "RHOME"]).strip()
        store = history_of(arguments.events, Path(folder))
        yield {"events": arguments.events, "store": str(store), "library": folder, "r": f"{home}/lib"}


def judge(report: Report) -> list[Bar]:
    best = min(list(ROUTES)[1:], key=lambda name: report.median(name, "seconds"))
    ratio = report.ratio("fraiseqlevents", best, "seconds")
    return [Bar(f"time beside the best of reticulate's own routes ({best})", ratio, MOST, least=False)]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many ({EVENTS:,})")


if __name__ == "__main__":
    run("r", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
