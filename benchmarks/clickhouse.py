"""How fast do events get into a table of ClickHouse's?"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
import pyarrow as pa
import pyarrow.flight as fl

from benchmarks.history import history_of
from benchmarks.running import Bar, Numbers, Report, run, run_in_order, timed
from benchmarks.serving import serving
from fraiseql_events.event import SCHEMA
from fraiseql_events.sinks.blocks import MOST_ROWS
from fraiseql_events.sinks.schema import Tables
from fraiseql_events.ticket import Ticket

QUESTION = "how fast do events of all types get from our server into ClickHouse's table, and its two tables of counts?"
EVENTS = 10_000_000
LEAST_RATIO = 0.7
LEAST_RATE = 1_000_000
TABLES = Tables(database="default", table="fraiseql_events")


def sink(settings: Numbers) -> Numbers:
    """Ours: Delta, Flight, `fraiseql-events sink clickhouse --once`, its engine; the server is another process."""
    with serving("history", settings) as server, _folder(settings) as folder:
        before = server.cpu_seconds()
        command = [sys.executable, "-m", "fraiseql_events.cli", "sink", "clickhouse", "--once"]
        printed = run_in_order([*command, "--url", f"chdb://{folder}", "--from", server.url])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        found: Numbers = json.loads(printed)
        found |= {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}
        found |= {"server_cpu_seconds": server.cpu_seconds() - before, "server_peak_bytes": server.peak_bytes()}
        _check(folder, found["events"])
    return found


def file(settings: Numbers) -> Numbers:
    """ClickHouse's engine alone: `INSERT … SELECT … FROM file(…, 'Arrow')` of the same rows into the same tables."""
    return _from_file(settings, TABLES.migration())


def file_bare(settings: Numbers) -> Numbers:
    """The same into the one table, without the counts."""
    return _from_file(settings, TABLES.migration()[:1])


def _from_file(settings: Numbers, migration: list[str]) -> Numbers:
    names = ", ".join([*SCHEMA.names, "offset"])
    found: Numbers = {}
    with _folder(settings) as folder, timed(found), _client(folder) as client:
        for statement in migration:
            client.command(statement)
        client.command(f"INSERT INTO {TABLES.events} ({names}) SELECT {names} FROM file('{settings['file']}', 'Arrow')")
        found["events"] = client.query(f"SELECT count() FROM {TABLES.events}").result_rows[0][0]
    return found


CONTENDERS: dict[str, Callable[[Numbers], Numbers]] = {"sink": sink, "file": file, "file, no counts": file_bare}


@contextmanager
def _folder(settings: Numbers) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=settings["folder"]) as folder:
        yield Path(folder)


@contextmanager
def _client(folder: Path) -> Iterator[clickhouse_connect.driver.Client]:
    with clickhouse_connect.get_client(interface="chdb", path=str(folder)) as client:
        yield client


def _check(folder: Path, events: int) -> None:
    with _client(folder) as client:
        found = client.query(f"SELECT count(), uniqExact(offset) FROM {TABLES.events}").result_rows
    assert found == [(events, events)], found


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    with tempfile.TemporaryDirectory(prefix="fraiseql-events-") as name:
        folder = Path(name)
        settings = {"events": arguments.events, "block": MOST_ROWS, "folder": name}
        settings |= {"store": str(history_of(arguments.events, arguments.histories or folder))}
        settings |= {"file": _write(settings, folder / "events.arrow")}
        yield settings


def _write(settings: Numbers, path: Path) -> str:
    """The same rows as a file, in blocks as ClickHouse likes them."""
    ticket = fl.Ticket(Ticket(columns=(*SCHEMA.names, "offset"), batch_size=50_000).encode())
    with serving("history", settings) as server, fl.connect(server.url) as client:
        reader = client.do_get(ticket)
        with pa.OSFile(str(path), "wb") as target, pa.ipc.new_file(target, reader.schema) as writer:
            for chunk in reader:
                writer.write_batch(chunk.data)
    return str(path)


def judge(report: Report) -> list[Bar]:
    return [
        Bar(
            "beside ClickHouse's own insert from a file", report.ratio("sink", "file", "events_per_second"), LEAST_RATIO
        ),
        Bar("events a second", report.median("sink", "events_per_second"), LEAST_RATE, unit="events/s"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many ({EVENTS:,})")
    parser.add_argument("--histories", type=Path, metavar="FOLDER", help="keeps the history for the next time")


if __name__ == "__main__":
    run("clickhouse", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
