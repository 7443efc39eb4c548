"""Commits: each stands or not, once; of two writers one is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.bridge.position import StreamPosition
from fraiseql_events.errors import StoreError, StoreInUse
from fraiseql_events.log.history import History, Reached
from fraiseql_events.log.tail import Chunk
from tests.mixed import an_event


def commit(history: History, first: int, count: int, *, dead: int = 0) -> None:
    """Commits events with offsets from `first` on."""
    payloads = [an_event(id=str(number)) for number in range(first, first + count)] + [b"bad"] * dead
    last = first + len(payloads)
    messages = Messages.of(range(first + 1, last + 1), [b"s"] * len(payloads), [0] * len(payloads), payloads)
    chunk = Chunk.of(decode(messages), StreamPosition(last, 5, 6, 7), first, 0)
    history.commit([chunk.events], chunk.dead, Reached(chunk.end, chunk.stream, dead))


def ids(store: Path) -> list[str]:
    table = DeltaTable(str(store / "events")).to_pyarrow_table(columns=["offset", "event_id"])
    return pa.table(table).sort_by("offset")["event_id"].to_pylist()


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


Intrusion = Callable[[History], Any]


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda history: None,
        lambda history: history.events.maintain(vacuum_hours=24),
        lambda history: merge_refused(history),
    ],
    ids=["nothing", "vacuum", "merge"],
)
@pytest.mark.parametrize("count", [2, 3], ids=["the same", "others"])
def test_of_two_writers_the_second_is_stopped(tmp_path: Path, meanwhile: Intrusion, count: int) -> None:
    first = History(str(tmp_path))
    commit(first, 0, 1)
    commit(first, 1, 1)
    second = History(str(tmp_path))
    commit(second, 2, 2)
    meanwhile(first)
    with pytest.raises(StoreInUse, match="another process writes to the table"):
        commit(first, 2, count)
    commit(second, 4, 1)
    assert ids(tmp_path) == numbers(5)
    assert History(str(tmp_path)).reached.offset == 5


def merge_refused(history: History) -> None:
    with pytest.raises(StoreInUse):
        history.merge(list(history.snapshot)[:2])


class Fault:
    """Makes a call of the delta handle fail, before or after it did its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *, after: bool) -> None:
        self.left = 1
        call = getattr(DeltaTable, name)

        def failing(table: DeltaTable, *arguments: Any, **options: Any) -> Any:
            if self.left and not after:
                self.left -= 1
                raise DeltaError("a fault before")
            result = call(table, *arguments, **options)
            if self.left:
                self.left -= 1
                raise DeltaError("a fault after")
            return result

        monkeypatch.setattr(DeltaTable, name, failing)


@pytest.mark.parametrize("name", ["create_write_transaction", "update_incremental"])
def test_a_commit_that_failed_after_it_stood_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    history = History(str(tmp_path))
    commit(history, 0, 2)
    Fault(monkeypatch, name, after=name != "update_incremental")
    commit(history, 2, 2, dead=1)
    commit(history, 5, 1)
    assert ids(tmp_path)[:4] == numbers(4)
    assert {file.path for file in history.snapshot} == {file.path for file in History(str(tmp_path)).snapshot}


def test_a_commit_that_failed_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(str(tmp_path))
    fault = Fault(monkeypatch, "create_write_transaction", after=False)
    with pytest.raises(StoreError, match="cannot be written: a fault before"):
        commit(history, 0, 3)
    assert fault.left == 0
    commit(history, 0, 3)
    assert ids(tmp_path) == numbers(3)
    assert len(list((tmp_path / "events").rglob("*.parquet"))) == 1


