"""Events as a Polars LazyFrame: what a query asks of times, offsets, types, columns and rows is asked of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fraiseql_events.bounds import NOTHING, Bounds, between
from fraiseql_events.errors import InvalidArgument
from fraiseql_events.timestamps import DAY

if TYPE_CHECKING:
    import polars as pl

    from fraiseql_events.stream import EventStream

_NANOSECONDS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000}
_OPERATORS: Final = {"Gt": ">", "GtEq": ">=", "Lt": "<", "LtEq": "<=", "Eq": "=", "EqValidity": "="}
_TURNED: Final = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "=": "="}
_COMPARED: Final = {*_OPERATORS, "NotEq", "NotEqValidity"}
_UTC: Final = {"inner": "UTC"}


def lazy_frame(open_stream: Callable[..., EventStream[pl.DataFrame]], entity: str, schema: pa.Schema) -> pl.LazyFrame:
    """A LazyFrame whose rows come from streams.

    Args:
        open_stream: takes the entity type, the columns, and what `Bounds.options` gives.
        entity: an entity type, or ``"*"``.
        schema: all columns.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    empty = pl.DataFrame(schema.empty_table())

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns or schema.names
        condition = None if predicate is None else _checked(in_utc(predicate), empty)
        needed = [*wanted, *(condition.meta.root_names() if condition is not None else ())]
        # Polars means the first rows of all, and the condition for these: a `head` behind a filter stays with Polars
        bounds = Bounds() if condition is None or n_rows is not None else bounds_of(condition)
        if bounds.empty:
            return
        options = bounds.options() if n_rows is None else {"limit": n_rows}
        columns = [name for name in schema.names if name in needed]
        with open_stream(bounds.entity(entity), columns, **options) as stream:
            for frame in stream:
                yield (frame if condition is None else frame.filter(condition)).select(wanted)

    return register_io_source(read, schema=empty.schema, is_pure=False)


def in_utc(predicate: pl.Expr) -> pl.Expr:
    """The condition with each time that `timestamp` is compared with in UTC: without a zone it is so already."""
    import polars as pl

    try:
        node = json.loads(predicate.meta.serialize(format="json"))
        return pl.Expr.deserialize(json.dumps(node).encode(), format="json") if _convert(node) else predicate
    except (AttributeError, ValueError, TypeError, KeyError, IndexError, pl.exceptions.PolarsError):
        return predicate  # another spelling of Polars' own


def _convert(node: Any) -> bool:
    """Puts the times of a condition into UTC; whether there were any others."""
    if not isinstance(node, dict | list):
        return False
    changed = [_convert(each) for each in (node.values() if isinstance(node, dict) else node)]
    operands = _operands(node) if isinstance(node, dict) else []
    if {"Column": "timestamp"} in operands:
        for each in operands:
            moment = each.get("Literal", {}).get("Scalar", {}).get("Datetime")
            if moment is not None and moment[2] != _UTC:
                moment[2] = _UTC  # the number is one of UTC in any zone
                changed.append(True)
    return any(changed)


