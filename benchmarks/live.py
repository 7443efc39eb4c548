"""How soon is a published event in a client's loop?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.flight as fl

from benchmarks.pacing import publishing
from benchmarks.running import Bar, Numbers, Report, percentiles, run
from benchmarks.serving import Server, serving, started
from fraiseql_events import EventClient
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.publisher import publish

QUESTION = "how soon is a published event in a client's loop, from publish to frame?"
SECONDS = 10.0
#: What is published in the first second is not measured: everything is warm after it.
WARM = 1.0
#: So long after the last event has been published, what has not come is lost.
PATIENCE = 20.0
Seen = tuple[int, pl.Series]


def floor(settings: Numbers) -> Numbers:
    """The least that there is: nats-py's callback, a batch of one event, a plain Flight stream and client."""

    def batches(server: Server) -> Iterator[Seen]:
        with fl.connect(server.url) as client:
            for chunk in client.do_get(fl.Ticket(b"live")):
                yield time.time_ns(), pl.Series(chunk.data.column(0))

    with serving("floor", settings) as server:
        return _watch(settings, settings["slow"], server, batches(server))


def slow(settings: Numbers) -> Numbers:
    """Ours: `fraiseql-events serve`, and a loop over the client's frames, an event a millisecond."""
    return _ours(settings, settings["slow"])


def fast(settings: Numbers) -> Numbers:
    """The same with many events a millisecond."""
    return _ours(settings, settings["fast"])


CONTENDERS = {"floor": floor, "slow": slow, "fast": fast}


def _ours(settings: Numbers, rate: int) -> Numbers:
    with tempfile.TemporaryDirectory(dir=settings["folder"]) as store, _serve(settings["nats"], store) as server:
        return _watch(settings, rate, server, _frames(server))


@contextmanager
def _serve(nats: str, store: str) -> Iterator[Server]:
    """The real command, once it has read what earlier rounds have published."""
    command = [sys.executable, "-m", "fraiseql_events.cli", "serve", "--nats", nats, "--store", store]
    with started([*command, "--listen", "127.0.0.1:0"], stop=subprocess.Popen.terminate) as server:
        with EventClient(server.url) as client:
            while client.status()["lag"]:
                time.sleep(0.1)
        yield server


def _frames(server: Server) -> Iterator[Seen]:
    with EventClient(server.url) as client:
        after = client.status()["offset"] - 1
        with client.stream("Order", after_offset=after, follow=True) as stream:
            for frame in stream:
                yield time.time_ns(), frame.get_column("data")


def _watch(settings: Numbers, rate: int, server: Server, seen: Iterable[Seen]) -> Numbers:
    """Publishes, and takes what comes until all of it has come."""
    kept: list[Seen] = []
    rows, total = 0, int(rate * settings["seconds"])
    deadline = time.monotonic() + settings["seconds"] + PATIENCE
    used = server.cpu_seconds(), time.process_time()
    with publishing(settings["nats"], rate, settings["seconds"]) as publisher:
        for moment, data in seen:
            kept.append((moment, data))
            rows += len(data)
            if rows >= total or time.monotonic() > deadline:
                break
        assert publisher.stdout is not None
        paced = json.loads(publisher.stdout.read())
    assert rows == total, f"{rows} of {total} events came"
    cpu = {"server_cpu_seconds": server.cpu_seconds() - used[0], "cpu_seconds": time.process_time() - used[1]}
    return {"events": rows, "frames": len(kept), "pace": paced} | cpu | percentiles(_waits(kept))


def _waits(seen: list[Seen]) -> list[float]:
    """Seconds from publish to frame, without those of the first moments."""
    came = pl.concat([pl.repeat(moment, len(data), dtype=pl.Int64, eager=True) for moment, data in seen])
    sent = pl.concat([data for _, data in seen]).str.extract(r'"sent":(\d+)').cast(pl.Int64)
    warm = sent >= sent[0] + int(WARM * 1e9)
    return ((came - sent).filter(warm) / 1e9).to_list()


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    """A nats-server with an empty stream."""
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder, EmbeddedNats(Path(folder) / "nats") as nats:
        publish([], StreamOptions(nats=nats.url))
        yield {
            "folder": folder,
            "nats": nats.url,
            "seconds": arguments.seconds,
            "slow": arguments.slow,
            "fast": arguments.fast,
        }


def judge(report: Report) -> list[Bar]:
    few, many = (f"{report.settings[name]:,} events/s" for name in ("slow", "fast"))
    return [
        Bar(f"{few}, p50", report.median("slow", "p50_ms"), 2, least=False, unit="ms"),
        Bar(f"{few}, p99", report.median("slow", "p99_ms"), 10, least=False, unit="ms"),
        Bar(f"{many}, p99", report.median("fast", "p99_ms"), 50, least=False, unit="ms"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for how long events come ({SECONDS:g})")
    parser.add_argument("--slow", type=int, default=1_000, help="events a second in the first case (1,000)")
    parser.add_argument("--fast", type=int, default=50_000, help="in the second (50,000)")


if __name__ == "__main__":
    run("live", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
