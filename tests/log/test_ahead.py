"""Reading ahead changes nothing but when things are read."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from fraiseql_events.log.ahead import (
    AHEAD,
    AHEAD_BYTES,
    ALL_AHEAD_BYTES,
    IN_EARNEST,
    LEAST_AHEAD,
    THREADS,
    _all,
    read_ahead,
    read_ahead_in_turn,
)
from fraiseql_events.log.scan import merge
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
    each = batch(0, 1 << 20).nbytes
    source = Source(50, rows=1 << 20)
    ahead = read_ahead(source.batches())
    next(ahead)
    until(lambda: source.made == 1 + AHEAD_BYTES // each)
    time.sleep(0.1)
    assert source.made == 1 + AHEAD_BYTES // each < 1 + AHEAD
    ahead.close()  # type: ignore[attr-defined]


def test_many_sources_together_have_no_more_ahead_than_a_few_batches_each_and_a_bound() -> None:
    each = batch(0, 1 << 18).nbytes
    sources = [Source(50, rows=1 << 18) for _ in range(30)]
    streams = [read_ahead(source.batches()) for source in sources]
    for stream in streams:
        next(stream)
    until(lambda: all(source.made > LEAST_AHEAD for source in sources))
    time.sleep(0.2)
    ready = sum(source.made - 1 for source in sources) * each
    assert ready <= ALL_AHEAD_BYTES + len(sources) * LEAST_AHEAD * each
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    alone = Source(50, rows=1 << 18)
    stream = read_ahead(alone.batches())  # what the others had is free again
    next(stream)
    until(lambda: alone.made == 1 + AHEAD)
    assert numbers(stream) == list(range(1, 50))


def test_several_sources_are_read_in_turn_and_the_next_is_begun_beside_the_one_that_is_read() -> None:
    sources = [Source(20) for _ in range(4)]
    stream = read_ahead_in_turn(source.batches() for source in sources)
    for _ in range(IN_EARNEST):
        assert sources[1].made == 0  # a look at the first batches costs nothing of the others
        next(stream)
    until(lambda: sources[1].made == AHEAD)
    time.sleep(0.1)
    assert (sources[1].made, sources[2].made) == (AHEAD, 0)
    assert numbers(stream) == [*range(IN_EARNEST, 20), *range(20), *range(20), *range(20)]
    assert all(source.closed for source in sources)


def test_sources_that_have_been_begun_are_let_go_of_when_nobody_reads_on() -> None:
    sources = [Source(20) for _ in range(3)]
    stream = read_ahead_in_turn(source.batches() for source in sources)
    for _ in range(IN_EARNEST):
        next(stream)
    until(lambda: sources[1].made == AHEAD)
    stream.close()  # type: ignore[attr-defined]
    assert (sources[0].closed, sources[1].closed, sources[2].made) == (True, True, 0)


def test_a_fault_in_the_source_that_is_begun_early_comes_in_its_place() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch(7)
        raise OSError("the disk is gone")

    stream = read_ahead_in_turn([Source(10).batches(), failing()])
    assert [next(stream)["number"][0].as_py() for _ in range(11)] == [*range(10), 7]
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_a_fault_in_looking_for_the_next_source_comes_in_its_turn() -> None:
    def sources() -> Iterator[Iterator[pa.RecordBatch]]:
        yield Source(10).batches()
        raise OSError("the next file is damaged")

    stream = read_ahead_in_turn(sources())
    assert [next(stream)["number"][0].as_py() for _ in range(10)] == list(range(10))
    with pytest.raises(OSError, match="the next file is damaged"):
        next(stream)


def test_a_fault_of_one_stream_lets_go_of_all_without_collecting_garbage() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"offset": [0]})
        raise OSError("the disk is gone")

    def numbered() -> Iterator[pa.RecordBatch]:
        yield from (pa.record_batch({"offset": [offset]}) for offset in range(1, 50))

    gc.disable()
    try:
        for _ in range(20):
            with pytest.raises(OSError, match="the disk is gone"):
                list(merge([read_ahead(failing()), read_ahead(numbered()), read_ahead(numbered())]))
        until(lambda: _all.bytes == 0)
    finally:
        gc.enable()


def test_a_thread_that_collects_garbage_may_come_upon_what_it_reads_itself() -> None:
    def collecting() -> Iterator[pa.RecordBatch]:
        for number in range(5):
            gc.collect()
            yield batch(number)

    def forgotten() -> None:
        stream = read_ahead(collecting())
        next(stream)
        cycle: list[object] = [stream]
        cycle.append(cycle)

    for _ in range(20):
        forgotten()
    gc.collect()
    until(lambda: _all.bytes == 0)
    assert numbers(read_ahead(Source(30).batches())) == list(range(30))


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
