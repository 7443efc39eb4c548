"""A dashboard's picture: the same SVG moves in a notebook and stays behind in it. Nothing but text and shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from fraiseql_events.live.axis import marks
from fraiseql_events.live.window import BINS, Group, Look, Own, Sums

WIDTH: Final = 860
HEIGHT: Final = 514
#: Okabe and Ito's colours, which the colour-blind tell apart; grey is for the others.
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_GREY: Final = "#9a9a9a"
_DOTS: Final = {"live": "#009e73", "waiting": "#e69f00", "failed": "#c62828", "still": _GREY}
_INK: Final = "#222222"
_FAINT: Final = "#6b6b6b"
_LEFT, _TOP, _CHART_WIDTH, _CHART_HEIGHT = 64, 142, 496, 160
_TABLE_TOP: Final = 352
_ROW: Final = 16
#: Beyond these a chart could not be computed with.
_TALLEST: Final = 1e200
_LOWEST: Final = 1e-200
_LEGEND: Final = 596
#: What stands between the parts of an emoji, of Persian words and of French numbers.
_JOINTS: Final = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_ODD: Final = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What stands around the numbers.

    Attributes:
        title: what is looked at.
        state: in words.
        mood: ``"live"``, ``"waiting"``, ``"failed"`` or ``"still"``: the colour of its dot.
        value: what is summed, if anything is.
        by: what the groups are.
        note: a sentence below, or nothing.
    """

    title: str
    state: str
    mood: str
    value: str | None
    by: str
    note: str = ""


def picture(look: Look, caption: Caption) -> str:
    """The SVG, as wide as there is room for, up to 860 pixels, with its own light background."""
    told = f"{caption.title}, {caption.state}: {look.sums.events:,} events, {_number(look.rate)} a second"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="12" '
        f'font-family="system-ui,sans-serif" style="width:100%;max-width:{WIDTH}px;height:auto">',
        f"<title>{_text(told)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff" stroke="#dddddd"/>',
        *_header(caption),
        *_figures(look, caption),
        *_chart(look, caption),
        *_legend(look, caption),
        *_newest(look, caption),
        "</svg>",
    ]
    return "".join(parts)


def _header(caption: Caption) -> Iterator[str]:
    yield _say(20, 30, caption.title, size=17, bold=True)
    yield f'<circle cx="{WIDTH - 26}" cy="25" r="6" fill="{_DOTS[caption.mood]}"/>'
    yield _say(WIDTH - 40, 30, _cut(caption.state, 100), anchor="end", size=12)


def _figures(look: Look, caption: Caption) -> Iterator[str]:
    sums = look.sums
    figures = [("events a second", _number(look.rate)), ("events", f"{sums.events:,}")]
    if caption.value is not None:
        mean = "-" if not sums.values else _number(sums.total / sums.values)
        name = _cut(caption.value, 24)
        figures += [(f"sum of {name}", _number(sums.total)), (f"mean of {name}", mean)]
    for number, (name, figure) in enumerate(figures):
        left = 20 + number * 205
        yield _say(left, 76, figure, size=24, bold=True)
        yield _say(left, 94, name, colour=_FAINT)


def _chart(look: Look, caption: Caption) -> Iterator[str]:
    """Bars, a bin each, with the groups on top of each other; what is negative hangs from the zero line."""
    per_second = look.width / 1_000_000
    what = "events a second" if caption.value is None else f"{_cut(caption.value, 40)} a second"
    yield _say(_LEFT, _TOP - 14, what, colour=_FAINT)
    heights = [[_height(each, caption, per_second) for each in group.bins] for group in look.groups]
    over = max((sum(max(0.0, group[bin_]) for group in heights) for bin_ in range(BINS)), default=0.0)
    under = min((sum(min(0.0, group[bin_]) for group in heights) for bin_ in range(BINS)), default=0.0)
    step = _step(over - under)
    top, bottom = math.ceil(over / step) * step or step, math.floor(under / step) * step
    scale = _CHART_HEIGHT / (top - bottom)
    zero = _TOP + top * scale
    for tick in range(round(bottom / step), round(top / step) + 1):
        y = zero - tick * step * scale
        colour = _FAINT if tick == 0 else "#e6e6e6"
        yield f'<path d="M{_LEFT} {y:.1f}h{_CHART_WIDTH}" stroke="{colour}"/>'
        yield _say(_LEFT - 8, y + 4, _number(tick * step), anchor="end", colour=_FAINT)
    for group, series in zip(look.groups, _stacked(heights), strict=True):
        yield f'<path fill="{_colour(group)}" d="{_bars(series, zero, scale)}"/>'
    yield from _times(look)


def _height(sums: Sums, caption: Caption, per_second: float) -> float:
    height = (sums.events if caption.value is None else sums.total) / per_second
    return min(max(height, -_TALLEST), _TALLEST) if height == height else 0.0


