"""Completes a block of which a crash, or a connection that was cut, may have left a part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.sinks.blocks import Block
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.opening import Opened
from fraiseql_events.sinks.position import Position
from fraiseql_events.sinks.schema import Counts, Tables

_BETWEEN: Final = "timestamp BETWEEN fromUnixTimestamp64Micro({low:Int64}) AND fromUnixTimestamp64Micro({high:Int64})"


def complete(engine: Engine, tables: Tables, opened: Opened, position: Position, block: Block) -> None:
    """Has the tables hold a block once, whatever of it they hold already.

    A table that recognises blocks is given the whole block again under its token: what is there, or is still on its way
    from before, is not taken twice. ClickHouse remembers a part a moment before it keeps it, so a crash may have it
    remember one that is not there: the offsets are looked at, too, and with them the counts.
    """
    if opened.recognises_blocks:
        engine.insert(tables.events, block.batches, position.token)
    events = pa.Table.from_batches(block.batches)
    times = pc.min_max(events["timestamp"].cast(pa.int64()))
    low, high = times["min"].as_py(), times["max"].as_py()
    if opened.keeps_all or opened.days is not None:
        missing = _missing(engine, tables, block, _young(events, opened), (low, high))
        if missing.num_rows:
            rest = missing.combine_chunks().to_batches()
            engine.insert(tables.events, rest, f"{position.token} rest {position.number}")
    if opened.keeps_all:
        for counts in opened.counts:
            _correct(engine, tables, counts, low, high)


def _young(events: pa.Table, opened: Opened) -> pa.Table:
    """The events that are not old enough to have been removed."""
    if opened.days is None:
        return events
    oldest = datetime.now(UTC) - timedelta(days=opened.days) + timedelta(hours=1)
    return events.filter(pc.greater(events["timestamp"], pa.scalar(oldest, pa.timestamp("us", "UTC"))))


def _missing(engine: Engine, tables: Tables, block: Block, events: pa.Table, times: tuple[int, int]) -> pa.Table:
    """Those events of a block that the table has not."""
    query = (
        f"SELECT offset FROM {tables.events} WHERE offset > {{after:Int64}} AND offset <= {{last:Int64}} AND {_BETWEEN}"  # noqa: S608 - our names
    )
    low, high = times
    found = engine.ask(query, after=block.after_offset, last=block.offset, low=low, high=high)
    present = pa.array([offset for (offset,) in found], pa.int64())
    return events.filter(pc.invert(pc.is_in(events["offset"], present)))


def _correct(engine: Engine, tables: Tables, counts: Counts, low: int, high: int) -> None:
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
) GROUP BY {keys} HAVING difference != 0""",  # noqa: S608 - our names
        low=low,
        high=high,
    )
