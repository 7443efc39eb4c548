"""How long from a fresh Python to the first answer of a service on an embedded NATS server?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.history import forget, history_of
from benchmarks.running import Bar, Numbers, Report, run

QUESTION = "how long from a fresh Python to the first answer of a service on an embedded NATS server?"
EVENTS = 2_000_000
MOST_SECONDS = 2.0
PARTS: Final = ("interpreter", "import", "service", "answer", "frame")
#: What a notebook's first cells do; it tells the moments at which each part was done.
CELLS: Final = """
import time
moments = [time.monotonic()]
from fraiseql_events import EventClient, serve
moments.append(time.monotonic())
import sys
with serve(embedded=True, store=sys.argv[1], listen="127.0.0.1:0") as service:
    moments.append(time.monotonic())
    client = EventClient(service.url)
    entities = client.entities()
    moments.append(time.monotonic())
    frame = client.read("Order", limit=1000)
    moments.append(time.monotonic())
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    events = sum(info.events for info in entities.values())
    import json
    told = {"moments": moments, "events": events, "rows": frame.height, "peak_bytes": 1024 * int(peak.split()[1])}
    print(json.dumps(told), flush=True)
"""


def new_store(settings: Numbers) -> Numbers:
    """A folder that is not there yet."""
    with tempfile.TemporaryDirectory(prefix="startup-", dir=settings["folder"]) as folder:
        return start(Path(folder) / "store")


def long_history(settings: Numbers) -> Numbers:
    """A store with millions of events, none of its bytes in memory."""
    store = history_of(settings["events"], Path(settings["histories"]))
    forget(store)
    found = start(store)
    assert found["events"] == settings["events"], found
    return found


CONTENDERS = {"new store": new_store, "long history": long_history}


def start(store: Path) -> Numbers:
    """Each part's seconds, and all of them up to the first answer and to the first frame."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CELLS, str(store)], stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    found: Numbers = json.loads(done.stdout)
    moments = [began, *found.pop("moments")]
    for part, before, after in zip(PARTS, moments, moments[1:], strict=False):
        found[f"{part}_ms"] = 1000 * (after - before)
    return found | {"answer_seconds": moments[4] - began, "frame_seconds": moments[5] - began}


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder:
        histories = arguments.histories or Path(folder)
        history_of(arguments.events, histories)
        yield {"folder": folder, "histories": str(histories), "events": arguments.events}


def judge(report: Report) -> list[Bar]:
    return [
        Bar(f"{what}, {name}", report.median(name, key), MOST_SECONDS, least=False, unit="s")
        for name in CONTENDERS
        for what, key in (("first answer", "answer_seconds"), ("first frame", "frame_seconds"))
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"the long history's events ({EVENTS:,})")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="where it is kept, and made if missing")


if __name__ == "__main__":
    run("startup", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
