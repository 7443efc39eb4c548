"""The tail: what is kept of what is committed, and found again by offset and by entity type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraiseql_events.log import Filter, Log, LogOptions
from tests.log.stream import Feeder, found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(str(tmp_path), LogOptions(commit_seconds=1000))
    yield log
    log.close()


def filled(log: Log, *pieces: int) -> Feeder:
    feeder = Feeder(log)
    for count in pieces:
        feeder.feed_many(count)
    return feeder


@pytest.mark.parametrize("committed", [False, True])
def test_a_piece_is_split_by_entity_type_once_for_all_readers_when_it_is_asked_for(log: Log, committed: bool) -> None:
    filled(log, 30, 1, 7)
    if committed:
        log.flush()
    chunk = log.view_from(0).chunks[0]
    assert chunk.parts == {}
    assert chunk.of_entity("User") is chunk.of_entity("User")
    assert chunk.of_entity("nobody") is None
    assert list(chunk.parts) == ["User"], "what nobody has costs nothing"
    names = ("Order", "User", "Product")
    assert sum(chunk.of_entity(name).num_rows for name in names) == chunk.events.num_rows  # type: ignore[union-attr]


@pytest.mark.parametrize("entity", ["Order", "User", "nobody", None])
@pytest.mark.parametrize("tail_bytes", [0, 1, 5_000, 20_000, 64 << 20])
def test_whatever_is_kept_in_memory_a_reader_sees_all(tmp_path: Path, tail_bytes: int, entity: str | None) -> None:
    log = Log(str(tmp_path), LogOptions(commit_seconds=1000, tail_bytes=tail_bytes))
    feeder = filled(log, 1, 1, 40)
    log.flush()
    feeder.feed([], bad=1)
    feeder.feed_many(200)
    log.flush()
    feeder.feed_many(3)
    for after in (-1, 0, 41, 240, 243):
        condition = Filter(entity=entity, after=after)
        assert found(log, condition) == feeder.expected(condition)
    log.close()


def test_the_event_at_an_offset_is_found_in_any_piece(log: Log) -> None:
    feeder = filled(log, 5, 3)
    log.flush()
    feeder.feed_many(1)
    feeder.feed_many(4)
    tail = log._tail
    for offset in range(13):
        held = tail.event(offset)
        assert held is not None
        events, row = held
        assert events["event_id"][row].as_py() == str(offset)
    assert tail.event(13) is None


def test_many_small_pieces_are_put_together_while_they_wait(log: Log) -> None:
    feeder = Feeder(log)
    for number in range(300):
        feeder.feed_many(1, entities=["Order" if number % 3 else "User"])
        if number % 50 == 7:
            feeder.feed([], bad=1)
        for entity in ("Order", None):
            assert found(log, Filter(entity=entity, after=number - 5)) == feeder.expected(
                Filter(entity=entity, after=number - 5)
            )
    assert len(log.view_from(0).chunks) < 80
    assert sum(batch.num_rows for batch in log.dead_letters()) == 6
    before = log._tail.uncommitted_bytes
    assert before == sum(chunk.size for chunk in log._tail.uncommitted())
    log.flush()
    assert log._tail.uncommitted_bytes == 0
    assert found(log, Filter()) == feeder.expected(Filter())
    assert sum(batch.num_rows for batch in log.dead_letters()) == 6


def test_what_is_being_committed_is_not_put_together_with_what_follows(log: Log) -> None:
    feeder = Feeder(log)
    feeder.feed_many(1)
    feeder.feed_many(1)
    taken = log._tail.uncommitted_epoch()
    for _ in range(200):
        feeder.feed_many(1)
    assert log._tail.uncommitted()[:2] == taken
    log.flush()
    assert found(log, Filter()) == feeder.expected(Filter())
