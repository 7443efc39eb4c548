"""An answer of the server, read once: as frames batch by batch, or as one frame; asked for again where it was cut."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import random
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
import pyarrow as pa

from fraiseql_events.closing import Closing
from fraiseql_events.connection import Connection
from fraiseql_events.errors import EventsError, ServerUnavailable, StreamConsumed, StreamCut, brief_when_stopped
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.frames import DtypeBackend, Frames, check_frames, converter, pandas_options, polars_frame
from fraiseql_events.html import card, table
from fraiseql_events.names import Names
from fraiseql_events.payload import Field
from fraiseql_events.prefetch import Prefetch
from fraiseql_events.progress import DELAY_SECONDS, bar, in_notebook, learn_total
from fraiseql_events.served import ended_here
from fraiseql_events.ticket import Ticket
from fraiseql_events.typed_reader import TypedReader, warn_of_misfits

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from fraiseql_events.flight_reader import FlightReader

log: Final = logging.getLogger(__name__)

F = TypeVar("F")

#: A follower that hears not even a heartbeat for so long takes the server for dead.
SILENCE_SECONDS: Final = 8.0
#: For its first word a server is given so long: it may be on a slow store.
PATIENCE_SECONDS: Final = 60.0
#: A stream with an end is given up when it comes no further for so long; a follower never gives up.
GIVE_UP_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
#: A wait is cut into slices, so that an interrupt is seen soon.
_SLICE: Final = 0.1
_PENDING: Final = object()


class EventStream(Closing, Generic[F]):
    """The events that were asked for, in offset order, to be read once, in one way.

    - ``for frame in stream`` or ``async for frame in stream``: a frame a batch, memory constant;
    - ``stream.to_polars()``, ``to_pandas()``, ``to_arrow()``: all in one frame;
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
        self._dtype_backend = dtype_backend
        self._open_reader = open_reader
        self._server = server
        self._names = Names(ticket, fields, server, read_all)
        self._progress = progress
        self.ticket = ticket
        self._is_follow = ticket.mode == "streaming"
        self._frames = frames
        self._prefetch: Prefetch | None = None
        self._started = self._ended = self._closed = False
        self._answered = self._asked = self._silent = False
        self._heard = 0.0
        self._goal = 0
        self._failing_since: float | None = None
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._trouble: EventsError | None = None
        self.schema: Final = schema
        self.offset: int | None = None
        self.history: str | None = ticket.history
        self.reconnects = 0
        self.rows = 0
        self.misfits: dict[str, int] = {}
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
                if batch is not _PENDING:
                    yield convert(batch)
                if self._names.are_due(ended=self._ended):
                    await loop.run_in_executor(None, self._names.find)
                    self._names.warn(warns=self.warns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The events as Arrow record batches, whatever `frames` says."""
        self._start()
        return self._each()

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
    def state(self) -> str:
        """In words: not yet asked for, open, asking again (and why), read, or closed."""
        trouble = self._trouble
        states = (
            (self._ended, "read"),
            (self._closed, "closed"),
            (trouble is not None, f"asking again: {trouble}"),
            (self._started, "open"),
        )
        return next((state for holds, state in states if holds), "not yet asked for")

    @property
    def unknown(self) -> str:
        """A sentence on the names in the question that no event has, as far as that was looked for; else nothing."""
        return self._names.sentence

    def close(self) -> None:
        """Ends the stream, on the server too; again does nothing."""
        self._closed = True
        if self._prefetch is not None:
            self._prefetch.close()

    def __del__(self) -> None:
        if getattr(self, "_prefetch", None) is not None and not self._closed:
            warnings.warn("an EventStream was left open: use it with `with`", ResourceWarning, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<EventStream of {', '.join(self.schema.names)}: {self.state}, offset {self.offset}>"

    def _repr_html_(self) -> str:
        facts = [
            ("asked for", self.ticket.encode().decode()),
            ("state", self.state),
            ("read", f"{self.rows:,} events, up to offset {self.offset}" if self.rows else "nothing yet"),
        ]
        return card("EventStream", facts, table(("column", "type"), ((each.name, each.type) for each in self.schema)))

    def _start(self) -> None:
        if self._started or self._closed:
            raise StreamConsumed("this stream is read already, or closed: ask the client for another")
        self._started = True

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
                if batch is not _PENDING:
                    yield batch
                self._names.look(ended=self._ended, warns=self.warns)

    def _poll(self) -> Any:
        """The next batch with rows; `_PENDING` when there is none within a slice of time, or at the end."""
        if self._closed:
            raise StreamConsumed("this stream was closed before its end: ask the client for another")
        try:
            return self._receive()
        except (StreamCut, ServerUnavailable) as error:
            self._plan_retry(error)
            return _PENDING
        except EventsError as error:
            raise self._told(error) from error.__cause__

    def _receive(self) -> Any:
        if self._prefetch is None:
            if (pause := self._retry_at - time.monotonic()) > 0:
                time.sleep(min(_SLICE, pause))
                return _PENDING
            self._prefetch = Prefetch(lambda: self._open_reader(self._rest()))
            self._heard = time.monotonic()
        try:
            chunk = self._prefetch.get(_SLICE)
        except queue.Empty:
            silence = time.monotonic() - self._heard
            if silence > self._longest_silence():
                raise StreamCut(f"the server has been silent for {silence:.0f} seconds") from None
            return _PENDING
        if chunk is None and self._closed:
            return _PENDING  # closed by another thread: the next poll says so
        if chunk is None:
            raise StreamCut(f"the server ended the stream {self._place()}, before its end")
        for path, count in getattr(chunk, "misfits", {}).items():
            self.misfits[path] = self.misfits.get(path, 0) + count
        self._names.note(chunk.data, self.misfits)
        return self._note(chunk.data, chunk.app_metadata)

    def _longest_silence(self) -> float:
        """How long the server may say nothing. It sends a sign of life every two seconds, and between two looks."""
        if self._answered:
            return SILENCE_SECONDS if self._is_follow else 4 * SILENCE_SECONDS
        return 4 * SILENCE_SECONDS if self._retry_at else PATIENCE_SECONDS

    def _note(self, batch: pa.RecordBatch, metadata: pa.Buffer | None) -> Any:
        """Keeps the place that a batch comes with; the batch itself if it has rows."""
        if self._retry_at and not self._answered and not self._silent:
            log.warning("the stream goes on %s", self._place())
        self._answered = True
        self._trouble = None
        self._heard = time.monotonic()
        self._pause = _FIRST_PAUSE
        before = self.offset
        place = msgspec.json.decode(metadata.to_pybytes()) if metadata is not None else {}
        if place.get("last_offset") is not None:
            self.offset = place["last_offset"]
        if place.get("next_offset") is not None:
            self.offset = place["next_offset"] - 1
        if self.offset != before:
            self._failing_since = None
        self.history = place.get("history", self.history)
        self._asked = True
        self.rows += batch.num_rows
        self._goal = max(self._goal, place.get("until") or 0)
        self._ended = bool(place.get("end")) and not self._is_short()
        return batch if batch.num_rows else _PENDING

    def _is_short(self) -> bool:
        """Whether a server that was killed has not read again as much as it had when it was asked first."""
        full = self.ticket.limit is not None and self.rows >= self.ticket.limit
        return not full and self.offset is not None and self.offset + 1 < self._goal

    def _plan_retry(self, error: EventsError) -> None:
        """Asks again after a pause, or raises the error: at the first time of asking, and when it is of no use."""
        now = time.monotonic()
        if self._prefetch is not None:
            self._prefetch.close()
        if self._closed:
            return
        self._failing_since = self._failing_since or now
        if not self._asked or (not self._is_follow and now - self._failing_since > GIVE_UP_SECONDS):
            raise self._told(error) from error.__cause__
        if self._answered:
            self.reconnects += 1
            self._silent = self._server is not None and ended_here(self._server.url)
            if not self._silent:  # whoever has ended it knows; `state` tells it too
                log.warning("%s; asking again %s", error, self._place())
        if self._silent:
            error = ServerUnavailable("its service was stopped here; it goes on when that starts again")
        self._answered = False
        self._trouble = error
        self._prefetch = None
        self._retry_at = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _told(self, error: EventsError) -> EventsError:
        """An error that also says what had come before it."""
        if not self.rows:
            return error
        place = f"{self.rows:,} events had come before: after_offset={self.offset} goes on behind them"
        return type(error)(f"{error}; {place}")

    def _rest(self) -> Ticket:
        """What is still to be asked for."""
        if self.offset is None:
            return self.ticket
        left = None if self.ticket.limit is None else self.ticket.limit - self.rows
        return replace(self.ticket, after_offset=self.offset, history=self.history, limit=left)

    def _place(self) -> str:
        return "at its start" if self.offset is None else f"after offset {self.offset}"


def read_all(open_reader: Callable[[Ticket], FlightReader], ticket: Ticket) -> pa.Table:
    """All that a ticket with columns asks for."""
    schema = pa.schema([LOG_SCHEMA.field(name) for name in ticket.columns or ()])
    return EventStream(open_reader, ticket, schema, "arrow", progress=False).to_arrow()
