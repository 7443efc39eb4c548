"""DuckDB's answer as a Polars frame, exactly."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl


def frame_of(table: pa.Table, types: list[Any]) -> pl.DataFrame:
    """An answer whose large whole numbers are exact: of 64 bits where all fit, else of 128."""
    import polars as pl

    names, columns = _distinct(table.column_names), [_span(column) for column in table.columns]
    frame = pl.DataFrame(pa.table(columns, names))
    for name, kind in zip(frame.columns, types, strict=True):
        if str(kind) == "HUGEINT":
            exact = frame[name].cast(pl.Int128)
            fits = exact.is_between(-(2**63), 2**63 - 1).all()
            frame = frame.with_columns(exact.cast(pl.Int64) if fits else exact)
    return frame


def _span(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A difference of times as a duration; where months are among them, which have no length, as text."""
    if column.type != pa.month_day_nano_interval():
        return column
    spans = column.to_pylist()
    if any(span is not None and span.months for span in spans):
        texts = [None if span is None else _in_words(span) for span in spans]
        return pa.chunked_array([texts], pa.string())
    micros = [None if span is None else span.days * 86_400_000_000 + span.nanoseconds // 1000 for span in spans]
    return pa.chunked_array([micros], pa.duration("us"))


def _in_words(span: pa.MonthDayNano) -> str:
    return f"{span.months} months {span.days} days {span.nanoseconds // 1000} µs"


def _distinct(names: list[str]) -> list[str]:
    """Names of which none is there twice, as DuckDB makes them of a subquery's."""
    found: list[str] = []
    for name in names:
        others = (f"{name}_{number}" for number in count(1))
        found.append(name if name not in found else next(each for each in others if each not in (*found, *names)))
    return found
