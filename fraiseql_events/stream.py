"""An answer of the server, read once: as frames batch by batch, or as one frame."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import pyarrow as pa

from fraiseql_events.connection import Connection
from fraiseql_events.errors import EventsError, brief_when_stopped
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.frames import DtypeBackend, Frames, check_frames, converter, pandas_options, polars_frame
from fraiseql_events.html import card, table
from fraiseql_events.names import Names
from fraiseql_events.payload import Field
from fraiseql_events.progress import DELAY_SECONDS, bar, in_notebook, learn_total
from fraiseql_events.resuming import PENDING, Resuming
from fraiseql_events.ticket import Ticket
from fraiseql_events.typed_reader import TypedReader, warn_of_misfits

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from fraiseql_events.flight_reader import FlightReader

F = TypeVar("F")


class EventStream(Resuming, Generic[F]):
    """The events that were asked for, in offset order, to be read once, in one way.

    - ``for frame in stream`` or ``async for frame in stream``: a frame a batch, memory constant;
    - ``stream.to_polars()``, ``to_pandas()``, ``to_arrow()``: all in one frame;
    - ``stream.poll(seconds)``: the next frame if there is one by then, for loops that do other things beside;
    - ``stream.to_reader()``, or anything that takes the Arrow C stream (DuckDB, Polars, R): batches, unchanged.

    Nothing is asked of the server before the first of these. Where the connection or the server breaks off, the rest is
    asked for again, without a gap and without a duplicate. Close it, or use it with ``with``, when you stop early.

    Attributes:
        ticket (Ticket): what is asked for.
        schema (pa.Schema): the columns.
        offset (int | None): the offset that has been read up to; ``after_offset=`` goes on behind it. None before the
            first batch.
        history (str | None): what `offset` is an offset of; kept with it, ``history=`` tells a server that has another
            history.
        reconnects (int): how often the rest was asked for again.
        rows (int): events read so far.
        misfits (dict[str, int]): of each field of ``payload=``, how many values were there and did not fit its type:
            they are null.
        warns (bool): whether an `UnknownName` is warned of; `unknown` tells it as well.
    """

    def __init__(
        self,
        open_reader: Callable[[Ticket], FlightReader | TypedReader],
        ticket: Ticket,
        schema: pa.Schema,
        frames: Frames,
        *,
        server: Connection | None = None,
        fields: Sequence[Field] = (),
        progress: bool = True,
        dtype_backend: DtypeBackend | None = None,
    ) -> None:
        super().__init__(open_reader, ticket, server)
        self._names = Names(ticket, fields, server, read_all)
        self._frames = frames
        self._dtype_backend = dtype_backend
        self._progress = progress
        self._polled = 0.0
        self.schema: Final = schema
        self.warns = True

    def __iter__(self) -> Iterator[F]:
        self._start()
        return self._convert_each()

    async def __aiter__(self) -> AsyncIterator[F]:
        """The same for asynchronous code; the event loop is free while a batch is awaited."""
        convert, loop = converter(self._frames, self._dtype_backend), asyncio.get_running_loop()
        self._start()
        with brief_when_stopped(asyncio.CancelledError), self:
            while not self._ended:
                # in slices: an interrupt of the loop's thread is seen only between two of them
                batch = await loop.run_in_executor(None, self._poll)
                if batch is not PENDING:
                    yield convert(batch)
                if self._names.are_due(ended=self._ended):
                    await loop.run_in_executor(None, self._names.find)
                    self._names.warn(warns=self.warns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The events as Arrow record batches, whatever `frames` says."""
        self._start()
        return self._each()

    def poll(self, seconds: float = 0.0) -> F | None:
        """The next frame, which is waited for so long at the most: for loops that have other things to do, too.

        Returns:
            The frame. None when there is none yet, and when all has been read, as `ended` tells.
        """
        if not self._started:
            self._start()
        if time.monotonic() - self._polled > 1.0:  # nobody was listening meanwhile
            self._heard = time.monotonic()
        self._polled = time.monotonic()
        try:
            with brief_when_stopped(KeyboardInterrupt):
                batch = PENDING if self._ended else self._poll(seconds)
        except BaseException:
            self.close()  # what had come when it was interrupted is lost: it cannot be gone on with
            raise
        self._names.look(ended=self._ended, warns=self.warns)
        return None if batch is PENDING else converter(self._frames, self._dtype_backend)(batch)

    def to_reader(self) -> pa.RecordBatchReader:
        """An Arrow reader over the rest; memory constant."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def to_arrow(self) -> pa.Table:
        """All of it as an Arrow table."""
        return pa.Table.from_batches(list(self._shown_batches()), self.schema)

    def to_polars(self) -> pl.DataFrame:
        """All of it as a Polars frame."""
        return polars_frame(self._shown_batches(), self.schema)

    def to_pandas(self, *, dtype_backend: DtypeBackend | None = None, **options: Any) -> pd.DataFrame:
        """All of it as a pandas frame.

        Args:
            dtype_backend: ``"numpy_nullable"`` or ``"pyarrow"``; without it what `EventClient.stream` was given.
            options: those of `pyarrow.Table.to_pandas`.
        """
        backend = dtype_backend or self._dtype_backend
        check_frames("pandas", backend)
        return self.to_arrow().to_pandas(**pandas_options(backend), **options)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    @property
    def unknown(self) -> str:
        """A sentence on the names in the question that no event has, as far as that was looked for; else nothing."""
        return self._names.sentence

    def __repr__(self) -> str:
        return f"<EventStream of {', '.join(self.schema.names)}: {self.state}, offset {self.offset}>"

    def _repr_html_(self) -> str:
        facts = [
            ("asked for", self.ticket.encode().decode()),
            ("state", self.state),
            ("read", f"{self.rows:,} events, up to offset {self.offset}" if self.rows else "nothing yet"),
        ]
        return card("EventStream", facts, table(("column", "type"), ((each.name, each.type) for each in self.schema)))

    def _convert_each(self) -> Iterator[F]:
        convert = converter(self._frames, self._dtype_backend)
        shown = self._progress and self._is_follow and in_notebook()
        with brief_when_stopped(KeyboardInterrupt), bar("following", shown=shown) as counter:
            for batch in self._each():
                counter.update(batch.num_rows)
                yield convert(batch)

    def _shown_batches(self) -> Iterator[pa.RecordBatch]:
        """The events, with a bar that learns how many there are once it is seen."""
        self._start()
        seen = time.monotonic() + DELAY_SECONDS
        with bar("reading", shown=self._progress) as progress:
            for batch in self._each():
                if not progress.disable and time.monotonic() > seen:
                    seen = math.inf
                    if (total := self._count_all()) is not None:
                        learn_total(progress, total)
                progress.update(batch.num_rows)
                yield batch
        warn_of_misfits(self.misfits, self.schema)

    def _see(self, batch: pa.RecordBatch) -> None:
        self._names.note(batch, self.misfits)

    def _count_all(self) -> int | None:
        """How many events there are; None where that is not known."""
        try:
            return None if self._server is None or self._is_follow else self._server.count(self.ticket)
        except EventsError:
            return None

    def _each(self) -> Iterator[pa.RecordBatch]:
        with brief_when_stopped(KeyboardInterrupt), self:
            while not self._ended:
                batch = self._poll()
                if batch is not PENDING:
                    yield batch
                self._names.look(ended=self._ended, warns=self.warns)


def read_all(open_reader: Callable[[Ticket], FlightReader], ticket: Ticket) -> pa.Table:
    """All that a ticket with columns asks for."""
    schema = pa.schema([LOG_SCHEMA.field(name) for name in ticket.columns or ()])
    return EventStream(open_reader, ticket, schema, "arrow", progress=False).to_arrow()
