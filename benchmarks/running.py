"""Runs contenders, each in a process of its own, in turns, and compares them within each round.

These machines are noisy: a time alone says nothing, so every bar is a ratio of two that ran one after the other, and
the median of the rounds is what is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

Numbers = dict[str, Any]
#: A contender takes the settings of the run, and says what it did: at least ``{"events": …, "seconds": …}``.
Contender = Callable[[Numbers], Numbers]
CONTENDER_SECONDS = 3600
#: Servers are stopped and folders removed within so long.
END_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure beside what it should be.

    Attributes:
        name: what is measured, in words.
        value: the figure.
        bar: what it should be.
        least: whether the bar is the least it should be; else the most.
        unit: of both.
    """

    name: str
    value: float
    bar: float
    least: bool = True
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.least else self.value <= self.bar


@dataclass(slots=True)
class Report:
    """What a benchmark found: the runs of each contender, and the bars."""

    benchmark: str
    question: str
    settings: Numbers
    runs: dict[str, list[Numbers]] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)

    def of(self, contender: str, number: str) -> list[float]:
        return [run[number] for run in self.runs[contender]]

    def median(self, contender: str, number: str) -> float:
        return statistics.median(self.of(contender, number))

    def ratio(self, ours: str, theirs: str, number: str = "events_per_second") -> float:
        """The median over the rounds of one contender's number over another's."""
        pairs = zip(self.of(ours, number), self.of(theirs, number), strict=True)
        return statistics.median(one / other for one, other in pairs)

    def as_json(self) -> Numbers:
        return {
            "benchmark": self.benchmark,
            "question": self.question,
            "settings": self.settings,
            "runs": self.runs,
            "bars": [asdict(bar) | {"met": bar.met} for bar in self.bars],
        }


def run(
    benchmark: str,
    question: str,
    contenders: Mapping[str, Contender],
    *,
    prepare: Callable[[argparse.Namespace], Any],
    judge: Callable[[Report], list[Bar]],
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    rounds: int = 3,
) -> None:
    """The whole of a benchmark's program.

    Args:
        benchmark: its module's name, such as ``ingest``.
        question: what it answers, in a sentence.
        contenders: by name, in the order that a round runs them.
        prepare: a context manager that makes what all need, and gives the settings, JSON values, that they are told.
        judge: the figures and their bars, given the runs.
        options: adds options of its own; `prepare` gets them.
        rounds: how often each contender runs.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}", description=question)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each contender runs ({rounds})")
    parser.add_argument("--only", nargs="+", choices=list(contenders), metavar="NAME", help="these contenders only")
    parser.add_argument("--contender", choices=list(contenders), help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    options(parser)
    arguments = parser.parse_args()
    end_in_order()
    if arguments.contender:
        _be(contenders[arguments.contender], arguments.settings)
        return
    print(f"{benchmark}: {question}", flush=True)
    with prepare(arguments) as settings:
        report = Report(benchmark, question, settings)
        for number in range(arguments.rounds):
            for name in arguments.only or contenders:
                found = in_a_process(benchmark, name, settings)
                report.runs.setdefault(name, []).append(found)
                print(f"  round {number + 1}  {_line(name, found)}", flush=True)
    if not arguments.only:
        report.bars = judge(report)
        for bar in report.bars:
            print("  " + bar_line(bar), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")


def end_in_order() -> None:
    """Has a signal to end unwind the program, so that servers are stopped and folders removed; it says nothing more."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # once is enough
        sys.exit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


def in_a_process(benchmark: str, contender: str, settings: Numbers) -> Numbers:
    """Runs one contender alone; what it found, with its time on the processor and its peak memory."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}"]
    printed = run_in_order([*command, "--contender", contender, "--settings", json.dumps(settings)], CONTENDER_SECONDS)
    found: Numbers = json.loads(printed.splitlines()[-1])
    return found


def run_in_order(command: list[str], seconds: float | None = None, *, keep: bool = True) -> str:
    """Runs a program; what it printed, if that is kept. Where this one is ended, that one may end in order too."""
    with subprocess.Popen(command, stdout=subprocess.PIPE if keep else None, text=True) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except (SystemExit, subprocess.TimeoutExpired):
            process.terminate()
            process.communicate(timeout=END_SECONDS)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return printed or ""


def _be(contender: Contender, settings: Numbers) -> None:
    server = settings.get("nats_pid")
    used = processor_seconds(server) if server else 0.0
    found = contender(settings)
    if found.get("events") and "server_cpu_seconds" in found:
        found["server_us"] = found["server_cpu_seconds"] / found["events"] * 1e6
    if server and found.get("events"):
        found["nats_us"] = (processor_seconds(server) - used) / found["events"] * 1e6
    found.setdefault("peak_bytes", peak_memory("self"))
    if "seconds" in found and "events" in found:
        found.setdefault("events_per_second", found["events"] / found["seconds"])
    print(json.dumps(found), flush=True)
    os._exit(0)  # how another's library takes itself apart is not what is measured; one of them aborts at times


def processor_seconds(pid: int) -> float:
    """The time that a process has had on the processor (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int | str) -> int:
    """The most bytes that a process has had in memory (Linux); getrusage would count its parent's at the fork too."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: the benchmarks need Linux")


@contextmanager
def timed(found: Numbers) -> Iterator[None]:
    """Puts the seconds that a block takes into `found`, and this process's time on the processor meanwhile."""
    used, started = time.process_time(), time.perf_counter()
    yield
    found["seconds"] = time.perf_counter() - started
    found["cpu_seconds"] = time.process_time() - used


def percentiles(values: Sequence[float]) -> Numbers:
    """The middle and the slow end of waits in seconds, in milliseconds."""
    ordered = sorted(values)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    found = {
        f"{name}_ms": 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in at.items()
    }
    return found | {"max_ms": 1000 * ordered[-1]}


def bar_line(bar: Bar) -> str:
    least, state = ("≥" if bar.least else "≤"), ("met" if bar.met else "NOT MET")
    return f"{bar.name}: {shown(bar.value)} {bar.unit} (bar {least} {shown(bar.bar)}): {state}"


def shown(value: float) -> str:
    """A number as a person writes it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(name: str, found: Numbers) -> str:
    parts = [f"{name:16}"]
    if "events_per_second" in found:
        parts.append(f"{found['events_per_second']:12,.0f} events/s")
    if "cpu_seconds" in found and found.get("events"):
        parts.append(f"{found['cpu_seconds'] / found['events'] * 1e6:6.2f} µs CPU an event")
    parts.append(f"{found['peak_bytes'] / 2**20:6,.0f} MiB")
    parts += [f"{key} {shown(value)}" for key, value in found.items() if key.endswith(("_ms", "_us", "_ratio"))]
    return "  ".join(parts)
