"""What do typed columns of the payload cost?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.events import block_of_rows
from benchmarks.running import Bar, Numbers, Report, run, timed
from fraiseql_events.payload import TypedPayload, fields_of

QUESTION = "what do five typed columns cost, of orders' data of varying shape?"
EVENTS = 1_000_000
#: As a stream's batches come.
BATCH = 10_000
MOST_MICROS = 1.0
FIELDS = {
    "status": pl.String,
    "total": pl.Float64,
    "currency": pl.String,
    "carrier": pl.String,
    "items[].sku": pl.List(pl.String),
}


def ours(settings: Numbers) -> Numbers:
    """`payload=`, in one thread, as beside the read."""
    typed = TypedPayload(fields_of(FIELDS))
    return _measure(settings, lambda batch: typed.add(batch)[0].num_rows)


def with_polars(settings: Numbers) -> Numbers:
    """Polars' `str.json_decode` into a struct of these fields."""
    kind = pl.Struct(
        {
            "status": pl.String,
            "total": pl.Float64,
            "currency": pl.String,
            "carrier": pl.String,
            "items": pl.List(pl.Struct({"sku": pl.String})),
        }
    )

    def decode(batch: pa.RecordBatch) -> int:
        return pl.Series(batch.column("data")).str.json_decode(kind).struct.unnest().height

    return _measure(settings, decode)


class _Item(msgspec.Struct):
    sku: str | None = None


class _Order(msgspec.Struct):
    status: str | None = None
    total: float | None = None
    currency: str | None = None
    carrier: str | None = None
    items: list[_Item] = []


def with_msgspec(settings: Numbers) -> Numbers:
    """msgspec into objects, and these into Arrow columns."""
    decode = msgspec.json.Decoder(_Order).decode

    def read(batch: pa.RecordBatch) -> int:
        orders = [decode(text) for text in batch.column("data").cast(pa.binary()).to_pylist()]
        columns = {name: [getattr(order, name) for order in orders] for name in list(FIELDS)[:4]}
        columns["items[].sku"] = [[item.sku for item in order.items] for order in orders]
        return pa.RecordBatch.from_pydict(columns).num_rows

    return _measure(settings, read)


CONTENDERS = {"fraiseql_events": ours, "msgspec": with_msgspec, "Polars": with_polars}


def _measure(settings: Numbers, read: Callable[[pa.RecordBatch], int]) -> Numbers:
    """The cost an event, of orders again and again."""
    block = block_of_rows()
    orders = block.filter(pc.equal(block.column("entity_type"), "Order"))
    batches = [orders.slice(start, BATCH) for start in range(0, orders.num_rows, BATCH)]
    read(batches[0])
    found: Numbers = {"events": 0}
    with timed(found):
        while found["events"] < settings["events"]:
            for batch in batches:
                found["events"] += read(batch)
    return found | {"cpu_us": found["cpu_seconds"] / found["events"] * 1e6}


@contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Numbers]:
    yield {"events": arguments.events, "fields": len(FIELDS)}


def judge(report: Report) -> list[Bar]:
    micros = report.median("fraiseql_events", "cpu_us")
    return [Bar("five typed columns, CPU an event", micros, MOST_MICROS, least=False, unit="µs")]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=EVENTS, help=f"how many ({EVENTS:,})")


if __name__ == "__main__":
    run("payload", QUESTION, CONTENDERS, prepare=prepare, judge=judge, options=options)
