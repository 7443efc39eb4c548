"""Reading ahead changes nothing but when things are read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from fraiseql_events.log.ahead import AHEAD, THREADS, read_ahead
from tests.waiting import until


def batch(number: int, rows: int = 1) -> pa.RecordBatch:
    return pa.record_batch({"number": [number] * rows})


class Source:
    """Numbered batches; counts those that it has made, and sees that no two threads make one at a time."""

    def __init__(self, count: int, *, rows: int = 1, pause: float = 0.0) -> None:
        self.made = 0
        self.closed = False
        self._alone = threading.Lock()
        self._count, self._rows, self._pause = count, rows, pause

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for number in range(self._count):
                assert self._alone.acquire(blocking=False)
                time.sleep(self._pause)
                self.made += 1
                self._alone.release()
                yield batch(number, self._rows)
        finally:
            self.closed = True


def numbers(ahead: Iterator[pa.RecordBatch]) -> list[int]:
    return [each["number"][0].as_py() for each in ahead]


@pytest.mark.parametrize("pause", [0.0, 0.002])
def test_all_batches_come_in_their_order(pause: float) -> None:
    sources = [Source(50, pause=pause) for _ in range(3 * THREADS)]
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(numbers(read_ahead(each.batches())))) for each in sources
    ]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(50))] * len(sources)
    assert all(source.closed for source in sources)


def test_a_few_batches_are_made_before_they_are_asked_for_and_no_more() -> None:
    source = Source(50)
    ahead = read_ahead(source.batches())
    next(ahead)
    until(lambda: source.made == 1 + AHEAD)
    time.sleep(0.1)
    assert source.made == 1 + AHEAD
    assert numbers(ahead) == list(range(1, 50))


def test_of_large_batches_fewer_are_made_ahead() -> None:
    source = Source(50, rows=1 << 20)
    ahead = read_ahead(source.batches())
    next(ahead)
    until(lambda: source.made == 2)
    time.sleep(0.1)
    assert source.made == 2


def test_nothing_is_read_before_the_first_is_asked_for() -> None:
    source = Source(3)
    ahead = read_ahead(source.batches())
    time.sleep(0.1)
    assert source.made == 0
    assert numbers(ahead) == [0, 1, 2]


def test_an_error_comes_in_its_place() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch(0)
        yield batch(1)
        raise ValueError("no more")

    ahead = read_ahead(failing())
    assert next(ahead)["number"][0].as_py() == 0
    assert next(ahead)["number"][0].as_py() == 1
    with pytest.raises(ValueError, match="no more"):
        next(ahead)


def test_a_source_is_let_go_of_when_its_reader_ends_early() -> None:
    source = Source(50, pause=0.01)
    ahead = read_ahead(source.batches())
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    until(lambda: source.closed)
    made = source.made
    time.sleep(0.1)
    assert source.made == made <= 1 + AHEAD


def test_a_reader_reads_for_itself_when_all_threads_are_busy() -> None:
    go = threading.Event()

    def hanging() -> Iterator[pa.RecordBatch]:
        yield batch(0)
        go.wait(30)
        yield batch(1)

    stuck = [read_ahead(hanging()) for _ in range(THREADS)]
    for each in stuck:
        next(each)
    time.sleep(0.1)  # now every thread waits for one of them
    assert numbers(read_ahead(Source(20).batches())) == list(range(20))
    go.set()
    assert [numbers(each) for each in stuck] == [[1]] * THREADS


def test_threads_end_when_there_is_nothing_to_do() -> None:
    def threads() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "fraiseql-events-ahead"]

    ahead = read_ahead(Source(50).batches())
    next(ahead)
    assert threads()
    until(lambda: not threads())
    assert numbers(ahead) == list(range(1, 50))
