"""How fast does a range of the past get into a client?"""

from __future__ import annotations

import argparse
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.flight as fl

from benchmarks.history import PER_DAY, blocks, history_of
from benchmarks.running import Bar, Numbers, Report, run, timed
from benchmarks.serving import Server, keep_batches, serving
from fraiseql_events import EventClient, EventStream
from fraiseql_events.ticket import Ticket

QUESTION = "how fast does a range of days of one entity type of four get into a client, from disk and from memory?"
#: Of these, 78 in 100 are orders: 5 million.
EVENTS = 6_500_000
HTTP_DAYS = 2


def memory(settings: Numbers) -> Numbers:
    """A plain Flight server that sends the same batches from memory, to a plain Flight client."""
    return _read("memory", settings, lambda server: _bare(server.url, settings["ticket"]))


def history(settings: Numbers) -> Numbers:
    """Ours: Delta, Flight, Arrow in the client."""
    return _read("history", settings, lambda server: _arrow(server.url, settings["ticket"]))


def history_bare(settings: Numbers) -> Numbers:
    """Our server, and a plain Flight client."""
    return _read("history", settings, lambda server: _bare(server.url, settings["ticket"]))


def tail_first(settings: Numbers) -> Numbers:
    """Ours, of events that the log has in memory, and nobody has asked for this entity type yet."""
    return _read("tail", settings, lambda server: _arrow(server.url, settings["ticket"]))


def tail(settings: Numbers) -> Numbers:
    """The same for the readers after the first."""
    found: Numbers = {}
    with serving("tail", settings) as server:
        _arrow(server.url, settings["ticket"])
        before = server.cpu_seconds()
        with timed(found):
            found["events"] = _arrow(server.url, settings["ticket"])
        found["server_cpu_seconds"] = server.cpu_seconds() - before
        found["server_peak_bytes"] = server.peak_bytes()
    return found


def stream(settings: Numbers) -> Numbers:
    """All events of the type, read and dropped."""
    return _read("history", settings, lambda server: _arrow(server.url, settings["all"]))


def to_polars(settings: Numbers) -> Numbers:
    """All events of the type in one Polars frame."""

    def read(server: Server) -> int:
        with EventClient(server.url) as client:
            return _asked(client, settings["all"]).to_polars().height

    return _read("history", settings, read)


def ndjson(settings: Numbers) -> Numbers:
    """The same as newline-delimited JSON over HTTP, written row by row, parsed by Polars."""
    return _read("http", settings, lambda server: _http(server.url + "/json"))


def ndjson_polars(settings: Numbers) -> Numbers:
    """The same, written by Polars, which the usual HTTP server is not."""
    return _read("http", settings, lambda server: _http(server.url + "/polars"))


CONTENDERS = {
    "memory": memory,
    "history": history,
    "history, bare": history_bare,
    "tail, first": tail_first,
    "tail": tail,
    "stream": stream,
    "to_polars": to_polars,
    "ndjson": ndjson,
    "ndjson by Polars": ndjson_polars,
}


def _read(kind: str, settings: Numbers, read: Callable[[Server], int]) -> Numbers:
    found: Numbers = {}
    with serving(kind, settings) as server:
        before = server.cpu_seconds()
        with timed(found):
            found["events"] = read(server)
        found["server_cpu_seconds"] = server.cpu_seconds() - before
        found["server_peak_bytes"] = server.peak_bytes()
    return found


def _bare(url: str, ticket: str) -> int:
    with fl.connect(url) as client:
        return sum(chunk.data.num_rows for chunk in client.do_get(fl.Ticket(ticket.encode())))


def _arrow(url: str, ticket: str) -> int:
    with EventClient(url) as client:
        return sum(batch.num_rows for batch in _asked(client, ticket).batches())


def _asked(client: EventClient, ticket: str) -> EventStream[pl.DataFrame]:
    wanted = Ticket.decode(ticket)
    assert wanted.entity is not None
    return client.stream(wanted.entity, _moment(wanted.start), _moment(wanted.end))


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def _http(url: str) -> int:
    with urllib.request.urlopen(url) as response:
        return pl.read_ndjson(response.read()).height


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    """A history, of which the middle of its days is asked for."""
    days = arguments.events // PER_DAY
    start = next(blocks(1)).column("timestamp")[0].as_py().date()
    first, last = days // 4, 3 * days // 4
    with tempfile.TemporaryDirectory(prefix="fraiseql-bench-") as folder:
        settings: Numbers = {
            "folder": folder,
            "store": str(history_of(days * PER_DAY, Path(folder))),
            "batches": str(Path(folder) / "batches.arrow"),
            "events": days * PER_DAY,
            "days": last - first + 1,
            "ticket": _ticket(start, first, last),
            "http_ticket": _ticket(start, first, first + HTTP_DAYS - 1),
            "all": "events:Order",
            "blocks": [max(0, first - 1), last + 2],  # a block begins in one day and may end in the next
        }
        settings["served"] = keep_batches(settings)
        yield settings


def _ticket(start: date, first: int, last: int) -> str:
    """Orders of so many whole days."""
    return f"events:Order:{start + timedelta(days=first)}:{start + timedelta(days=last)}"


def judge(report: Report) -> list[Bar]:
    names = ("memory", "history", "history, bare", "tail, first", "tail")
    read = {run["events"] for name in names for run in report.runs[name]}
    assert read == {report.settings["served"]}, f"not the same events: {read}"
    ratio = report.ratio
    return [
        Bar("replay of history beside Flight from memory", ratio("history", "memory"), 0.6),
        Bar("replay of the hot tail beside Flight from memory", ratio("tail", "memory"), 0.9),
        Bar("replay of history beside newline-delimited JSON over HTTP", ratio("history", "ndjson"), 20),
        Bar("time of to_polars beside the stream alone", ratio("to_polars", "stream", "seconds"), 1.5, least=False),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"of the history ({EVENTS:,})")


if __name__ == "__main__":
    run("replay", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options, rounds=5)
