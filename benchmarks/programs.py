"""The programs that `make bench` runs, one after the other, each into a file of JSON."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.running import run_in_order


@dataclass(frozen=True, slots=True)
class Program:
    """One run of a benchmark.

    Attributes:
        name: of its file of JSON and of its plot.
        module: the benchmark's, in this folder.
        title: of its section.
        arguments: what it is given.
        quick: what it is given besides, for a look.
        ours: the contenders that are this project's.
        histories: whether it keeps histories that others may use.
    """

    name: str
    module: str
    title: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    histories: bool = False

    @property
    def is_there(self) -> bool:
        return importlib.util.find_spec(f"benchmarks.{self.module}") is not None

    @property
    def command(self) -> str:
        return " ".join(["python -m", f"benchmarks.{self.module}", *self.arguments])


_INGEST: Final = ("fraiseql_events",)
_REPLAY: Final = ("history", "history, bare", "tail, first", "tail", "stream", "to_polars")
_LITTLE: Final = ("--rounds", "1")

PROGRAMS: Final = (
    Program(
        "ingest-json", "ingest", "Ingest, one JSON event a message",
        ("--payload", "json"), ("--events", "100000", *_LITTLE), _INGEST,
    ),
    Program(
        "ingest-ndjson", "ingest", "Ingest, payloads of 1,000 lines of JSON",
        ("--payload", "ndjson"), ("--events", "100000", *_LITTLE), _INGEST,
    ),
    Program(
        "ingest-arrow", "ingest", "Ingest, payloads of 1,000 events in Arrow IPC",
        ("--payload", "arrow"), ("--events", "100000", *_LITTLE), _INGEST,
    ),
    Program("replay", "replay", "Replay of history", (), ("--events", "1000000", *_LITTLE), _REPLAY),
    Program("live", "live", "Live latency", (), ("--seconds", "2", *_LITTLE), ("slow", "fast")),
    Program(
        "first_batch", "first_batch", "The first batch of a long history",
        (), ("--small", "200000", "--large", "2000000", *_LITTLE), ("small", "large"), histories=True,
    ),
    Program("payload", "payload", "Typed payload columns", (), ("--events", "100000", *_LITTLE), _INGEST),
    Program("memory", "memory", "Memory under load", (), ("--events", "1000000"), ("serve",)),
    Program(
        "startup", "startup", "From a fresh Python to the first answer",
        (), ("--events", "200000", *_LITTLE), ("new store", "long history"), histories=True,
    ),
    Program(
        "clickhouse", "clickhouse", "Into ClickHouse",
        (), ("--events", "200000", *_LITTLE), ("sink",), histories=True,
    ),
    Program("r", "r", "Into a data frame of R's", (), ("--events", "100000", *_LITTLE), ("fraiseqlevents",)),
)  # fmt: skip


def run_all(kept: Path, histories: Path, *, quick: bool) -> None:
    """Runs each program that is there; its figures are in the folder `kept` then."""
    for program in PROGRAMS:
        if not program.is_there:
            print(f"there is no benchmarks.{program.module}: left out", flush=True)
            continue
        command = [sys.executable, "-m", f"benchmarks.{program.module}", *program.arguments]
        command += program.quick if quick else ()
        command += ["--histories", str(histories)] if program.histories else []
        run_in_order([*command, "--json", str(kept / f"{program.name}.json")], keep=False)