def _stacked(heights: list[list[float]]) -> Iterator[list[tuple[float, float]]]:
    """Of each group's bars, where each begins and ends."""
    over, under = [0.0] * BINS, [0.0] * BINS
    for series in heights:
        placed = []
        for bin_, height in enumerate(series):
            side = over if height >= 0 else under
            placed.append((side[bin_], side[bin_] + height))
            side[bin_] += height
        yield placed


def _bars(series: list[tuple[float, float]], zero: float, scale: float) -> str:
    wide = _CHART_WIDTH / BINS
    return "".join(
        f"M{_LEFT + bin_ * wide:.1f} {zero - begin * scale:.1f}h{wide - 1:.1f}V{zero - end * scale:.1f}h{1 - wide:.1f}z"
        for bin_, (begin, end) in enumerate(series)
        if begin != end
    )


def _times(look: Look) -> Iterator[str]:
    """Marks below the chart at round times, in UTC; it ends now."""
    first = (look.now // look.width - BINS + 1) * look.width
    span = look.width * BINS
    bottom = _TOP + _CHART_HEIGHT
    behind = 0.0
    for moment, said in marks(first, span):
        x = _LEFT + _CHART_WIDTH * (moment - first) / span
        behind = x + 3.5 * len(said) + 4
        yield f'<path d="M{x:.1f} {bottom}v4" stroke="{_FAINT}"/>'
        yield _say(x, bottom + 18, said, anchor="middle", colour=_FAINT)
    yield _say(behind, bottom + 18, "UTC", colour=_FAINT)


def _legend(look: Look, caption: Caption) -> Iterator[str]:
    yield _say(_LEGEND, _TOP - 14, f"by {_cut(caption.by, 18)}", colour=_FAINT)
    yield _say(WIDTH - 20, _TOP - 14, "events" if caption.value is None else "events, sum", anchor="end", colour=_FAINT)
    for number, group in enumerate(look.groups):
        y = _TOP + 8 + number * 22
        yield f'<rect x="{_LEGEND}" y="{y - 9}" width="11" height="11" rx="2" fill="{_colour(group)}"/>'
        name = group.name.value if isinstance(group.name, Own) else _cut(group.name, 20)
        yield _say(_LEGEND + 18, y + 1, name, own=isinstance(group.name, Own))
        figure = f"{group.sums.events:,}" + ("" if caption.value is None else f", {_number(group.sums.total)}")
        yield _say(WIDTH - 20, y + 1, figure, anchor="end")


def _newest(look: Look, caption: Caption) -> Iterator[str]:
    columns = [("timestamp", "timestamp", 20, 23), ("event_type", "event_type", 208, 26)]
    columns += [("entity_id", "entity_id", 408, 26)]
    more = [] if caption.by in ("event_type", "entity_id") else [(caption.by, "group")]
    more += [] if caption.value is None else [(caption.value, "value")]
    columns += [(title, name, 610 + 125 * number, 15) for number, (title, name) in enumerate(more)]
    for title, _, left, _ in columns:
        yield _say(left, _TABLE_TOP, _cut(title, 18), colour=_FAINT)
    if not look.newest:
        yield _say(20, _TABLE_TOP + _ROW, "no events yet", colour=_FAINT)
    for number, row in enumerate(look.newest, 1):
        for _, name, left, width in columns:
            yield _say(left, _TABLE_TOP + number * _ROW, _cut(_shown(row[name]), width), mono=True)
    if caption.note:
        yield _say(20, HEIGHT - 8, _cut(caption.note, 130), colour=_FAINT, size=11)


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    if isinstance(value, float):
        return _number(value)
    return "" if value is None else str(value)


def _colour(group: Group) -> str:
    return _GREY if group.colour is None else _COLOURS[group.colour]


def _step(span: float) -> float:
    """Between two lines of the chart, so that about four of them stand in it: 1, 2 or 5 times a power of ten."""
    if span < _LOWEST:
        return 1.0
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    return next((power * factor for factor in (1, 2, 5) if raw <= power * factor), power * 10)


def _number(value: float) -> str:
    """Short: about four digits that count, thousands apart."""
    if not math.isfinite(value):
        return "too large" if value == value else "-"
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _say(
    x: float, y: float, text: str, *, anchor: str = "", size: int = 0, bold: bool = False, mono: bool = False,
    own: bool = False, colour: str = _INK,
) -> str:  # fmt: skip
    look = f' fill="{colour}"'
    look += f' text-anchor="{anchor}"' if anchor else ""
    look += f' font-size="{size}"' if size else ""
    look += ' font-weight="600"' if bold else ""
    look += ' font-style="italic"' if own else ""
    look += ' font-family="ui-monospace,monospace"' if mono else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{look}>{_text(text)}</text>'


def _text(text: str) -> str:
    """Escaped, without characters that XML does not have, or that turn the line around: an event may hold any."""
    return escape("".join(each if each.isprintable() or each in _JOINTS else _ODD for each in text))
