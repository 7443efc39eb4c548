"""How long is the wait for the first batch of a day's events in a long history?"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars  # noqa: F401  what the first frame would import is no part of the wait
import pyarrow.flight as fl

from benchmarks.history import days_between, forget, history_of
from benchmarks.running import Bar, Numbers, Report, percentiles, run
from benchmarks.serve_process import serving
from fraiseql_events import EventClient

QUESTION = "how long does one wait for the first batch of one day's orders in a long history?"
SMALL, LARGE = 2_000_000, 20_000_000
ENTITY = "Order"
ASKED = 30
MOST_MS = 150.0
MOST_RATIO = 2.0
Ask = Callable[[str, str], int]


def small(settings: Numbers) -> Numbers:
    """The shorter history."""
    return first_batches(settings["small"], settings)


def large(settings: Numbers) -> Numbers:
    """The longer one."""
    return first_batches(settings["large"], settings)


CONTENDERS = {"small": small, "large": large}


def first_batches(events: int, settings: Numbers) -> Numbers:
    """The waits for a server's first answer, its files on the disk alone, and for days all over its history."""
    store = history_of(events, Path(settings["histories"]))
    forget(store / "events")
    with serving(store) as served, EventClient(served.url) as client:
        cold = seconds_of(through_client, served.url, "2026-01-01")
        info = client.entities()[ENTITY]
        days = days_between(info.first, info.last)
        spread = [days[number * (len(days) - 1) // max(1, ASKED - 1)] for number in range(ASKED)]
        found: Numbers = {"events": events, "days": len(days), "cold_ms": 1000 * cold}
        for name, ask in (("client", through_client), ("flight", through_flight)):
            waits = [seconds_of(ask, served.url, day) for day in spread * 2][ASKED:]  # the first pass warms
            shown = percentiles(waits)
            found |= {f"{name}_{key}": shown[key] for key in ("p50_ms", "max_ms")}
    return found


def through_client(url: str, day: str) -> int:
    """As a notebook does it."""
    with EventClient(url) as client, client.stream(ENTITY, day, day) as events:
        return int(next(iter(events)).height)


def through_flight(url: str, day: str) -> int:
    """pyarrow's client alone, on a new connection too."""
    with fl.FlightClient(url) as client:
        reader = client.do_get(fl.Ticket(f"events:{ENTITY}:{day}:{day}"))
        rows = int(reader.read_chunk().data.num_rows)
        reader.cancel()
        return rows


def seconds_of(ask: Ask, url: str, day: str) -> float:
    started = time.perf_counter()
    assert ask(url, day), day
    return time.perf_counter() - started


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder:
        histories = arguments.histories or Path(folder)
        for events in (arguments.small, arguments.large):
            history_of(events, histories)
        yield {"histories": str(histories), "small": arguments.small, "large": arguments.large}


def judge(report: Report) -> list[Bar]:
    return [
        Bar("first batch, long history", report.median("large", "client_p50_ms"), MOST_MS, least=False, unit="ms"),
        Bar("its first request of all", report.median("large", "cold_ms"), MOST_MS, least=False, unit="ms"),
        Bar(
            "long history beside a tenth of it",
            report.ratio("large", "small", "client_p50_ms"),
            MOST_RATIO,
            least=False,
        ),
        Bar("the same, first request of all", report.ratio("large", "small", "cold_ms"), MOST_RATIO, least=False),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--small", type=int, default=SMALL, help=f"the shorter history's events ({SMALL:,})")
    parser.add_argument("--large", type=int, default=LARGE, help=f"the longer one's ({LARGE:,})")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="where they are kept, and made if missing")


if __name__ == "__main__":
    run("first_batch", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
