"""The page of figures: tables by program, the plots, the machine, and what a person has found out."""

from __future__ import annotations

import importlib
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.programs import Program
from benchmarks.running import shown

Numbers = Mapping[str, Any]
MIB: Final = 2**20
#: Figures of a run that get a column where there are any, in this order.
COLUMNS: Final = {
    "nats_us": "NATS's CPU, µs an event",
    "server_us": "server's CPU, µs an event",
    "p50_ms": "p50, ms",
    "p90_ms": "p90, ms",
    "p99_ms": "p99, ms",
    "p999_ms": "p99.9, ms",
    "max_ms": "longest, ms",
    "cold_ms": "first request, ms",
    "client_p50_ms": "`EventClient` p50, ms",
    "client_max_ms": "longest, ms",
    "flight_p50_ms": "bare Flight p50, ms",
    "flight_max_ms": "longest, ms",
    "interpreter_ms": "interpreter, ms",
    "import_ms": "import, ms",
    "service_ms": "service, ms",
    "answer_ms": "answer, ms",
    "frame_ms": "frame, ms",
    "mib_per_million": "slope of the second half, MiB a million events",
    "growth_percent": "growth over the last third, %",
    "most_threads": "most threads",
    "last_threads": "threads in the end",
}
_QUICK: Final = """\
**A look at small sizes: start-up weighs more in them than what is measured, and the bars are for full sizes.**
"""
_HEAD: Final = """\
# Benchmarks

`make bench` runs all programs of `benchmarks/` one after the other and writes this page;
`make bench QUICK=1` runs small sizes, for a look. A contender runs in a process of its own; where there are rounds, a
round runs every contender once, and a bar that is a ratio is the median of the rounds' ratios. Figures are medians.
*Peak* is the most memory that the contender's process has had.
"""
_BIAS: Final = """\
## What to keep in mind

Client, server and NATS share the same cores, and talk over the loopback interface: what one takes another lacks, and no
network is in the way. The events are generated, about 300 bytes each. We chose the contenders, and know our own program
best; each is written as its documentation shows it. The machine is virtual and noisy: compare what stands in one table,
not across tables.
"""


def render(
    reports: Mapping[Program, Numbers], machine: Mapping[str, str], findings: str, *, quick: bool = False
) -> str:
    """The whole page.

    Args:
        reports: what each program found.
        machine: what it was found on.
        findings: sections of Markdown; one whose heading is a program's or a module's name goes to that program's
            section, the others come last.
        quick: whether the sizes are small: then no bar is met or missed, and nothing was found out.
    """
    notes = {} if quick else _sections(findings)
    parts = [_HEAD, *([_QUICK] if quick else []), _BIAS, _machine(machine), _overview(reports)]
    told: set[str] = set()
    for program, report in reports.items():
        names = [name for name in dict.fromkeys((program.name, program.module)) if name in notes and name not in told]
        told.update(names)
        parts.append(_section(program, report, [notes[name] for name in names]))
    every = {name for program in reports for name in (program.name, program.module)}
    parts += [f"## {name}\n\n{text}\n" for name, text in notes.items() if name not in every]
    return "\n".join(parts)


def _sections(findings: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", findings, flags=re.MULTILINE)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True) if text.strip()}


def _machine(machine: Mapping[str, str]) -> str:
    return "## The machine\n\n" + "; ".join(f"{name} {value}" for name, value in machine.items()) + ".\n"


def _overview(reports: Mapping[Program, Numbers]) -> str:
    rows = [[*_bar(bar), f"[{program.name}](#{_anchor(program.title)})"] for program, report in reports.items()
            for bar in report["bars"]]  # fmt: skip
    return "## All bars\n\n" + _table(["what", "figure", "bar", "met", "of"], rows)


def _section(program: Program, report: Numbers, notes: Sequence[str]) -> str:
    lines = [f"## {program.title}", "", f"`{program.command}`: {report['question']}", ""]
    settings = {name: value for name, value in report["settings"].items() if not name.endswith("_pid")}
    sizes = [f"{_plain(name)} {value:,}" for name, value in settings.items() if type(value) in (int, float)]
    if sizes:
        lines += ["; ".join(sizes) + f"; {_rounds(report)}.", ""]
    lines += [_contenders(program, report), f"![{program.title}](benchmarks/{program.name}.svg)", ""]
    lines += [_runs(report["runs"])]
    if report["bars"]:
        lines += [_table(["what", "figure", "bar", "met"], map(_bar, report["bars"]))]
    return "\n".join([*lines, *(f"{note}\n" for note in notes)])


def _contenders(program: Program, report: Numbers) -> str:
    """What each is, by its function's docstring."""
    known = importlib.import_module(f"benchmarks.{program.module}").CONTENDERS
    told = [(name, known[name].__doc__ or "") for name in report["runs"] if name in known]
    return "\n".join(f"- *{name}*: {text.strip().splitlines()[0]}" for name, text in told if text) + "\n"


def _rounds(report: Numbers) -> str:
    rounds = max(map(len, report["runs"].values()))
    return f"{rounds} round" + "s" * (rounds != 1)


def _runs(runs: Mapping[str, Sequence[Numbers]]) -> str:
    """A row a contender."""
    keys = [key for key in COLUMNS if any(key in found[0] for found in runs.values())]
    speed = any("events_per_second" in found[0] for found in runs.values())
    work = any("cpu_seconds" in found[0] for found in runs.values())
    head = ["contender", *["events/s", "slowest to fastest"] * speed, *["CPU, µs an event"] * work, "peak, MiB"]
    rows = []
    for name, found in runs.items():
        row = [name]
        if speed:
            row += _speeds([run["events_per_second"] for run in found if "events_per_second" in run])
        if work:
            row.append(_median([run["cpu_seconds"] / run["events"] * 1e6 for run in found if "cpu_seconds" in run]))
        row.append(_median([run["peak_bytes"] / MIB for run in found]))
        rows.append(row + [_median([run[key] for run in found if key in run]) for key in keys])
    return _table(head + [COLUMNS[key] for key in keys], rows)


def _speeds(speeds: Sequence[float]) -> list[str]:
    return [_median(speeds), f"{shown(min(speeds))} to {shown(max(speeds))}"] if speeds else ["-", "-"]


def _median(values: Sequence[float]) -> str:
    return shown(statistics.median(values)) if values else "-"


def _bar(bar: Numbers) -> list[str]:
    least = "≥" if bar["least"] else "≤"
    met = "yes" if bar["met"] else "**no**"
    value = shown(bar["value"])
    if value == shown(bar["bar"]) and bar["value"] != bar["bar"]:
        value = f"{bar['value']:,.4g}"  # on which side of the bar it is
    return [bar["name"], f"{value} {bar['unit']}", f"{least} {shown(bar['bar'])} {bar['unit']}", met]


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _plain(name: str) -> str:
    return name.replace("_", " ")
