"""An answer of the server, read once: as frames batch by batch, or as one frame."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

import msgspec
import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.errors import InvalidArgument, ServerError, StreamConsumed
from fraiseql_events.prefetch import Prefetch
from fraiseql_events.wording import near

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow.flight as fl

Frames = Literal["polars", "pandas", "arrow"]
FRAMES: Final = ("polars", "pandas", "arrow")
F = TypeVar("F")


def check_frames(frames: str) -> None:
    """Refuses a kind of frame that there is not."""
    if frames not in FRAMES:
        raise InvalidArgument(f"frames={frames!r} is unknown: polars, pandas or arrow{near(frames, FRAMES)}")


class EventStream(Closing, Generic[F]):
    """The events that were asked for, in offset order, to be read once, in one way.

    - ``for frame in stream`` or ``async for frame in stream``: a frame a batch, memory constant;
    - ``stream.to_polars()``, ``to_pandas()``, ``to_arrow()``: all in one frame;
    - ``stream.to_reader()``, or anything that takes the Arrow C stream (DuckDB, Polars, R): batches, unchanged.

    Nothing is asked of the server before the first of these. Close it, or use it with ``with``, when you stop early.
    """

    def __init__(self, open_reader: Callable[[], fl.FlightStreamReader], schema: pa.Schema, frames: Frames) -> None:
        self._open_reader = open_reader
        self._frames = frames
        self._prefetch: Prefetch | None = None
        self._started = False
        self._ended = False
        self._closed = False
        self.schema: Final = schema
        #: The offset that the answer is read up to; ``after_offset=`` goes on behind it. None before the first.
        self.offset: int | None = None

    def __iter__(self) -> Iterator[F]:
        if self._started:
            raise StreamConsumed("this stream is read already: ask the client for another")
        return self._convert_each()

    def _convert_each(self) -> Iterator[F]:
        convert = converter(self._frames)
        for batch in self.batches():
            yield convert(batch)

    async def __aiter__(self) -> AsyncIterator[F]:
        """The same for asynchronous code; the event loop is free while a batch is awaited."""
        convert = converter(self._frames)
        prefetch = self._start()
        try:
            while (batch := await self._next_awaited(prefetch)) is not None:
                yield convert(batch)
        finally:
            self.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The events as Arrow record batches, whatever `frames` says."""
        prefetch = self._start()
        try:
            while (batch := self._next(prefetch)) is not None:
                yield batch
        finally:
            self.close()

    def to_reader(self) -> pa.RecordBatchReader:
        """An Arrow reader over the rest; memory constant."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def to_arrow(self) -> pa.Table:
        """All of it as an Arrow table."""
        return pa.Table.from_batches(list(self.batches()), self.schema)

    def to_polars(self) -> pl.DataFrame:
        """All of it as a Polars frame."""
        import polars as pl

        return cast("pl.DataFrame", pl.from_arrow(self.to_arrow()))

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """All of it as a pandas frame; `options` are those of `pyarrow.Table.to_pandas`."""
        return self.to_arrow().to_pandas(**options)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Ends the stream, on the server too; again does nothing."""
        self._closed = True
        if self._prefetch is not None:
            self._prefetch.close()

    def __del__(self) -> None:
        if getattr(self, "_started", False) and not self._closed:
            warnings.warn("an EventStream was left open: use it with `with`", ResourceWarning, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        state = (
            "read" if self._ended else "closed" if self._closed else "open" if self._started else "not yet asked for"
        )
        return f"<EventStream of {', '.join(self.schema.names)}: {state}, offset {self.offset}>"

    def _start(self) -> Prefetch:
        if self._started or self._closed:
            raise StreamConsumed("this stream is read already, or closed: ask the client for another")
        self._started = True
        self._prefetch = Prefetch(self._open_reader)
        return self._prefetch

    def _next(self, prefetch: Prefetch) -> pa.RecordBatch | None:
        """The next batch with rows; None at the end that the server has marked."""
        while (chunk := prefetch.get()) is not None:
            if (batch := self._note(chunk.data, chunk.app_metadata)) is not None:
                return batch
        self._check_end()
        return None

    async def _next_awaited(self, prefetch: Prefetch) -> pa.RecordBatch | None:
        loop = asyncio.get_running_loop()
        while True:
            if not prefetch.ready:
                # in slices: an interrupt of the loop's thread is seen only between two of them
                await loop.run_in_executor(None, prefetch.wait, 0.1)
                continue
            if (chunk := prefetch.get()) is None:
                self._check_end()
                return None
            if (batch := self._note(chunk.data, chunk.app_metadata)) is not None:
                return batch

    def _note(self, batch: pa.RecordBatch, metadata: pa.Buffer | None) -> pa.RecordBatch | None:
        """Keeps the place that a batch comes with; the batch itself if it has rows."""
        place = msgspec.json.decode(metadata.to_pybytes()) if metadata is not None else {}
        if place.get("last_offset") is not None:
            self.offset = place["last_offset"]
        if place.get("end"):
            self._ended = True
            self.offset = place["next_offset"] - 1
        return batch if batch.num_rows else None

    def _check_end(self) -> None:
        if self._closed and not self._ended:
            raise StreamConsumed("this stream was closed before its end: ask the client for another")
        if not self._ended:
            place = "at its start" if self.offset is None else f"after offset {self.offset}"
            raise ServerError(f"the server ended the stream {place}, before its end: ask again with after_offset")


def converter(frames: Frames) -> Callable[[pa.RecordBatch], Any]:
    """What makes a frame of a batch. Imports the frame's library."""
    if frames == "polars":
        import polars as pl

        return cast("Callable[[pa.RecordBatch], Any]", pl.from_arrow)
    if frames == "pandas":
        return cast("Callable[[pa.RecordBatch], Any]", pa.RecordBatch.to_pandas)
    return lambda batch: batch
