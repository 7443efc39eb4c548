"""A minute of the soak, and that its audit finds what it is there to find."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fraiseql_events.event import LOG_SCHEMA
from tests.faults.soak.audit import history_faults, sequence_faults
from tests.faults.soak.faults import FAULTS, plan
from tests.faults.soak.publisher import Event, messages, micros
from tests.faults.soak.sampler import Weight, Word, growth, heavy, lies
from tests.mixed import dumps


@pytest.mark.timeout(400)
def test_a_minute_of_faults_loses_and_doubles_nothing(tmp_path: Path) -> None:
    # with this seed serve and NATS are killed, the disk is full, and connections die without a word, all in a minute
    options = ["--seconds", "60", "--seed", "257", "--report", str(tmp_path / "soak.md")]
    command = [sys.executable, "-m", "tests.faults.soak", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| fault | times | longest recovery, s | median, s |" in (tmp_path / "soak.md").read_text()


def test_the_same_seed_is_the_same_sequence_of_faults() -> None:
    once, again = (list(itertools.islice(plan(7, FAULTS), 100)) for _ in range(2))
    assert once == again
    assert once != list(itertools.islice(plan(8, FAULTS), 100))
    assert {fault for step in once for fault in step.faults} == set(FAULTS)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([0, 1, 3, 4], "a follower: 1 missing (first 2); 4 seen of 5"),
        ([0, 1, 2, 2, 3, 4], "a follower: 1 double (first 2); 6 seen of 5"),
        ([0, 1, 3, 2, 4], "a follower: not in order; 5 seen of 5"),
        ([0, 1, 2, 3, 4, 9], "a follower: 1 not asked for (first 9); 6 seen of 5"),
    ],
)
def test_what_a_follower_has_missed_or_seen_twice_is_said(found: list[int], says: str) -> None:
    assert sequence_faults("a follower", range(5), range(5)) == []
    assert sequence_faults("a follower", found, range(5)) == [says]


def history(events: list[Event]) -> list[pa.RecordBatch]:
    """What a server would send of them."""
    rows = [
        {**event, "event_id": event["id"], "data": dumps(event["data"]).decode(), "offset": offset}
        for offset, event in enumerate(events)
    ]
    for row in rows:
        row["timestamp"] = micros(row["timestamp"])
    return pa.Table.from_pylist(
        [{name: row[name] for name in LOG_SCHEMA.names} for row in rows], LOG_SCHEMA
    ).to_batches()


def test_a_history_is_compared_event_by_event() -> None:
    events = [event for _, event in itertools.islice(messages(1), 50) if event is not None]

    def said(kept: list[Event]) -> str:
        return "".join(history_faults(history(kept), iter(events), len(events)))

    assert said(events) == ""
    assert "ends at offset 49" in said(events[:-1])
    assert "offset 20 is" in said(events[:20] + events[21:])
    assert "offset 20 is" in said([*events[:20], {**events[20], "data": {"total": 0}}, *events[21:]])
    assert "offset 21 is" in said([*events[:21], *events[20:-1]])


def test_serve_must_not_say_that_it_is_well_while_it_reads_nothing() -> None:
    published = [(float(second), 100 * second) for second in range(60)]
    well = [Word(second, "live", 100 * min(second, 20)) for second in map(float, range(30))]
    assert len(lies(well, published, [])) == 1
    assert lies(well, published, [25.0]) == []
    assert lies([Word(word.moment, "stalled", word.offset) for word in well], published, []) == []
    assert lies(well, published[:20], []) == []


def test_a_life_that_grows_is_seen() -> None:
    def life(more: int, threads: int = 0) -> list[Weight]:
        return [Weight(age, (300 << 20) + age * more, 40 + threads * age // 100, 90) for age in range(400)]

    assert growth(life(0)[:150]) is None
    assert heavy({1: life(0)}) == []
    assert len(heavy({1: life(0), 2: life(1 << 20)})) == 1
    assert "threads" in heavy({1: life(0, threads=10)})[0]
    assert "MiB" in heavy({1: [Weight(1, 2 << 30, 1, 1)]})[0]
