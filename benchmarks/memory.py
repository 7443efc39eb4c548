"""How much memory does serve take while events come in and ten readers read them, and does it grow?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.bulk import mixed_messages
from benchmarks.running import Bar, Numbers, Report, peak_memory, run
from benchmarks.serve_process import Served, serving
from fraiseql_events import EventClient
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.publisher import Message, publish
from fraiseql_events.errors import EventsError

QUESTION = "how much memory does serve take while events come in and ten readers read, and does it grow?"
EVENTS = 20_000_000
#: The publisher waits when so many events are not in the history yet.
AHEAD = 1_000_000
MOST_MIB = 1024.0
MOST_GROWTH = 5.0
MIB = 2**20


def serve(settings: Numbers) -> Numbers:
    """At the default settings, beside a nats-server."""
    events = settings["events"]
    with (
        tempfile.TemporaryDirectory(prefix="memory-", dir=settings["folder"]) as folder,
        EmbeddedNats(Path(folder) / "nats") as nats,
        serving(Path(folder) / "store", "--nats", nats.url, environment=settings["environment"]) as served,
        _reading(served.url) as readers,
    ):
        started = time.perf_counter()
        samples = _watch(served, nats.url, events)
        seconds = time.perf_counter() - started
        peak = peak_memory(served.pid)
        assert readers.stdin is not None
        said = readers.communicate(timeout=120)[0]
    found: Numbers = {"events": events, "seconds": seconds, "peak_bytes": peak, "samples": samples}
    return found | grown(samples, events) | {"readers": json.loads(said)}


CONTENDERS = {"serve": serve}


@contextmanager
def _reading(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.readers", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _watch(served: Served, nats: str, events: int) -> list[Numbers]:
    """Publishes so many events, and looks at the server every second until all of them are in the history."""
    samples: list[Numbers] = []
    failed: list[EventsError] = []
    began = time.monotonic()

    def send() -> None:
        try:
            publish(_paced(mixed_messages(events), samples), StreamOptions(nats=nats))
        except EventsError as error:
            failed.append(error)

    sending = threading.Thread(target=send, daemon=True)
    with EventClient(served.url) as client:
        while not samples or samples[-1]["committed"] < events:
            status = client.status()
            sample = _sizes(served.pid) | {"committed": status["committed"], "streams": status["streams"]}
            samples.append({"seconds": round(time.monotonic() - began, 2), **sample})
            if failed:
                raise failed[0]
            if not sending.ident:
                sending.start()
            time.sleep(1)
    sending.join()
    return samples


def _paced(messages: Iterator[Message], samples: list[Numbers]) -> Iterator[Message]:
    sent = 0
    for message in messages:
        yield message
        sent += message[1].count(b"\n") or 1
        while sent - samples[-1]["committed"] > AHEAD:
            time.sleep(0.05)


def _sizes(pid: int) -> Numbers:
    """A process's memory, that part of it which is no file's, and its threads (Linux)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines())
    mib = {name: round(int(lines[key].split()[0]) / 1024, 1) for name, key in (("rss", "VmRSS"), ("anon", "RssAnon"))}
    return mib | {"threads": int(lines["Threads"])}


def grown(samples: list[Numbers], events: int) -> Numbers:
    """Straight lines through the memory: over the second half of the events, and over their last third."""
    done = np.array([sample["committed"] for sample in samples]) / 1e6
    rss = np.array([sample["rss"] for sample in samples])
    half, third = done >= events / 2e6, done >= events * 2 / 3e6
    return {
        "mib_per_million": _line(done[half], rss[half])[0],
        "growth_percent": 100 * _growth(done[third], rss[third]),
        "last_mib": float(np.median(rss[third])) if third.any() else float(rss[-1]),
        "most_threads": max(sample["threads"] for sample in samples),
        "last_threads": samples[-1]["threads"],
    }


def _growth(done: np.ndarray, rss: np.ndarray) -> float:
    slope, at_zero = _line(done, rss)
    return slope * (done[-1] - done[0]) / (at_zero + slope * done[0]) if slope else 0.0


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and height at 0 of the straight line through points; flat where there are too few."""
    if len(np.unique(x)) < 3:
        return 0.0, float(y.mean()) if len(y) else 0.0
    slope, at_zero = np.polyfit(x, y, 1)
    return float(slope), float(at_zero)


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder:
        environment = dict(pair.split("=", 1) for pair in arguments.environment)
        yield {"folder": folder, "events": arguments.events, "environment": environment}


def judge(report: Report) -> list[Bar]:
    return [
        Bar("peak memory of serve", max(report.of("serve", "peak_bytes")) / MIB, MOST_MIB, least=False, unit="MiB"),
        Bar("growth over the last third", report.median("serve", "growth_percent"), MOST_GROWTH, least=False, unit="%"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many ({EVENTS:,})")
    parser.add_argument(
        "--environment", nargs="*", default=[], metavar="NAME=VALUE", help="of serve, to try what makes a difference"
    )


if __name__ == "__main__":
    run("memory", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options, rounds=1)
