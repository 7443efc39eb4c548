"""Completes a block of which a crash, or a connection that was cut, may have left a part."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.errors import SinkUnavailable
from fraiseql_events.sinks.blocks import Block
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.opening import Opened
from fraiseql_events.sinks.position import Position
from fraiseql_events.sinks.schema import Counts, Tables

_BETWEEN: Final = "timestamp BETWEEN fromUnixTimestamp64Micro({low:Int64}) AND fromUnixTimestamp64Micro({high:Int64})"
_INSERTING: Final = (
    "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND position(query, {table:String}) > 0"
)
#: An insert that takes longer than this is not one of a block.
_INSERT_SECONDS: Final = 120.0


def complete(engine: Engine, tables: Tables, opened: Opened, position: Position, block: Block) -> int:
    """Has the tables hold a block once, whatever of it they hold already; how many events were missing.

    What is missing is inserted under the block's token, so that a part that is still on its way from before is not
    taken twice. ClickHouse remembers a part a moment before it keeps it: after a crash it may take one for known that
    is not there, so the offsets are looked at again, and after them the
    counts, which are corrected by the sink that has written to the position last: another one that began to do so
    before is waited for, and one that begins later corrects nothing.
    """
    _wait_for_inserts(engine, tables)
    events = block.spool.table()
    times = pc.min_max(events["timestamp"].cast(pa.int64()))
    low, high = times["min"].as_py(), times["max"].as_py()
    missing = _missing(engine, tables, events, (low, high))
    if missing.num_rows:
        engine.insert_rows(tables.events, missing, position.token)
        rest = _missing(engine, tables, _young(missing, opened), (low, high))
        if rest.num_rows:
            engine.insert_rows(tables.events, rest, f"{position.token} rest {position.number}")
    if opened.keeps_all:
        for counts in opened.counts:
            _correct(engine, tables, counts, position.number, (low, high))
    return int(missing.num_rows)


def _wait_for_inserts(engine: Engine, tables: Tables) -> None:
    """Until nothing is inserted any more: a server may still be at work on what a sink that has died has sent."""
    end = time.monotonic() + _INSERT_SECONDS
    while engine.ask(_INSERTING, table=tables.events) != [(0,)]:
        if time.monotonic() > end:
            raise SinkUnavailable(f"somebody else inserts into {tables.events}")
        time.sleep(0.1)


def _young(events: pa.Table, opened: Opened) -> pa.Table:
    """The events that cannot have been removed by their age."""
    if opened.keeps_all:
        return events
    if opened.days is None:  # by a rule that is not ours
        return events.slice(0, 0)
    oldest = datetime.now(UTC) - timedelta(days=opened.days) + timedelta(hours=1)
    return events.filter(pc.greater(events["timestamp"], pa.scalar(oldest, pa.timestamp("us", "UTC"))))


def _missing(engine: Engine, tables: Tables, events: pa.Table, times: tuple[int, int]) -> pa.Table:
    """Those of some events, in offset order, that the table has not."""
    if events.num_rows == 0:
        return events
    bounds = {"first": events["offset"][0].as_py(), "last": events["offset"][-1].as_py()}
    query = f"SELECT offset FROM {tables.events} WHERE offset BETWEEN {{first:Int64}} AND {{last:Int64}} AND {_BETWEEN}"  # noqa: S608 - our names
    low, high = times
    found = engine.ask(query, **bounds, low=low, high=high)
    present = pa.array([offset for (offset,) in found], pa.int64())
    return events.filter(pc.invert(pc.is_in(events["offset"], present)))


def _correct(engine: Engine, tables: Tables, counts: Counts, number: int, times: tuple[int, int]) -> None:
    """Adds to counts what the events of the same hours or days say otherwise."""
    names, period = ", ".join(counts.keys), next(iter(counts.keys))
    values = ", ".join(f"{value} AS {name}_" for name, value in counts.keys.items())
    keys = ", ".join(f"{name}_" for name in counts.keys)
    first, last = (
        counts.keys[period].replace("timestamp", f"fromUnixTimestamp64Micro({{{end}:Int64}}, 'UTC')")
        for end in ("low", "high")
    )
    engine.run(
        f"""INSERT INTO {counts.name} ({names}, events)
SELECT {keys}, sum(counted) AS difference FROM (
    SELECT {values}, toInt64(count()) AS counted FROM {tables.events}
    WHERE {period}_ BETWEEN {first} AND {last} GROUP BY {keys}
    UNION ALL
    SELECT {", ".join(f"{name} AS {name}_" for name in counts.keys)}, -sum(events) AS counted FROM {counts.name}
    WHERE {period}_ BETWEEN {first} AND {last} GROUP BY {keys}
) GROUP BY {keys}
HAVING difference != 0 AND (SELECT max(number) FROM {tables.position}) = {{number:UInt64}}""",  # noqa: S608 - our names
        low=times[0],
        high=times[1],
        number=number,
    )
