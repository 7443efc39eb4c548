"""The demo: a shop's events through NATS, the bridge, the log and Flight, into a data frame; ends by itself."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from typing import Final, TextIO

import msgspec
import polars as pl

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish, subject_of
from fraiseql_events.client import EventClient
from fraiseql_events.progress import bar
from fraiseql_events.service import Service, serve
from fraiseql_events.shop import Shop
from fraiseql_events.status_view import count

EVENTS: Final = 50_000
_QUESTION: Final = """\
client.read("Order", "2026-01-05", "2026-01-11", event_types=["Order.Created"])
    .group_by(pl.col("timestamp").dt.date().alias("day"))
    .agg(orders=pl.len(), revenue=pl.col("data").str.json_path_match("$.total").cast(float).sum())
    .sort("day")
"""


def run(out: TextIO = sys.stdout, *, events: int = EVENTS, seed: int = 1, store: str | None = None) -> None:
    """Runs the demo, and prints what a user would see.

    Args:
        out: where to print.
        events: how many events the shop makes.
        seed: another one makes another shop.
        store: a folder that keeps the shop; without one a temporary folder is used.
    """
    with ExitStack() as stack:
        folder = store or stack.enter_context(tempfile.TemporaryDirectory(prefix="fraiseql-events-"))
        service = stack.enter_context(serve(embedded=True, store=folder, listen="127.0.0.1:0"))
        client = stack.enter_context(EventClient(service.url))
        print(f"An embedded NATS server at {service.nats_url}, a Flight server at {service.url}.", file=out)
        there = service.status()["offset"]
        if there:
            print(f"The shop is there already, with {count(there, 'event')}.", file=out)
        else:
            _fill(service, events, seed, out)
        _show(client, out)
    kept = store or "shop"
    how = f"The shop is kept in {kept}"
    if store is None:
        how = f"That was in a temporary folder. To keep it: `fraiseql-events demo --store {kept}`"
    print(f"\n{how}. To go on with it:", file=out)
    print(f"`fraiseql-events serve --embedded --store {kept}`, and `fraiseql-events stream Order`.", file=out)


def _fill(service: Service, events: int, seed: int, out: TextIO) -> None:
    shop = islice(Shop(seed), events)
    messages = ((subject_of(event["entity_type"], event["event_type"]), msgspec.json.encode(event)) for event in shop)
    started = time.monotonic()
    with bar("publishing a shop's events", total=events, unit="events") as progress:
        publish(messages, StreamOptions(nats=service.nats_url), progress=progress.update)
    while service.status()["lag"] or service.status()["offset"] < events:
        time.sleep(0.02)
    seconds = time.monotonic() - started
    print(f"{count(events, 'event')} made, published, read and decoded in {seconds:.1f} s.", file=out)


def _show(client: EventClient, out: TextIO) -> None:
    print("\n>>> client.entities()", file=out)
    for name, found in client.entities().items():
        print(
            f"{name:8} {count(found.events, 'event'):>14} from {found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}",
            file=out,
        )
    print(f"\n>>> {_QUESTION.strip().replace(chr(10), chr(10) + '... ')}", file=out)
    orders = client.read("Order", "2026-01-05", "2026-01-11", event_types=["Order.Created"])
    days = (
        orders.group_by(pl.col("timestamp").dt.date().alias("day"))
        .agg(orders=pl.len(), revenue=pl.col("data").str.json_path_match("$.total").cast(float).sum())
        .sort("day")
    )
    print(days, file=out)
    started = time.monotonic()
    rows = sum(frame.height for frame in client.stream("*"))
    seconds = time.monotonic() - started
    speed = f"in {seconds:.2f} s ({rows / seconds:,.0f} a second)"
    print(f"\nAll {count(rows, 'event')} streamed into Polars {speed}.", file=out)
