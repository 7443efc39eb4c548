"""Typed columns out of `data`, which is JSON text: named with their types, or found from a sample.

DuckDB takes the fields, a batch at a time and without the interpreter's lock. A value that does not fit its type is
null, and counted.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from fraiseql_events.caller import caller_level
from fraiseql_events.duck import ChangingTable, connect
from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.timestamps import TIMESTAMP
from fraiseql_events.wording import shown

if TYPE_CHECKING:
    import duckdb
    import polars as pl

#: So many events a sample has at the most.
SAMPLE: Final = 10_000
EXAMPLES: Final = 3
_NAME: Final = re.compile(r'[^."\[\]]+|"[^"]+"')
_PATH: Final = re.compile(rf"(?:{_NAME.pattern})(?:\[\])*(?:\.(?:{_NAME.pattern})(?:\[\])*)*")
_STEP: Final = re.compile(rf"({_NAME.pattern})((?:\[\])*)")
#: What an event has itself; and a path that would be named so.
_OWN: Final = re.compile(rf"(?:data\.)*(?:{'|'.join(LOG_SCHEMA.names)})")
_PYTHON: Final = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_TYPES: Final = "write str, int, float, bool, or a type of Polars or Arrow for text, a number, a date or a time"
_SQL: Final = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}
#: The years 0001 to 9999, as for an event's own time.
_YEARS: Final = {
    "DATE": "DATE '0001-01-01' AND DATE '9999-12-31'",
    "TIMESTAMP WITH TIME ZONE": "'0001-01-01T00:00:00Z'::TIMESTAMPTZ AND '9999-12-31 23:59:59.999999Z'::TIMESTAMPTZ",
}
#: How the values of each kind are written, as JSON and ISO 8601 have it: DuckDB takes 1_000, " 12 " and 2026/1/5 too.
_NUMBER: Final = r"-?(0|[1-9][0-9]*)"
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT: Final = rf"{_DAY}([Tt ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]+)?)?([Zz]|[-+][0-9]{{2}}(:?[0-9]{{2}})?)?)?"
_WRITTEN: Final = {"BOOLEAN": "true|false", "DATE": _MOMENT, "TIMESTAMP WITH TIME ZONE": _MOMENT}
_WRITTEN_NUMBER: Final = rf"{_NUMBER}([.][0-9]+)?([eE][-+]?[0-9]+)?"
#: What DuckDB calls the kinds of JSON values; anything else is kept as JSON text.
_INFERRED: Final = {
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "UBIGINT": pa.int64(),
    "HUGEINT": pa.int64(),  # of positive and negative ones; which are too large is found out
}
_STRUCTURE: Final = "SELECT json_group_structure(data::JSON) FROM sample WHERE json_type(data) = 'OBJECT'"


@dataclass(frozen=True, slots=True)
class Field:
    """A typed column.

    Attributes:
        path: where it is in `data`, such as ``total``, ``address.city`` or ``items[].sku``.
        type: its Arrow type; a list where the path has ``[]``.
    """

    path: str
    type: pa.DataType

    @property
    def name(self) -> str:
        """The column's: the path; with ``data.`` before it where an event has a column of that name.

        And before a path that is such a name, so that no two fields have one name.
        """
        return f"data.{self.path}" if _OWN.fullmatch(self.path) else self.path

    @property
    def is_list(self) -> bool:
        """Whether it takes a value of each element."""
        return takes_each(self.path)

    @property
    def json_path(self) -> str:
        """As DuckDB spells it, in quotes."""
        names = [(name.strip('"'), each.replace("[]", "[*]")) for name, each in _STEP.findall(self.path)]
        path = "$" + "".join(f'."{name}"{each}' for name, each in names)
        return "'" + path.replace("'", "''") + "'"

    @property
    def sql_type(self) -> str:
        """The type of a value, or of an element."""
        kind = self.type.value_type if self.is_list else self.type
        return f"DECIMAL({kind.precision}, {kind.scale})" if pa.types.is_decimal(kind) else _SQL[kind]


def path_of(name: str) -> str:
    """The path of the column of that name."""
    inner = name.removeprefix("data.")
    return inner if _OWN.fullmatch(inner) else name


def takes_each(path: str) -> bool:
    """Whether a path has ``[]``, and thus several values an event; within quotes it is part of a name."""
    return any(each for _, each in _STEP.findall(path))


def fields_of(payload: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields that a mapping names: paths to Polars, Arrow or Python types.

    Raises:
        InvalidArgument: it is none, or a path or a type is not one that can be had.
    """
    if not isinstance(payload, Mapping) or not payload:
        raise InvalidArgument(f"payload={shown(payload)}: it must be 'infer', or name fields: {{'total': pl.Float64}}")
    return tuple(_field(path, kind) for path, kind in payload.items())


