"""Tables are made where they are not there, and one that would be spoilt is refused with what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fraiseql_events import ClickHouseSink, Service, SinkError
from fraiseql_events.sinks.position import Position, Positions
from fraiseql_events.sinks.schema import Tables
from tests.processes import run as run_command
from tests.sinks.exact import assert_counts, assert_exact
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]


def load(url: str, service: Service, **options: Any) -> int:
    with ClickHouseSink(url, source=service.url, **options) as sink:
        return sink.load().events


def test_a_table_of_another_shape_is_refused_with_the_difference(
    service: Service, url: str, run: Run, ask: Ask
) -> None:
    run("CREATE TABLE fraiseql_events (offset UInt32, event_id String, timestamp DateTime) ENGINE = Memory")
    with pytest.raises(SinkError) as caught:
        load(url, service)
    assert str(caught.value) == (
        "default.fraiseql_events is a table of another shape: offset is UInt32 instead of UInt64, "
        "event_type (LowCardinality(String)) is missing, entity_type (LowCardinality(String)) is missing, "
        "entity_id (String) is missing, timestamp is DateTime instead of DateTime64(6, 'UTC'), data (String) is "
        "missing, user_id (Nullable(String)) is missing, org_id (LowCardinality(Nullable(String))) is missing; "
        "name another table"
    )
    assert ask("SELECT count() FROM fraiseql_events") == [(0,)]


def test_a_table_of_ones_own_with_more_columns_is_filled(service: Service, url: str, run: Run, ask: Ask) -> None:
    (events, *_) = Tables(database="default", table="fraiseql_events").migration()
    run(events.replace("data String", "data String, total Float64 MATERIALIZED JSONExtractFloat(data, 'total')"))
    assert load(url, service) == 3_000
    assert_exact(ask, 3_000)
    assert ask("SELECT count() > 100 FROM fraiseql_events WHERE total > 0") == [(1,)]


def test_a_table_that_somebody_else_has_filled_is_left_alone(service: Service, url: str, run: Run, ask: Ask) -> None:
    for statement in Tables(database="default", table="fraiseql_events").migration():
        run(statement)
    run("INSERT INTO fraiseql_events (offset) VALUES (7)")
    with pytest.raises(SinkError, match="has 1 row, and default.fraiseql_events_position does not say"):
        load(url, service)
    assert ask("SELECT offset FROM fraiseql_events") == [(7,)]


def test_a_table_that_was_dropped_is_told_and_filled_anew_when_its_position_is_dropped_too(
    service: Service, url: str, run: Run, ask: Ask
) -> None:
    load(url, service)
    run("DROP TABLE fraiseql_events SYNC")
    with pytest.raises(SinkError, match="is gone, while default.fraiseql_events_position says"):
        load(url, service)
    run("DROP TABLE fraiseql_events_position SYNC")
    with pytest.raises(SinkError, match="fraiseql_events_hourly has .* rows"):  # which would be counted twice
        load(url, service)
    for each in ("position", "hourly_view", "hourly", "daily_view", "daily"):
        run(f"DROP TABLE IF EXISTS fraiseql_events_{each} SYNC")
    assert load(url, service) == 3_000
    assert_exact(ask, 3_000)


def test_a_database_is_made_and_others_tables_are_not_touched(service: Service, url: str, ask: Ask) -> None:
    assert load(url, service, database="shop", table="changes", entity="Order") > 0
    assert ask("SELECT count() FROM shop.changes") == ask("SELECT sum(events) FROM shop.changes_daily")
    assert ask("SELECT count() FROM system.tables WHERE database = 'default'") == [(0,)]


def test_days_to_keep_are_those_of_the_table(service: Service, url: str, ask: Ask) -> None:
    load(url, service, keep_days=36_500)
    assert load(url, service) == 0
    with pytest.raises(SinkError, match="keeps events for 36500 days, not for 7 days: ALTER TABLE .* INTERVAL 7 DAY"):
        load(url, service, keep_days=7)


def test_counts_that_were_dropped_are_not_missed(
    service: Service, publish: Callable[[int], int], url: str, run: Run, ask: Ask
) -> None:
    load(url, service)
    run("DROP TABLE fraiseql_events_hourly SYNC")
    with pytest.raises(SinkError, match="is gone, and .* is not: DROP VIEW default.fraiseql_events_hourly_view"):
        load(url, service)
    run("DROP VIEW default.fraiseql_events_hourly_view")
    publish(10)
    until(lambda: service.status()["offset"] == 3_010)
    assert load(url, service) == 10
    assert ask("SELECT sum(events) FROM fraiseql_events_daily") == [(3_010,)]


def test_a_folder_that_another_process_uses_is_told_in_a_sentence(service: Service, url: str, ask: Ask) -> None:
    assert ask("SELECT 1") == [(1,)]  # here
    said = run_command("sink", "clickhouse", "--url", url, "--from", str(service.url), "--once", code=1)
    assert f"the folder of {url} cannot be opened: another process uses it" in said.splitlines()[-1]


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be made: Not a directory"):
        load(f"chdb://{tmp_path}/file/clickhouse", service)


def test_of_two_folders_in_one_process_the_second_is_refused(service: Service, url: str, ask: Ask) -> None:
    assert ask("SELECT 1") == [(1,)]
    with pytest.raises(SinkError, match=f"open at {url.removeprefix('chdb://')}, and it opens one folder at a time"):
        load(f"{url}-2", service)


def test_counts_and_events_agree_after_every_load(
    service: Service, publish: Callable[[int], int], url: str, ask: Ask
) -> None:
    for _ in range(3):
        load(url, service)
        assert_counts(ask)
        publish(100)


@pytest.mark.parametrize("engine", ["ReplacingMergeTree", "SummingMergeTree(offset)", "Null"])
def test_a_table_that_does_not_keep_each_row_is_refused(service: Service, url: str, run: Run, engine: str) -> None:
    statement = Tables(database="default", table="fraiseql_events").migration()[0]
    if engine == "Null":
        statement = statement.partition(",\n    INDEX")[0].replace(" CODEC(Delta, ZSTD)", "") + ") ENGINE = MergeTree"
    run(statement.replace("ENGINE = MergeTree", f"ENGINE = {engine}"))
    with ClickHouseSink(url, source=service.url) as sink, pytest.raises(SinkError) as error:
        sink.load()
    name = engine.partition("(")[0]
    assert f"default.fraiseql_events has the engine {name}, which does not keep each row" in str(error.value)


def test_of_two_sinks_at_a_table_that_is_not_there_both_begin(
    service: Service, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has found no position yet when the other has filled the table."""
    found = Positions.newest

    def newest(positions: Positions) -> Position | None:
        position = found(positions)
        monkeypatch.setattr(Positions, "newest", found)
        with ClickHouseSink(url, source=service.url) as other:
            assert other.load().events == 3_000
        return position

    monkeypatch.setattr(Positions, "newest", newest)
    with ClickHouseSink(url, source=service.url).start() as sink:
        until(lambda: sink.status.offset == 2_999)
        assert sink.failure is None
        assert "another sink has begun to fill default.fraiseql_events just now" in str(sink.status.last_error)
    assert_exact(ask, 3_000)


