"""What a crash leaves behind is completed: each event once, and the counts, whatever of the last block is there."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from fraiseql_events import ClickHouseSink, EventClient, Service, SinkError
from fraiseql_events.sinks.address import parse_address
from fraiseql_events.sinks.engine import Engine
from tests.processes import COMMAND
from tests.processes import run as run_command
from tests.sinks.exact import assert_counts, assert_exact
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]
KILLS = 20
KILLS_AT_THE_START = 5


@pytest.mark.timeout(300)
def test_twenty_kills_lose_and_double_nothing(
    service: Service, publish: Callable[[int], int], url: str, ask: Ask
) -> None:
    chance = random.Random(7)
    command = [*COMMAND, "sink", "clickhouse", "--url", url, "--from", str(service.url)]
    ending = threading.Event()
    published = [3_000]

    def go_on() -> None:
        while not ending.wait(0.05):
            published[0] += publish(100)

    publishing = threading.Thread(target=go_on)
    publishing.start()
    for round_ in range(KILLS):
        before = reached(service)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        if round_ >= KILLS_AT_THE_START:
            until(lambda before=before: reached(service) > before)
        time.sleep(chance.uniform(0.1, 1.5))
        assert process.poll() is None
        process.kill()
        process.wait()
    ending.set()
    publishing.join()
    until(lambda: service.status()["offset"] == published[0])
    assert reached(service) < published[0] - 1
    run_command("sink", "clickhouse", "--url", url, "--from", str(service.url), "--once")
    assert_exact(ask, published[0])


LAST_BLOCK = (
    "ALTER TABLE fraiseql_events_position UPDATE after_offset = -1, events = {} WHERE 1 SETTINGS mutations_sync = 2"
)


def reached(service: Service) -> int:
    """The highest offset that a sink has reported."""
    return max((report["offset"] or 0 for report in service.status()["sinks"]), default=0)


@pytest.fixture
def crashed(service: Service, url: str, ask: Ask, run: Run) -> Callable[..., None]:
    """Leaves the tables as a crash does that comes while the only block is being inserted."""

    def crash(*statements: str) -> None:
        with ClickHouseSink(url, source=service.url) as sink:
            sink.load()
        run(LAST_BLOCK.format(3_000))
        for statement in statements:
            run(f"{statement} SETTINGS mutations_sync = 2")

    return crash


PART = "timestamp >= '2026-01-03'"
GONE = {
    "nothing": [],
    "the events": ["ALTER TABLE fraiseql_events DELETE WHERE 1"],
    "some events": [f"ALTER TABLE fraiseql_events DELETE WHERE {PART}"],
    "events and counts": [f"ALTER TABLE fraiseql_events{each} DELETE WHERE 1" for each in ("", "_hourly")],
    "the counts": [f"ALTER TABLE fraiseql_events_{each} DELETE WHERE 1" for each in ("hourly", "daily")],
    "some counts": ["ALTER TABLE fraiseql_events_daily DELETE WHERE day >= '2026-01-03'"],
    "all": [f"ALTER TABLE fraiseql_events{each} DELETE WHERE 1" for each in ("", "_hourly", "_daily")],
}  # fmt: skip


@pytest.mark.parametrize("gone", GONE)
def test_what_of_the_last_block_is_not_there_is_added_though_clickhouse_takes_it_for_known(
    service: Service, crashed: Callable[..., None], url: str, ask: Ask, gone: str
) -> None:
    crashed(*GONE[gone])
    with ClickHouseSink(url, source=service.url) as sink:
        sink.load()
    assert_exact(ask, 3_000)


@pytest.mark.parametrize("gone", ["nothing", "some events", "all"])
def test_a_table_that_remembers_no_blocks_is_completed_by_its_offsets(
    service: Service,
    publish: Callable[[int], int],
    crashed: Callable[..., None],
    url: str,
    ask: Ask,
    run: Run,
    gone: str,
) -> None:
    crashed(*GONE[gone])
    run("ALTER TABLE fraiseql_events MODIFY SETTING non_replicated_deduplication_window = 0")
    ((kept,),) = ask("SELECT count() FROM fraiseql_events")
    publish(100)
    until(lambda: service.status()["offset"] == 3_100)
    with ClickHouseSink(url, source=service.url) as sink:
        assert sink.load().events == 3_100 - kept
    assert_exact(ask, 3_100)


def test_events_that_are_too_old_to_be_kept_are_not_taken_for_missing(
    start: Callable[..., Service], send: Callable[..., int], url: str, ask: Ask, run: Run
) -> None:
    from tests.mixed import an_event

    service = start()
    today = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    send(*[an_event(timestamp=when) for when in ("2001-01-01T00:00:00Z", today)])
    until(lambda: service.status()["offset"] == 2)
    for _ in range(2):
        with ClickHouseSink(url, source=service.url, keep_days=90) as sink:
            sink.load()
        run("OPTIMIZE TABLE fraiseql_events FINAL")
        assert ask("SELECT offset FROM fraiseql_events") == [(1,)]
        run(LAST_BLOCK.format(2))
    assert ask("SELECT sum(events) FROM fraiseql_events_hourly") == [(2,)]


def test_a_block_is_recognised_by_its_token_though_its_values_differ(service: Service, url: str, ask: Ask) -> None:
    with ClickHouseSink(url, source=service.url) as sink, EventClient(service.url) as client:
        sink.load()
        some = client.read("*", columns=["offset", *client.read("*", limit=1).columns], limit=10, frames="arrow")
    with Engine(parse_address(url)) as engine:
        for batch in (some.slice(0, 5), some.slice(5)):
            shifted = batch.set_column(0, "offset", pa.array(range(9_000, 9_005), pa.int64()))
            engine.insert_rows("default.fraiseql_events", shifted, "a token")
    assert ask("SELECT count() FROM fraiseql_events WHERE offset >= 9000") == [(5,)]
    assert_counts(ask)


def test_a_block_is_recognised_however_its_batches_are_cut(service: Service, url: str, ask: Ask) -> None:
    with ClickHouseSink(url, source=service.url) as sink, EventClient(service.url) as client:
        sink.load()
        some = client.read("*", columns=["offset", *client.read("*", limit=1).columns], limit=10, frames="arrow")
    shifted = some.set_column(0, "offset", pa.array(range(9_000, 9_010), pa.int64()))
    for size in (3, 10, 1):
        with Engine(parse_address(url)) as engine:
            cut = pa.Table.from_batches(shifted.to_batches(max_chunksize=size))
            engine.insert_rows("default.fraiseql_events", cut, "a token")
    assert ask("SELECT count() FROM fraiseql_events WHERE offset >= 9000") == [(10,)]
    assert_counts(ask)


def test_another_history_is_not_mixed_into_a_table(
    service: Service, start: Callable[..., Service], url: str, ask: Ask, tmp_path: Any
) -> None:
    with ClickHouseSink(url, source=service.url) as sink:
        sink.load()
    other = start(tmp_path / "other")
    until(lambda: other.status()["offset"] == 3_000)
    with (
        ClickHouseSink(url, source=other.url) as sink,
        pytest.raises(SinkError, match=r"cannot be filled from this server: offset 2999 is one of the history"),
    ):
        sink.load()
    assert_exact(ask, 3_000)