class TypedPayload:
    """Adds typed columns to batches; for one thread.

    Args:
        fields: the columns.
        drop: leave `data` out afterwards.
    """

    def __init__(self, fields: tuple[Field, ...], *, drop: bool = False) -> None:
        self.fields = fields
        self._drop = drop
        self._batch = ChangingTable(pa.schema([("data", pa.string())]))
        self._query: duckdb.DuckDBPyRelation | None = None

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns of a batch, and the typed ones behind them."""
        kept = [field for field in schema if not (self._drop and field.name == "data")]
        return pa.schema([*kept, *(pa.field(field.name, field.type) for field in self.fields)])

    def add(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, int]]:
        """A batch with the typed columns; and of each field, how many values were there and did not fit its type."""
        schema = self.schema(batch.schema)
        columns = [batch.column(name) for name in batch.schema.names if not (self._drop and name == "data")]
        found = self._read(batch.column("data"))
        misfits = {}
        for number, field in enumerate(self.fields):
            columns.append(found[f"c{number}"].combine_chunks().cast(field.type))
            misfits[field.name] = pc.sum(found[f"m{number}"]).as_py() or 0
        return pa.RecordBatch.from_arrays(columns, schema=schema), misfits

    def _read(self, data: pa.StringArray) -> pa.Table:
        if self._query is None:
            connection = connect()
            connection.register("batch", self._batch)
            self._query = connection.sql(_query(self.fields))
        return self._batch.answer(self._query, pa.table({"data": data}))


def infer(sample: pa.Table) -> tuple[Field, ...]:
    """The fields that the `data` of a sample has, in the order in which they are met; warns of those left out.

    Raises:
        InvalidArgument: there is nothing to look at.
    """
    found = list(_flat(_structure(sample), ""))
    fields = tuple(_inferred(path, kind) for path, kind in found if path and kind != "NULL")
    if not fields:
        raise InvalidArgument(
            f"no fields can be found: the data of these {sample.num_rows:,} events are no objects with any"
        )
    left_out = [shown(name) for path, name in found if not path]
    if left_out:
        text = f"left out, for no path can name them: the fields {', '.join(left_out)} of data"
        warnings.warn(text, UserWarning, stacklevel=caller_level())
    return _fitting(fields, sample)


def paths_in(sample: pa.Table) -> list[str]:
    """The paths of all fields that the `data` of a sample has, also of those that are null."""
    return [path for path, _ in _flat(_structure(sample), "") if path]


def describe(sample: pa.Table, fields: tuple[Field, ...]) -> pl.DataFrame:
    """Fields, their types, how often they are there, and examples, as a frame of a row each."""
    import polars as pl

    typed = TypedPayload(fields)
    batches = [typed.add(batch)[0] for batch in sample.to_batches()]
    frame = pl.DataFrame(pa.Table.from_batches(batches, typed.schema(sample.schema)))
    rows = []
    for field in fields:
        column = frame.get_column(field.name)
        there = column.list.len() > 0 if field.is_list else column.is_not_null()
        values = (column.explode() if field.is_list else column).drop_nulls().unique(maintain_order=True)
        examples = ", ".join(map(str, values.head(EXAMPLES)))
        rows.append((field.path, str(column.dtype), there.mean(), examples))
    return pl.DataFrame(rows, schema=["field", "type", "present", "examples"], orient="row")


def _structure(sample: pa.Table) -> dict[str, Any]:
    """The fields of all objects together, as DuckDB tells them: names with kinds, or with what is in them."""
    connection = connect()
    connection.register("sample", sample.select(["data"]))
    ((structure,),) = connection.sql(_STRUCTURE).fetchall()
    found = None if structure is None else json.loads(structure)
    return found if isinstance(found, dict) else {}


def _inferred(path: str, kind: str) -> Field:
    value = _INFERRED.get(kind, pa.string())
    return Field(path, pa.list_(value) if takes_each(path) else value)


def _fitting(fields: tuple[Field, ...], sample: pa.Table) -> tuple[Field, ...]:
    """Fields whose whole numbers are too large for their type as text, which has every digit."""
    misfits: Counter[str] = Counter()
    typed = TypedPayload(fields)
    for batch in sample.select(["data"]).to_batches():
        misfits.update(typed.add(batch)[1])
    text = {True: pa.list_(pa.string()), False: pa.string()}
    return tuple(replace(field, type=text[field.is_list]) if misfits[field.name] else field for field in fields)


def _field(path: object, kind: object) -> Field:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidArgument(f"payload: {shown(path)} is no path: write 'total', 'address.city' or 'items[].sku'")
    wanted = _arrow_type(kind)
    value = wanted.value_type if wanted is not None and pa.types.is_list(wanted) else wanted
    if value is None or not (value in _SQL or pa.types.is_decimal(value)):
        raise InvalidArgument(f"payload: {path} cannot be a {shown(kind)}: {_TYPES}")
    if pa.types.is_list(wanted) != takes_each(path):
        example = "pl.List(…)" if takes_each(path) else "no list"
        raise InvalidArgument(f"payload: the type of {path} must be {example}, for its path takes {_takes(path)}")
    return Field(path, wanted)


def _takes(path: str) -> str:
    return "each element" if takes_each(path) else "one value; write [] behind a list's name"


def _arrow_type(kind: Any) -> pa.DataType | None:
    """An Arrow type of those that there are here; None where it is none."""
    import polars as pl

    if isinstance(kind, pa.DataType):
        return _plain(kind)
    if isinstance(kind, type) and kind in _PYTHON:
        return _PYTHON[kind]
    if isinstance(kind, pl.DataType) or (isinstance(kind, type) and issubclass(kind, pl.DataType)):
        try:
            return _plain(pl.Series([], dtype=kind).to_arrow().type)
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            return None
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return TIMESTAMP
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def _query(fields: tuple[Field, ...]) -> str:
    single = [field for field in fields if not field.is_list]
    found = (
        [f"try(json_extract_string(data, [{', '.join(field.json_path for field in single)}])) AS f"] if single else []
    )
    chosen = []
    for number, field in enumerate(fields):
        if field.is_list:
            found.append(f"try(json_extract_string(data, {field.json_path})) AS l{number}")
            value, odd = f"list_transform(l{number}, lambda x: {_cast('x', field)})", _misfit("x", field)
            missed = f"len(list_filter(l{number}, lambda x: {odd}))"
        else:
            text = f"f[{single.index(field) + 1}]"
            value, missed = _cast(text, field), f"({_misfit(text, field)})::BIGINT"
        chosen += [f"{value} AS c{number}", f"{missed} AS m{number}"]
    return f"SELECT {', '.join(chosen)} FROM (SELECT {', '.join(found)} FROM batch)"  # noqa: S608


def _cast(text: str, field: Field) -> str:
    if field.sql_type == "VARCHAR":
        return text
    cast = f"TRY_CAST({text} AS {field.sql_type})"
    # DuckDB would round 10.5 to 11
    whole = field.sql_type.endswith(("INT", "INTEGER"))
    written = _NUMBER if whole else _WRITTEN.get(field.sql_type, _WRITTEN_NUMBER)
    condition = f"regexp_full_match({text}, '{written}')"
    if field.sql_type in _YEARS:
        # DuckDB has times for ever, which neither Python nor pandas can show
        condition += f" AND {cast} BETWEEN {_YEARS[field.sql_type]}"
    return f"CASE WHEN {condition} THEN {cast} END"


def _misfit(text: str, field: Field) -> str:
    return "false" if field.sql_type == "VARCHAR" else f"{text} IS NOT NULL AND {_cast(text, field)} IS NULL"


def _flat(structure: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    """The paths of a structure's fields, nested ones too, and their kinds; of one that can have no path, its name."""
    for name, kind in structure.items():
        if not name or '"' in name:
            yield "", before + name
            continue
        path = before + (name if _NAME.fullmatch(name) else f'"{name}"')
        inner, each = kind, ""
        while isinstance(inner, list):
            inner, each = inner[0], f"{each}[]"
        if isinstance(inner, dict):
            yield from _flat(inner, f"{path}{each}.")
        else:
            yield f"{path}{each}", inner
