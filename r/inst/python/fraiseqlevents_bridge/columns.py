"""Columns of Arrow as R takes them: `r/R/columns.R` makes vectors of them.

Numbers cross as the bytes of R's own vectors, for neither whole numbers of 64 bits nor microseconds survive on another
way. Texts cross as lists, those that repeat as codes and levels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: R's missing whole number, and that of package bit64.
_NA_INTEGER: Final = -(2**31)
_NA_INTEGER64: Final = -(2**63)
#: Up to here R's doubles have every whole number.
_EXACT: Final = 2**53
#: So many texts of a column are looked at; where they are so few different ones, they are taken to repeat.
_LOOK: Final = 512
_FEW: Final = 64


def columns_of(table: pa.Table | pa.RecordBatch, bigint: str) -> dict[str, Any]:
    """A table, column by column.

    Args:
        table: the values.
        bigint: as what whole numbers of 64 bits cross: "numeric", "integer64" or "character".
    """
    arrays = (column if isinstance(column, pa.Array) else whole(column) for column in table.columns)
    return {name: column_of(array, bigint) for name, array in zip(table.schema.names, arrays, strict=True)}


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def column_of(values: pa.Array, bigint: str) -> dict[str, Any]:
    """One column, as in `columns_of`."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts(values)
    if pa.types.is_list(kind):
        lengths = _integers(pc.list_value_length(values))
        return {"kind": "list", "lengths": lengths, "values": column_of(values.flatten(), bigint)}
    if pa.types.is_timestamp(kind):
        micros = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        return _doubles(micros, "time") | {"scale": 1e6}
    if pa.types.is_date(kind):
        return _doubles(values.cast(pa.int32()), "date")
    if pa.types.is_boolean(kind):
        return {"kind": "logical", "bytes": _integers(values.cast(pa.int32()))}
    if pa.types.is_floating(kind) or pa.types.is_uint32(kind):
        return _doubles(values, "double")
    if pa.types.is_int64(kind) or pa.types.is_uint64(kind):
        return _big(values, bigint)
    if pa.types.is_integer(kind):
        low = pc.min(values).as_py()
        if low is not None and low <= _NA_INTEGER:  # R has one whole number less
            return _doubles(values, "double")
        return {"kind": "integer", "bytes": _integers(values)}
    return _texts(values.cast(pa.string()))


def _texts(values: pa.Array) -> dict[str, Any]:
    """Codes and levels where texts repeat, else a list. R's texts hold no NUL: it becomes U+FFFD, and is counted."""
    with_nul = int(pc.sum(pc.match_substring(values, "\0")).as_py() or 0)
    if with_nul:
        values = pc.replace_substring(values, "\0", "\ufffd")
    if len(values) > _LOOK and pc.count_distinct(values[:_LOOK]).as_py() <= _FEW:
        coded = values.dictionary_encode()
        codes = pc.add(coded.indices, 1)
        return {"kind": "coded", "bytes": _integers(codes), "levels": coded.dictionary.to_pylist(), "nul": with_nul}
    return {"kind": "text", "list": values.fill_null("").to_pylist(), "missing": _missing(values), "nul": with_nul}


def _big(values: pa.Array, bigint: str) -> dict[str, Any]:
    """Whole numbers of 64 bits, exactly: as doubles only where all of them have one."""
    ends = pc.min_max(values).as_py()
    if bigint == "integer64" and pa.types.is_int64(values.type) and ends["min"] != _NA_INTEGER64:
        filled = np.asarray(values.fill_null(_NA_INTEGER64))
        return {"kind": "integer64", "bytes": bytearray(filled.tobytes())}
    if bigint == "numeric" and (ends["min"] is None or (ends["min"] >= -_EXACT and ends["max"] <= _EXACT)):
        return _doubles(values, "double")
    return _texts(values.cast(pa.string())) | {"large": bigint != "character"}


def _doubles(values: pa.Array, kind: str) -> dict[str, Any]:
    """As R's doubles; what is missing is set there, where it is told from NaN."""
    filled = values.fill_null(0) if values.null_count else values
    numbers = filled.to_numpy(zero_copy_only=False).astype(np.float64)
    return {"kind": kind, "bytes": bytearray(numbers.tobytes()), "missing": _missing(values)}


def _integers(values: pa.Array) -> bytearray:
    """As R's whole numbers, its missing one among them."""
    return bytearray(np.asarray(values.cast(pa.int32()).fill_null(_NA_INTEGER)).tobytes())


def _missing(values: pa.Array) -> bytearray | None:
    """Where there is nothing, counted from one."""
    if values.null_count == 0:
        return None
    places = np.flatnonzero(np.asarray(values.is_null().cast(pa.uint8()))).astype(np.int32) + np.int32(1)
    return bytearray(places.tobytes())