def test_a_commit_in_doubt_is_settled_by_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit stood, the answer was an error, and so was the look whether it stood."""
    history = History(str(tmp_path))
    commit(history, 0, 1)
    with monkeypatch.context() as patch:
        Fault(patch, "create_write_transaction", after=True)
        patch.setattr("fraiseql_events.log.table.DeltaTable", broken)
        with pytest.raises(StoreError):
            commit(history, 1, 2)
    commit(history, 1, 2)
    commit(history, 3, 1)
    assert ids(tmp_path) == numbers(4)
    assert {file.path for file in history.snapshot} == {file.path for file in History(str(tmp_path)).snapshot}


def broken(*arguments: Any, **options: Any) -> None:
    raise OSError("the store is away")


def test_a_merge_in_doubt_does_not_stop_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(str(tmp_path))
    for number in range(3):
        commit(history, number, 1)
    with monkeypatch.context() as patch:
        Fault(patch, "create_write_transaction", after=True)
        patch.setattr("fraiseql_events.log.table.DeltaTable", broken)
        with pytest.raises(StoreError):
            history.merge(list(history.snapshot))
    commit(history, 3, 1)
    assert ids(tmp_path) == numbers(4)
    assert {file.path for file in history.snapshot} == {file.path for file in History(str(tmp_path)).snapshot}
    assert len(list(history.snapshot)) == 2


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(str(tmp_path))
    monkeypatch.setattr("fraiseql_events.log.storage.Storage.sync", broken)
    with pytest.raises(StoreError, match="cannot be written to .*: the store is away"):
        commit(history, 0, 1)
    assert list((tmp_path / "events").rglob("*.parquet")) == []


def test_a_crash_between_files_and_commit_leaves_files_that_nobody_reads(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    commit(history, 0, 1)
    (tmp_path / "events" / "entity_type=Order" / "part-x.parquet").write_bytes(b"half")
    again = History(str(tmp_path))
    commit(again, 1, 1)
    assert ids(tmp_path) == numbers(2)


def test_checkpoints_are_written_and_read(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for number in range(102):
        commit(history, number, 1)
        history.events.maintain()
    assert (tmp_path / "events" / "_delta_log" / "_last_checkpoint").is_file()
    again = History(str(tmp_path))
    assert (again.reached, again.snapshot) == (history.reached, history.snapshot)
    commit(again, 102, 1)
    assert ids(tmp_path) == numbers(103)


def test_vacuum_removes_what_was_merged_and_nothing_else(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for number in range(3):
        commit(history, number, 1)
    merged = [file.path for file in history.snapshot]
    history.merge(list(history.snapshot))
    commit(history, 3, 1, dead=1)
    assert history.events.maintain(vacuum_hours=24) == 0
    assert history.events.maintain(vacuum_hours=0) == 3
    assert history.letters.table.maintain(vacuum_hours=0) == 0
    assert not any((tmp_path / "events" / path).exists() for path in merged)
    commit(history, 5, 1)
    assert ids(tmp_path) == [*numbers(4), "5"]
    assert len(History(str(tmp_path)).letters.table.add_actions()) == 1


@pytest.mark.parametrize("table", ["events", "dead_letters"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_last_commit_that_a_power_cut_tore_is_set_aside_and_made_again(
    tmp_path: Path, table: str, left: float
) -> None:
    history = History(str(tmp_path))
    commit(history, 0, 2, dead=1)
    commit(history, 3, 2, dead=1)
    last = sorted((tmp_path / table / "_delta_log").glob("0*.json"))[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[: int(len(whole) * left)])
    history = History(str(tmp_path))
    if table == "events":
        assert history.reached.offset == 2
        assert (left == 0.0) != last.with_name(last.name + ".torn").exists()
        commit(history, 3, 2, dead=1)
    assert ids(tmp_path) == ["0", "1", "3", "4"]
    commit(history, 6, 1)
    assert ids(History(str(tmp_path)).storage.local.parent) == ["0", "1", "3", "4", "6"]  # type: ignore[union-attr]


def test_a_commit_in_the_middle_that_is_damaged_is_said(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for number in range(3):
        commit(history, number, 1)
    (tmp_path / "events" / "_delta_log" / f"{2:020d}.json").write_text('{"half')
    with pytest.raises(StoreError, match="the table .*events cannot be opened"):
        History(str(tmp_path))


def test_a_commit_that_is_not_safe_on_the_disk_is_made_safe_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fraiseql_events.log.storage import Storage

    history, sync, faults = History(str(tmp_path)), Storage.sync, [OSError("too many open files")]

    def failing(storage: Storage, *paths: str) -> None:
        if faults and paths[0].startswith("_delta_log"):
            raise faults.pop()
        sync(storage, *paths)

    monkeypatch.setattr(Storage, "sync", failing)
    with pytest.raises(StoreError, match="cannot be written: too many open files"):
        commit(history, 0, 2)
    commit(history, 0, 2)
    commit(history, 2, 1)
    assert ids(tmp_path) == numbers(3)
    assert {file.path for file in history.snapshot} == {file.path for file in History(str(tmp_path)).snapshot}