def test_of_a_view_that_is_gone_the_next_start_warns(
    service: Service, url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    load(url, service)
    run("DROP VIEW fraiseql_events_hourly_view")
    load(url, service)
    view, counts = "default.fraiseql_events_hourly_view", "default.fraiseql_events_hourly"
    assert f"{view} is gone: {counts} counts nothing any more, drop it too if you do not want it" in caplog.messages
    run("DROP TABLE fraiseql_events_hourly")
    caplog.clear()
    load(url, service)
    assert not caplog.messages


def test_a_table_of_something_else_is_told_in_a_few_words(service: Service, url: str, run: Run) -> None:
    run("CREATE TABLE fraiseql_events (a String) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(SinkError) as error:
        load(url, service)
    assert str(error.value) == "default.fraiseql_events is a table of something else: name another table"


def test_a_table_that_was_dropped_is_filled_anew_as_the_sentence_says(service: Service, url: str, run: Run) -> None:
    load(url, service)
    run("DROP TABLE fraiseql_events")
    with pytest.raises(SinkError) as error:
        load(url, service)
    for name in ("position", "hourly", "daily"):
        assert f"default.fraiseql_events_{name}" in str(error.value)
        run(f"DROP TABLE fraiseql_events_{name}")
    assert load(url, service) == 3_000