def _operands(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What is compared with one another."""
    if "BinaryExpr" in node and node["BinaryExpr"]["op"] in _COMPARED:
        return [node["BinaryExpr"]["left"], node["BinaryExpr"]["right"]]
    if "Function" in node and "IsBetween" in _boolean(node):
        return list(node["Function"]["input"])
    return []


def _boolean(node: dict[str, Any]) -> dict[str, Any]:
    """A function that says yes or no, by its name."""
    function = node["Function"]["function"]
    found = function.get("Boolean") if isinstance(function, dict) else None
    return found if isinstance(found, dict) else {}


def _checked(condition: pl.Expr, empty: pl.DataFrame) -> pl.Expr:
    """The condition, once it is seen that it can be asked."""
    import polars as pl

    try:
        empty.filter(condition)
    except pl.exceptions.SchemaError as error:
        said = str(error).splitlines()[0]
        raise InvalidArgument(
            f"this condition cannot be asked: {said}; timestamp is in UTC, so write a time as "
            "datetime(2026, 1, 31, 12, tzinfo=UTC)"
        ) from error
    return condition


def bounds_of(predicate: pl.Expr) -> Bounds:
    """What a condition says of times, offsets and types, as far as it is understood."""
    try:
        return _bounds(json.loads(predicate.meta.serialize(format="json")))
    except (AttributeError, ValueError):
        return Bounds()  # another spelling of Polars' own: then all is read, and filtered here


def _bounds(node: Any) -> Bounds:
    import polars as pl

    try:
        return _understood(node)
    except (AttributeError, ValueError, TypeError, KeyError, IndexError, OverflowError, pl.exceptions.PolarsError):
        return Bounds()


def _understood(node: Any) -> Bounds:
    if "BinaryExpr" in node:
        left, operator, right = (node["BinaryExpr"][name] for name in ("left", "op", "right"))
        if operator == "And":
            return _bounds(left).both(_bounds(right))
        if operator == "Or":
            return _bounds(left).either(_bounds(right))
        written = _OPERATORS[operator]
        if _is_constant(left):
            return _comparison(right, _TURNED[written], left)
        return _comparison(left, written, right)
    if node.get("Literal") == {"Scalar": {"Boolean": False}}:
        return NOTHING
    column, *rest = node["Function"]["input"]
    function = _boolean(node)
    if "IsIn" in function:
        return _comparison(column, "=", rest[0])
    closed = function["IsBetween"]["closed"]
    above = _comparison(column, ">=" if closed in ("Both", "Left") else ">", rest[0])
    return above.both(_comparison(column, "<=" if closed in ("Both", "Right") else "<", rest[1]))


def _comparison(left: Any, operator: str, right: Any) -> Bounds:
    """What is so where a column compares so with a value, or with one of a list."""
    import polars as pl

    column, unit = _column(left)
    values = _values(right)
    if values.dtype == pl.Null or values.is_empty():
        return Bounds()
    if column in ("event_type", "entity_type"):
        if operator != "=" or values.dtype != pl.String:
            return Bounds()
        types = frozenset(values)
        return Bounds(event_types=types) if column == "event_type" else Bounds(entity_types=types)
    low, high = _whole(values, column, unit)
    first, second = between(operator, low, high, unit)
    return Bounds(start=first, end=second) if column == "timestamp" else Bounds(first=first, stop=second)


def _column(node: Any) -> tuple[str, int]:
    """A column that a bound can be put to, and what its value is counted in: a time is in microseconds."""
    if "Column" in node:
        column = node["Column"]
        if column not in ("timestamp", "offset", "event_type", "entity_type"):
            raise KeyError(column)
        return column, 1
    if "Cast" in node:
        is_date = node["Cast"]["dtype"] == {"Literal": "Date"}
        inner = node["Cast"]["expr"]
    else:
        (inner,), function = node["Function"]["input"], node["Function"]["function"]["TemporalExpr"]
        is_date = function == "Date"
        if not is_date and "ConvertTimeZone" in function and inner == {"Column": "timestamp"}:
            return "timestamp", 1
    if not is_date or inner != {"Column": "timestamp"}:
        raise KeyError("no date of the time")
    return "timestamp", DAY


def _is_constant(node: Any) -> bool:
    return "Literal" in node or (
        "Function" in node and node["Function"]["input"] and all(map(_is_constant, node["Function"]["input"]))
    )


def _values(node: Any) -> pl.Series:
    """The value of a constant, or those of a list, without nulls."""
    import polars as pl

    expression = pl.Expr.deserialize(json.dumps(node).encode(), format="json")
    if expression.meta.root_names():
        raise ValueError("no constant")
    found = pl.select(expression).to_series()
    if len(found) != 1:
        raise ValueError("no single value")
    return (found.explode() if isinstance(found.dtype, pl.List) else found).drop_nulls()


def _whole(values: pl.Series, column: str, unit: int) -> tuple[int, int]:
    """The least value and the greatest, in what the column counts: rounded down, and up."""
    import polars as pl

    is_offset, is_date = column == "offset" and values.dtype.is_integer(), unit == DAY and values.dtype == pl.Date
    if is_offset or is_date:
        numbers = values.to_physical()
        return int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    if column != "timestamp" or unit != 1 or not isinstance(values.dtype, pl.Datetime):
        raise ValueError("a value of another kind")
    scale = _NANOSECONDS[values.dtype.time_unit]
    low, high = (int(each) * scale for each in (values.to_physical().min(), values.to_physical().max()))  # type: ignore[arg-type]
    return low // 1_000, -(-high // 1_000)
