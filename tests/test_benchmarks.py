"""The benchmarks run, at sizes that say nothing about speed, and their page can be made of what they write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pyarrow as pa
import pytest

from benchmarks.bulk import mixed_messages
from benchmarks.history import blocks
from benchmarks.memory import grown
from benchmarks.programs import PROGRAMS, Program
from benchmarks.report import MACHINE, ROOT, write
from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.event import SCHEMA
from tests.waiting import until

#: What makes each program run in seconds.
TINY = {
    "ingest-json": ("--events", "2000", "--rounds", "1"),
    "ingest-ndjson": ("--events", "2000", "--rounds", "1", "--only", "fraiseql_events", "nats-py"),
    "ingest-arrow": ("--events", "2000", "--rounds", "1", "--only", "fraiseql_events", "natsrpy"),
    "replay": ("--events", "400000", "--rounds", "1"),
    "live": ("--seconds", "1.5", "--fast", "5000", "--rounds", "1"),
    "payload": ("--events", "2000", "--rounds", "1"),
    "first_batch": ("--small", "2000", "--large", "4000", "--rounds", "1"),
    "memory": ("--events", "20000"),
    "startup": ("--events", "2000", "--rounds", "1"),
    "clickhouse": ("--events", "2000", "--rounds", "1"),
    "r": ("--events", "2000", "--rounds", "1"),
}
FIGURES = {
    "ingest-json": ("events", "seconds", "cpu_seconds", "events_per_second"),
    "ingest-ndjson": ("events", "seconds", "events_per_second"),
    "ingest-arrow": ("events", "seconds", "events_per_second"),
    "replay": ("events", "seconds", "events_per_second", "server_us"),
    "live": ("events", "frames", "p50_ms", "p99_ms"),
    "payload": ("events", "seconds", "cpu_us"),
    "first_batch": ("events", "cold_ms", "client_p50_ms", "client_max_ms", "flight_p50_ms"),
    "memory": ("events", "seconds", "most_threads", "last_mib"),
    "startup": ("interpreter_ms", "import_ms", "service_ms", "answer_ms", "frame_ms", "frame_seconds"),
    "clickhouse": ("events", "seconds", "cpu_seconds", "peak_bytes"),
    "r": ("events", "seconds", "cpu_seconds", "peak_bytes"),
}


def run(program: Program, kept: Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.{program.module}", *program.arguments, *TINY[program.name]]
    command += ["--json", str(kept / f"{program.name}.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, (program.name, done.stdout[-1000:], done.stderr[-2000:])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of all programs."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / MACHINE).write_text(json.dumps({"processor": "a test's", "cores": "2"}))
    with ThreadPoolExecutor(3) as pool:  # they wait a lot
        list(pool.map(lambda program: run(program, folder), PROGRAMS))
    return folder


def figures(kept: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((kept / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", TINY)
def test_a_program_says_what_it_found(kept: Path, name: str) -> None:
    found = figures(kept, name)
    assert set(found) == {"benchmark", "question", "settings", "runs", "bars"}
    for runs in found["runs"].values():
        for each in runs:
            assert each["peak_bytes"] > 10_000_000
            assert all(each[figure] > 0 for figure in FIGURES[name]), each
    for bar in found["bars"]:
        assert bar["met"] == (bar["value"] >= bar["bar"] if bar["least"] else bar["value"] <= bar["bar"])


def test_memory_is_looked_at_until_all_events_are_in_the_history_and_every_reader_reads(kept: Path) -> None:
    (found,) = figures(kept, "memory")["runs"]["serve"]
    assert found["samples"][-1]["committed"] == 20_000
    assert [reader["name"] for reader in found["readers"] if reader["error"]] == []
    assert len(found["readers"]) == 10
    assert all(reader["rows"] for reader in found["readers"] if "all" in reader["name"])


def test_the_page_is_made_of_the_figures_and_the_same_of_the_same(kept: Path, tmp_path: Path) -> None:
    first, second = write(kept, tmp_path / "one"), write(kept, tmp_path / "two")
    text = first.read_text()
    assert text == second.read_text()
    told = [part for part in text.split("\n\n") if len(part) > 200]
    assert len(told) == len(set(told))
    assert "A look at small sizes" in write(kept, tmp_path / "quick", quick=True).read_text()
    for program in PROGRAMS:
        assert f"## {program.title}\n" in text
        for contender in figures(kept, program.name)["runs"]:
            assert f"| {contender} |" in text
        plot = Path("benchmarks") / f"{program.name}.svg"
        ElementTree.parse(tmp_path / "one" / plot)
        assert (tmp_path / "one" / plot).read_bytes() == (tmp_path / "two" / plot).read_bytes()


def test_a_long_history_has_ids_of_its_own_and_goes_from_day_to_day() -> None:
    batch = pa.concat_batches(blocks(2_500, rows=1_000))
    assert batch.schema == SCHEMA
    batch.validate(full=True)
    assert (batch.num_rows, len(batch.column("event_id").unique())) == (2_500, 2_500)
    times = batch.column("timestamp").view(pa.int64()).to_numpy()
    assert times[1_000] - times[0] == times[2_000] - times[1_000] == 86_400_000_000


def test_messages_that_are_made_quickly_hold_what_they_should() -> None:
    payloads = [message[1] for message in mixed_messages(2_150, rows=1_000)]
    count = len(payloads)
    decoded = decode(Messages.of(list(range(1, count + 1)), [b"bench"] * count, [0] * count, payloads))
    assert (decoded.events.num_rows, decoded.dead) == (2_150, [])
    assert len(decoded.events.column("event_id").unique()) == 2_150
    times = decoded.events.column("timestamp").view(pa.int64()).to_numpy()
    assert times[2_000] - times[1_000] == times[1_000] - times[0] == 86_400_000_000


def test_growth_is_the_slope_of_the_last_third() -> None:
    samples = [{"committed": 1000 * number, "rss": 100.0 + number, "threads": 9} for number in range(101)]
    found = grown(samples, 100_000)
    assert found["mib_per_million"] == pytest.approx(1000)
    assert found["growth_percent"] == pytest.approx(100 * 33 / 167)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_ended_leaves_no_server_and_no_folder(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "benchmarks.ingest", "--events", "200000", "--rounds", "50"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        until(lambda: psutil.Process(process.pid).children(recursive=True), 20)
        process.stdout.readline()
        until(lambda: any("--contender" in each.cmdline() for each in psutil.Process(process.pid).children()), 60)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert not any(child.is_running() for child in children)
    assert list(tmp_path.iterdir()) == []
