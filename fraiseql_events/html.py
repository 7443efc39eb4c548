"""What objects look like in a notebook: a small table, readable on light and dark, on GitHub too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Row = Sequence[object]


def card(title: str, facts: Iterable[tuple[str, object]], *tables: str) -> str:
    """A heading, facts with their names, and tables below. All but the tables is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{''.join(tables)}</div>"


def table(names: Sequence[str], rows: Iterable[Row]) -> str:
    """A table; numbers stand on the right, with thousands apart."""
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    side, text = ("right", f"{value:,}") if isinstance(value, int) else ("left", str(value))
    return f"<td style='text-align:{side}'>{escape(text)}</td>"
