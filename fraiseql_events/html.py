"""What objects look like in a notebook: a small table, readable on light and dark, on GitHub too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

Row = Sequence[object]
_ONE_LINE: Final = "text-align:left;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;max-width:16em"


def card(title: str, facts: Iterable[tuple[str, object]], *tables: str) -> str:
    """A heading, facts with their names, and tables below. All but the tables is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{''.join(tables)}</div>"


def table(names: Sequence[str], rows: Iterable[Row]) -> str:
    """A table; numbers stand on the right, with thousands apart."""
    return _table(names, rows, _cell)


def lines(names: Sequence[str], rows: Iterable[Row]) -> str:
    """A table whose rows are one line high: what is too long for its column is cut, and whole in its tooltip."""
    return _table(names, rows, _line)


def _table(names: Sequence[str], rows: Iterable[Row], cell: Callable[[object], str]) -> str:
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    side, text = ("right", f"{value:,}") if isinstance(value, int) else ("left", str(value))
    return f"<td style='text-align:{side}'>{escape(text)}</td>"


def _line(value: object) -> str:
    text = escape(str(value))
    return f"<td style='{_ONE_LINE}' title='{text}'>{text}</td>"
