"""The log against a plain list: whatever is committed, merged or reopened, a scan yields what the list does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.errors import InvalidArgument, ServiceError, StoreError, StoreInUse
from fraiseql_events.event import LOG_SCHEMA, dead_letter_batch
from fraiseql_events.log import Filter, Log, LogOptions
from tests.log.stream import CREATED, MINUTE, Feeder, found
from tests.waiting import until


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(str(tmp_path), LogOptions(commit_events=1000, tail_bytes=200_000, compact_files=4))
    yield log
    log.close()


def test_events_get_offsets_from_zero_in_their_order(log: Log) -> None:
    feeder = Feeder(log)
    feeder.feed_many(10)
    feeder.feed_many(5)
    assert [offset for offset, _ in found(log, Filter())] == list(range(15))
    assert log.status.offset == 15


def test_what_is_not_yet_committed_is_read_all_the_same(log: Log) -> None:
    feeder = Feeder(log)
    feeder.feed_many(10)
    assert log.status.committed == 0
    assert found(log, Filter()) == feeder.expected(Filter())


def test_a_commit_comes_after_a_number_of_events(log: Log) -> None:
    feeder = Feeder(log)
    feeder.feed_many(999)
    assert log.status.committed == 0
    feeder.feed_many(1)
    until(lambda: log.status.committed == 1000)


def test_a_commit_comes_after_a_time(tmp_path: Path) -> None:
    log = Log(str(tmp_path), LogOptions(commit_seconds=0.2))
    Feeder(log).feed_many(3)
    until(lambda: log.status.committed == 3)
    log.close()


def test_closing_commits_and_reopening_goes_on(tmp_path: Path) -> None:
    log = Log(str(tmp_path))
    feeder = Feeder(log)
    feeder.feed([("Order", "A", 0), ("User", "A", MINUTE)], bad=2)
    log.close()
    log.close()
    log = Log(str(tmp_path))
    assert log.reached == StreamPosition(4, CREATED, 1, 2)
    assert log.status.dead_letters == 2
    assert {name: found.events for name, found in log.status.entities.items()} == {"Order": 1, "User": 1}
    feeder.log = log
    feeder.feed_many(3)
    assert found(log, Filter()) == feeder.expected(Filter())
    assert [letter["sequence"] for batch in log.dead_letters() for letter in batch.to_pylist()] == [3, 4]
    log.close()


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = Log(str(tmp_path))
    log.close()
    with pytest.raises(ServiceError, match="the log is closed"):
        Feeder(log).feed_many(1)


def test_a_piece_without_events_moves_the_position(tmp_path: Path) -> None:
    log = Log(str(tmp_path))
    Feeder(log).feed([], bad=3)
    log.close()
    log = Log(str(tmp_path))
    assert log.reached is not None
    assert (log.reached.sequence, log.status.dead_letters, log.status.offset) == (3, 3, 0)
    log.close()


def test_appending_waits_while_too_much_is_uncommitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    commit = Log._commit
    monkeypatch.setattr(Log, "_commit", lambda self, chunks: (go.wait(), commit(self, chunks)))
    log = Log(str(tmp_path), LogOptions(commit_events=100))
    feeder = Feeder(log)
    thread = threading.Thread(target=lambda: [feeder.feed_many(50) for _ in range(10)])
    thread.start()
    until(lambda: log.status.offset == 200)
    thread.join(0.3)
    assert log.status.offset == 200
    go.set()
    thread.join()
    log.close()
    assert log.status.committed == 500


entities = st.sampled_from(["Order", "User", "nobody", None])
conditions = st.builds(
    Filter,
    entity=entities,
    start=st.none() | st.integers(-5, 3100).map(lambda minutes: minutes * MINUTE),
    end=st.none() | st.integers(-5, 3100).map(lambda minutes: minutes * MINUTE + 1),
    after=st.integers(-1, 3100),
    event_types=st.none() | st.just(frozenset({"A"})) | st.just(frozenset({"A", "C"})),
    limit=st.none() | st.integers(0, 40),
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feeder]:
    """Three thousand events: merged files, small files, a committed tail and an uncommitted one."""
    options = LogOptions(commit_events=100, commit_seconds=1000, tail_bytes=100_000, compact_files=4)
    log = Log(str(tmp_path_factory.mktemp("log")), options)
    feeder = Feeder(log)
    for size in [1, 40, 7, 152] * 15 + [50]:
        feeder.feed_many(size)
    until(lambda: log.status.committed == 3000 and max(file.rows for file in log.view().snapshot) > 100)
    yield feeder
    log.close()


@settings(deadline=None, max_examples=300)
@given(condition=conditions)
def test_any_filter_yields_what_a_plain_list_does(mixed: Feeder, condition: Filter) -> None:
    assert found(mixed.log, condition) == mixed.expected(condition)
    assert mixed.log.view().count(condition) in (len(mixed.expected(condition)), None)


def test_the_mixed_log_has_all_its_parts(mixed: Feeder) -> None:
    view = mixed.log.view()
    assert 0 < view.seam < mixed.log.status.committed < view.end == 3050
    rows = sorted(file.rows for file in view.snapshot)
    assert rows[0] < 100 < rows[-1]


def test_columns_come_in_the_order_asked_for(mixed: Feeder) -> None:
    condition = Filter(columns=("data", "entity_type"), entity="User")
    (first, *_) = mixed.log.view().scan(condition)
    assert first.schema.names == ["data", "entity_type", "offset"]
    assert set(first.column("entity_type").to_pylist()) == {"User"}


def test_a_commit_that_failed_is_tried_again_after_a_pause_whatever_comes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(str(tmp_path), LogOptions(commit_events=1000, commit_seconds=0.01))
    tries: list[float] = []

    def full(*arguments: object) -> None:
        tries.append(time.monotonic())
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("fraiseql_events.log.history.History.commit", full)
        feeder = Feeder(log)
        for _ in range(100):
            feeder.feed_many(1)
            time.sleep(0.01)
    assert 2 <= len(tries) <= 4, "a full disk is to be asked now and then"
    log.close()
    assert log.status.committed == 100


def test_a_view_stays_as_it_is_while_the_log_commits_and_merges(log: Log) -> None:
    feeder = Feeder(log)
    views = []
    for _ in range(60):
        feeder.feed_many(300)
        views.append((log.view(), len(feeder.model)))
    until(lambda: log.status.committed >= 17_000)
    for view, length in views:
        offsets = [offset for batch in view.scan(Filter()) for offset in batch.column("offset").to_pylist()]
        assert offsets == list(range(length))


def test_readers_see_every_event_once_while_the_log_is_written(log: Log) -> None:
    feeder = Feeder(log)
    done = threading.Event()
    faults: list[str] = []

    def read() -> None:
        while not done.is_set():
            view = log.view()
            offsets = [offset for batch in view.scan(Filter()) for offset in batch.column("offset").to_pylist()]
            if offsets != list(range(view.end)):
                faults.append(f"{len(offsets)} of {view.end}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(150):
        feeder.feed_many(200)
    done.set()
    for reader in readers:
        reader.join()
    assert not faults


def test_small_files_are_merged_and_other_readers_of_the_table_see_the_same(log: Log, tmp_path: Path) -> None:
    feeder = Feeder(log)
    for _ in range(40):
        feeder.feed_many(500)
    log.flush()
    until(lambda: all(len(files) < 8 for files in log.view().snapshot.files.values()))
    table = pl.scan_delta(tmp_path / "events").sort("offset").collect()
    assert table["event_id"].to_list() == [event_id for event_id, *_ in feeder.model]
    assert table.schema.names() == LOG_SCHEMA.names
    assert found(log, Filter()) == feeder.expected(Filter())


def test_the_files_we_remember_are_the_files_of_the_table(log: Log, tmp_path: Path) -> None:
    feeder = Feeder(log)
    for _ in range(30):
        feeder.feed_many(400)
    log.close()
    remembered = {file.path: file for file in log.view().snapshot}
    again = Log(str(tmp_path))
    assert {file.path: file for file in again.view().snapshot} == remembered
    again.close()


@pytest.mark.parametrize(
    "name", ["a b/%:é\n\"*'", "é" * 40, "..", ".", "null", "__HIVE_DEFAULT_PARTITION__", "a=b&c#d?e", "\x00", "\\", " "]
)
def test_an_entity_type_may_be_any_text(tmp_path: Path, name: str) -> None:
    log = Log(str(tmp_path / "store"), LogOptions(commit_events=5, compact_files=2))
    feeder = Feeder(log)
    for _ in range(3):
        feeder.feed_many(2, entities=[name, "Order"])
        log.flush()
    until(lambda: all(len(files) == 1 for files in log.view().snapshot.files.values()))
    assert found(log, Filter(entity=name)) == feeder.expected(Filter(entity=name))
    log.close()
    table = DeltaTable(str(tmp_path / "store" / "events")).to_pyarrow_table(columns=["entity_type"])
    assert set(table["entity_type"].to_pylist()) == {name, "Order"}


def test_merging_waits_while_events_come_as_fast_as_they_can_be_committed(tmp_path: Path) -> None:
    log = Log(str(tmp_path), LogOptions(commit_events=10, compact_files=2))
    feeder = Feeder(log)
    for count in range(1, 8):
        feeder.feed_many(10, entities=["Order"])
        log.flush()
        assert len(log.view().snapshot.files["Order"]) == count
    feeder.feed_many(10, entities=["Order"])
    log.flush()
    until(lambda: len(log.view().snapshot.files["Order"]) == 1)  # four times as many are worth it
    for _ in range(3):
        feeder.feed_many(10, entities=["Order"])
        log.flush()
    assert len(log.view().snapshot.files["Order"]) == 4
    until(lambda: len(log.view().snapshot.files["Order"]) == 1)  # and all are, once nothing comes
    assert found(log, Filter()) == feeder.expected(Filter())
    log.close()


def test_three_hundred_entity_types_come_in_offset_order(tmp_path: Path) -> None:
    log = Log(str(tmp_path), LogOptions(commit_events=3000, tail_bytes=0))
    feeder = Feeder(log)
    for _ in range(3):
        feeder.feed_many(3000, entities=[f"type {number}" for number in range(300)])
    log.flush()
    assert found(log, Filter()) == feeder.expected(Filter())
    log.close()


def test_huge_events_make_small_row_groups(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    log = Log(str(tmp_path), LogOptions(tail_bytes=0))
    from fraiseql_events.bridge.decode import decode
    from fraiseql_events.bridge.messages import Messages
    from tests.mixed import an_event

    payloads = [an_event(data=random.Random(n).randbytes(500_000).hex()) for n in range(40)]
    messages = Messages.of(list(range(1, 41)), [b"s"] * 40, [0] * 40, payloads)
    log.append(decode(messages), StreamPosition(40, CREATED))
    log.flush()
    (file,) = list(log.view().snapshot)
    assert pq.ParquetFile(tmp_path / "events" / file.path).num_row_groups >= 3
    assert sum(batch.num_rows for batch in log.view().scan(Filter())) == 40
    log.close()


def test_a_second_log_on_a_store_is_refused(tmp_path: Path) -> None:
    log = Log(str(tmp_path))
    with pytest.raises(StoreInUse, match="this process uses the store .* already: close the first service"):
        Log(str(tmp_path))
    log.close()
    Log(str(tmp_path)).close()


def test_letters_of_a_commit_that_a_crash_cut_in_two_are_not_doubled(tmp_path: Path) -> None:
    log = Log(str(tmp_path), LogOptions(commit_seconds=1000))
    Feeder(log).feed([("Order", "A", 0)], bad=2)
    history = log._history
    (chunk,) = log._tail.uncommitted()
    history.letters.commit(dead_letter_batch(chunk.dead), chunk.stream)
    log._lock.release()
    del log  # the crash: letters are committed, their events are not
    log = Log(str(tmp_path))
    assert log.status.dead_letters == 0
    assert sum(batch.num_rows for batch in log.dead_letters()) == 0
    Feeder(log).feed([("Order", "A", 0)], bad=2)
    log.close()
    log = Log(str(tmp_path))
    assert log.status.dead_letters == 2
    assert sum(batch.num_rows for batch in log.dead_letters()) == 2
    log.close()


def test_letters_whose_messages_were_lost_give_way_to_those_that_come_instead(tmp_path: Path) -> None:
    log = Log(str(tmp_path), LogOptions(commit_seconds=1000))
    Feeder(log).feed([("Order", "A", 0)], bad=3)
    (chunk,) = log._tail.uncommitted()
    log._history.letters.commit(dead_letter_batch(chunk.dead), chunk.stream)
    log._lock.release()
    del log  # the crash, and NATS has lost the messages too
    log = Log(str(tmp_path))
    Feeder(log).feed([("Order", "A", 0), ("Order", "A", 1)], bad=2)
    log.close()
    log = Log(str(tmp_path))
    assert log.status.dead_letters == 2
    assert [row["sequence"] for batch in log.dead_letters() for row in batch.to_pylist()] == [3, 4]
    log.close()


def test_letters_in_doubt_are_not_committed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fraiseql_events.log.table import Table

    log = Log(str(tmp_path), LogOptions(commit_seconds=1000))
    make, faults = Table.commit, ["the answer was lost"]

    def commit(self: Table, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)  # type: ignore[arg-type]
        if self is log._history.letters.table and faults:
            raise StoreError(faults.pop())

    monkeypatch.setattr(Table, "commit", commit)
    Feeder(log).feed([("Order", "A", 0)], bad=2)
    log.flush()
    assert not faults
    assert [row["sequence"] for batch in log.dead_letters() for row in batch.to_pylist()] == [2, 3]
    log.close()


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    write_deltalake(str(tmp_path / "events"), pa.table({"x": [1]}))
    with pytest.raises(StoreError, match="is not one of ours: it has no column event_id"):
        Log(str(tmp_path))


def test_a_table_that_another_program_has_added_to_is_refused(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    log = Log(str(tmp_path))
    Feeder(log).feed_many(5)
    log.close()
    table = DeltaTable(str(tmp_path / "events")).to_pyarrow_table()
    write_deltalake(str(tmp_path / "events"), table, mode="append")
    with pytest.raises(StoreError, match="another program has added to it"):
        Log(str(tmp_path))


def test_a_store_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        Log(str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be opened"):
        Log("nonsense://bucket/x")


def test_options_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="commit_events is 0"):
        LogOptions(commit_events=0)
    with pytest.raises(InvalidArgument, match="vacuum_hours is 0: it must be a whole number from 1"):
        LogOptions(vacuum_hours=0)
    for seconds in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InvalidArgument, match="commit_seconds is"):
            LogOptions(commit_seconds=seconds)
