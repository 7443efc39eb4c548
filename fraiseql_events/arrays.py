"""NumPy's arrays as Arrow's and back, without a copy and without pandas.

`pyarrow.array` and `to_numpy` load pandas to find out whether they were given something of its. That takes 0.3
seconds, with which a service would begin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def integers(values: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Int64Array:
    """Integers, none of them null; they must not be changed afterwards."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))])


def truths(values: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.BooleanArray:
    """Truth values, none of them null."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def to_integers(values: pa.Int64Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Integers of which none is null; they cannot be changed."""
    found: np.ndarray[Any, np.dtype[np.int64]] = np.frombuffer(values.buffers()[1] or b"", np.int64)
    return found[values.offset : values.offset + len(values)]
