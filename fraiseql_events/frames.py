"""The kinds of frames that batches become, and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pyarrow as pa

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.wording import near

if TYPE_CHECKING:
    import polars as pl

Frames = Literal["polars", "pandas", "arrow"]
FRAMES: Final = ("polars", "pandas", "arrow")
DTYPE_BACKENDS: Final = ("numpy_nullable", "pyarrow")
#: What pandas' columns are made of; without one, of NumPy's types.
DtypeBackend = Literal["numpy_nullable", "pyarrow"]
_INTEGERS: Final = (
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
)  # fmt: skip


def check_frames(frames: str, dtype_backend: str | None = None) -> None:
    """Refuses a kind of frame that there is not."""
    if frames not in FRAMES:
        raise InvalidArgument(f"frames={frames!r} is unknown: polars, pandas or arrow{near(frames, FRAMES)}")
    if dtype_backend is not None and dtype_backend not in DTYPE_BACKENDS:
        meant = near(dtype_backend, DTYPE_BACKENDS)
        raise InvalidArgument(f"dtype_backend={dtype_backend!r} is unknown: numpy_nullable or pyarrow{meant}")
    if dtype_backend is not None and frames != "pandas":
        raise InvalidArgument(f"dtype_backend={dtype_backend!r} is for frames='pandas', not {frames!r}")


def pandas_options(dtype_backend: DtypeBackend | None) -> dict[str, Any]:
    """What pyarrow makes pandas' columns of."""
    import pandas as pd

    if dtype_backend is None:
        return {}
    if dtype_backend == "pyarrow":
        return {"types_mapper": pd.ArrowDtype}
    nullable = {
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
        pa.float32(): pd.Float32Dtype(),
        pa.float64(): pd.Float64Dtype(),
        **{kind: getattr(pd, f"{str(kind).replace('u', 'U').replace('i', 'I')}Dtype")() for kind in _INTEGERS},
    }
    return {"types_mapper": nullable.get}


def converter(frames: Frames, dtype_backend: DtypeBackend | None = None) -> Callable[[pa.RecordBatch], Any]:
    """What makes a frame of a batch. Imports the frame's library."""
    if frames == "polars":
        import polars as pl

        return cast("Callable[[pa.RecordBatch], Any]", pl.from_arrow)
    if frames == "pandas":
        options = pandas_options(dtype_backend)
        return lambda batch: batch.to_pandas(**options)
    return lambda batch: batch


def polars_frame(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pl.DataFrame:
    """One frame of all batches, each of which is converted while the next one is on its way."""
    import polars as pl

    convert = converter("polars")
    frames = [convert(batch) for batch in batches]
    return pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema.empty_table())
