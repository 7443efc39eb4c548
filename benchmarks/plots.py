"""The figures as plots: SVG, the same bytes for the same figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Numbers = Mapping[str, Any]
OURS: Final = "#1f6feb"
OTHERS: Final = "#a8b3c1"
SHADES: Final = ("#c6d9f7", "#8fb6f2", "#5794ee", "#1f6feb", "#0b3d91")
#: A notebook's parts of a start, and the ends of a wait that are worth a look.
PARTS: Final = ("interpreter_ms", "import_ms", "service_ms", "answer_ms", "frame_ms")
WAITS: Final = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
FIRST: Final = ("flight_p50_ms", "client_p50_ms", "client_max_ms", "cold_ms")
_STYLE: Final = {
    "svg.hashsalt": "fraiseql_events",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7580",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def plot(report: Numbers, path: Path, *, title: str, ours: Sequence[str]) -> None:
    """Draws what a benchmark found: how it looks follows from the figures that there are."""
    runs = report["runs"]
    with mpl.rc_context(_STYLE):
        if any("samples" in run for found in runs.values() for run in found):
            figure = _memory(runs)
        else:
            figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.42 * len(runs)))
            if (keys := _shared(runs, PARTS)) == PARTS:
                _stacked(axes, runs, keys)
            elif keys := _shared(runs, FIRST) or _shared(runs, WAITS):
                plt.close(figure)
                figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.17 * len(runs) * (len(keys) + 1)))
                _grouped(axes, runs, keys)
            else:
                _speeds(axes, runs, ours)
        figure.axes[0].set_title(title)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _shared(runs: Numbers, keys: Sequence[str]) -> tuple[str, ...]:
    """Those of the keys that every run has."""
    return tuple(key for key in keys if all(key in run for found in runs.values() for run in found))


def _speeds(axes: Axes, runs: Numbers, ours: Sequence[str]) -> None:
    """A bar a contender, as long as the middle of its rounds; a line from the slowest to the fastest."""
    for row, (name, found) in enumerate(runs.items()):
        speeds = [run["events_per_second"] / 1000 for run in found]
        middle = statistics.median(speeds)
        axes.barh(row, middle, color=OURS if name in ours else OTHERS, height=0.62)
        axes.plot([min(speeds), max(speeds)], [row, row], color="#24292f", linewidth=1)
        axes.text(max(speeds), row, f"  {middle:,.0f}", va="center")
    _name_rows(axes, list(runs))
    axes.set_xlabel("thousand events a second")


def _stacked(axes: Axes, runs: Numbers, keys: Sequence[str]) -> None:
    for row, found in enumerate(runs.values()):
        left = 0.0
        for shade, key in zip(SHADES, keys, strict=False):
            width = statistics.median(run[key] for run in found)
            axes.barh(row, width, left=left, color=shade, height=0.62, label=_plain(key) if row == 0 else None)
            left += width
        axes.text(left, row, f"  {left:,.0f}", va="center")
    _name_rows(axes, list(runs))
    axes.set_xlabel("milliseconds")
    axes.legend(ncols=len(keys), loc="upper left", bbox_to_anchor=(0, -0.35), fontsize=8)


def _grouped(axes: Axes, runs: Numbers, keys: Sequence[str]) -> None:
    for row, found in enumerate(runs.values()):
        for place, key in enumerate(keys):
            at = row + (place - (len(keys) - 1) / 2) * 0.8 / len(keys)
            middle = statistics.median(run[key] for run in found)
            color = SHADES[-len(keys) :][place]
            axes.barh(at, middle, color=color, height=0.72 / len(keys), label=_plain(key) if row == 0 else None)
            axes.text(middle, at, f" {middle:,.3g}", va="center", fontsize=7)
    _name_rows(axes, list(runs))
    widths = [patch.get_width() for patch in axes.patches]
    if max(widths) > 20 * max(1e-9, min(widths)):
        axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


def _memory(runs: Numbers) -> plt.Figure:
    """Memory and threads over the events that are in the history."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    for found in runs.values():
        for run in found:
            done = [sample["committed"] / 1e6 for sample in run["samples"]]
            upper.plot(done, [sample["rss"] for sample in run["samples"]], color=OURS, linewidth=1.2)
            lower.plot(done, [sample["threads"] for sample in run["samples"]], color="#57606a", linewidth=1)
    upper.axhline(1024, color="#cf222e", linewidth=0.8, linestyle="--")
    upper.set_ylim(bottom=0)
    lower.set_ylim(bottom=0)
    upper.set_ylabel("RSS, MiB")
    lower.set_ylabel("threads")
    lower.set_xlabel("million events in the history")
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)


def _plain(key: str) -> str:
    return key.removesuffix("_ms").replace("_", " ").replace("p999", "p99.9")
