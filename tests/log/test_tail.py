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
