"""How fast do events get from JetStream into the history?"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from contextlib import AbstractContextManager

from benchmarks.events import arrow_messages, json_messages, ndjson_messages
from benchmarks.running import Bar, Numbers, Report, run, timed
from benchmarks.streams import FETCH, drain_socket, fetch_with_nats_py, fetch_with_natsrpy, stream_of
from fraiseql_events.own_process import do_without_pandas
from fraiseql_events.service import Service, ServiceOptions

QUESTION = "how fast do events get from JetStream into the history?"
EVENTS = 2_000_000
#: With more payloads of many on their way the server takes the socket for one that is too slow, and closes it.
PULL = 50

LEAST = {"arrow": 1_000_000, "ndjson": 500_000}


def ours(settings: Numbers) -> Numbers:
    """Everything from connecting to the last commit, forced to the disk, in a process like that of `ingest`."""
    do_without_pandas()
    store = tempfile.mkdtemp(prefix="store-", dir=settings["folder"])
    found: Numbers = {"events": settings["events"]}
    with timed(found), Service(ServiceOptions(nats=settings["nats"], store=store, listen=None)) as service:
        service.bridge.wait_until_read()
    status = service.log.status
    assert (status.committed, status.dead_letters) == (settings["events"], 0), status
    shutil.rmtree(store)
    return found


CONTENDERS = {
    "socket": drain_socket,
    "fraiseql_events": ours,
    "nats-py": fetch_with_nats_py,
    "natsrpy": fetch_with_natsrpy,
}


def prepare(arguments: argparse.Namespace) -> AbstractContextManager[Numbers]:
    count = arguments.events
    each = 1 if arguments.payload == "json" else 1000
    make = {"json": json_messages, "ndjson": ndjson_messages, "arrow": arrow_messages}[arguments.payload]
    return stream_of(
        make(count),
        events=count,
        messages=-(-count // each),
        payload=arguments.payload,
        fetch=max(1, min(count, FETCH) // each),
        pull=count if each == 1 else PULL,
        nats_py_events=min(count, 60_000),
        natsrpy_events=min(count, 400_000),
    )


def judge(report: Report) -> list[Bar]:
    payload = report.settings["payload"]
    if payload != "json":
        name = f"events of payloads of 1,000 ({payload}) into the history"
        return [Bar(name, report.median("fraiseql_events", "events_per_second"), LEAST[payload], unit="events/s")]
    bars = [
        ("ingest beside a raw socket that parses nothing", "socket", 0.5),
        ("ingest beside nats-py's fetch with msgspec and Arrow", "nats-py", 10.0),
        ("ingest beside natsrpy's fetch with msgspec and Arrow", "natsrpy", 1.8),
    ]
    return [Bar(name, report.ratio("fraiseql_events", other), bar) for name, other, bar in bars]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many ({EVENTS:,})")
    parser.add_argument("--payload", choices=["json", "ndjson", "arrow"], default="json", help="what a message holds")


if __name__ == "__main__":
    run("ingest", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
