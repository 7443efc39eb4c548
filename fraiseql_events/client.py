"""The client: asks a Flight server for events, and gives frames."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, overload

import pyarrow as pa

from fraiseql_events.arguments import (
    Payload,
    StreamOptions,
    check_url,
    entity_type,
    integer,
    names,
    read_certificates,
    takes,
    with_seconds,
)
from fraiseql_events.closing import Closing
from fraiseql_events.connection import LOOK_SECONDS, Connection
from fraiseql_events.entity_info import EntityInfo
from fraiseql_events.errors import EventsError
from fraiseql_events.event import LOG_SCHEMA, SCHEMA
from fraiseql_events.frames import DtypeBackend, Frames, check_frames
from fraiseql_events.html import card
from fraiseql_events.lazy import lazy_frame
from fraiseql_events.live.opening import open_live
from fraiseql_events.payload import SAMPLE, describe, infer, path_of
from fraiseql_events.served import newest
from fraiseql_events.sql import run as run_sql
from fraiseql_events.status_view import status_card
from fraiseql_events.stream import EventStream
from fraiseql_events.ticket import DEFAULT_BATCH_SIZE, Compression, Ticket
from fraiseql_events.time_range import Time, end_micros, start_micros
from fraiseql_events.token import check_token
from fraiseql_events.typed_stream import sampled, typed_stream

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from fraiseql_events.live.dashboard import Live

DEFAULT_URL: Final = "grpc://localhost:50051"
URL_VARIABLE: Final = "FRAISEQL_EVENTS_URL"
#: A list may be long.
LIST_SECONDS: Final = 3600.0


class EventClient(Closing):
    """Reads events from a Flight server. Thread-safe; connects when it is first used.

    Args:
        url: the server's address; without one that of the newest service in this process (of ``%fraiseql serve`` in a
            notebook), without that FRAISEQL_EVENTS_URL, and without that grpc://localhost:50051.
        token: what the server wants of its clients; without one that of the service in this process, or else
            FRAISEQL_EVENTS_TOKEN.
        tls_roots: a file of the certificates (PEM) to trust at a ``grpc+tls://`` address; without one the usual ones.

    Raises:
        InvalidArgument: the address is none, or the token, or there is no such file.

    Example:
        >>> EventClient(url).read("Order", "2026-01-01", "2026-01-31", columns=["entity_id", "timestamp"]).shape
        (2, 2)
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, tls_roots: str | os.PathLike[str] | None = None
    ) -> None:
        self.url = check_url(newest() or os.environ.get(URL_VARIABLE) or DEFAULT_URL if url is None else url)
        check_token(token)
        self._connection = Connection(self.url, token, read_certificates(self.url, tls_roots))

    @overload
    def stream(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["polars"] = "polars",
        **options: Unpack[StreamOptions],
    ) -> EventStream[pl.DataFrame]: ...

    @overload
    def stream(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["pandas"],
        **options: Unpack[StreamOptions],
    ) -> EventStream[pd.DataFrame]: ...

    @overload
    def stream(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["arrow"],
        **options: Unpack[StreamOptions],
    ) -> EventStream[pa.RecordBatch]: ...

    @takes()
    def stream(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
        event_types: Sequence[str] | None = None,
        after_offset: int | None = None,
        history: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        compression: Compression | None = None,
        follow: bool = False,
        payload: Payload | None = None,
        progress: bool = True,
        frames: Frames = "polars",
        dtype_backend: DtypeBackend | None = None,
    ) -> EventStream[Any]:
        """Events in the stream's order, which is that in which they were published, batch by batch.

        Args:
            entity: an entity type such as ``"Order"``, or ``"*"`` for all.
            start: the first moment wanted: a date, a datetime, or either as text (RFC 3339). Without a zone: UTC.
            end: the last one: a date includes that whole day (UTC), a time is exclusive.
            limit: the most events wanted.
            columns: only these, in this order; ``"offset"`` may be one.
            event_types: only events of these types, such as ``["Order.Created"]``.
            after_offset: only events after this offset; see `EventStream.offset`.
            history: what it is an offset of; see `EventStream.history`. Another history is refused, instead of being
                read from a place that means nothing there.
            batch_size: the most rows in a frame.
            compression: ``"zstd"`` or ``"lz4"``: batches are compressed on their way, for a slow network.
            follow: go on with what arrives, until `end` has passed, or for ever without one.
            payload: typed columns out of `data`, such as ``{"total": pl.Float64, "items[].sku": pl.List(pl.String)}``
                (Polars, Arrow or Python types); ``"infer"`` finds them in a sample, and with ``follow=True`` waits here
                for the first event. A value that does not fit is null, and counted in `EventStream.misfits`.
            progress: show a bar for ``to_…()``, and in a notebook a counter for a follow, after half a second.
            frames: ``"polars"``, ``"pandas"`` or ``"arrow"`` (record batches).
            dtype_backend: for pandas, ``"numpy_nullable"`` or ``"pyarrow"``: whole numbers stay so beside nulls.

        Returns:
            A stream that has asked for nothing yet.

        Raises:
            InvalidArgument: at once, before anything is sent. What the server or the way to it does wrong is raised
                while the stream is read: `ServerUnavailable`, `ServerError`.
        """
        check_frames(frames, dtype_backend)
        ticket = Ticket(
            entity=entity_type(entity),
            start=start_micros(with_seconds(start)),
            end=end_micros(with_seconds(end)),
            limit=integer(limit),
            columns=names("columns", columns),
            event_types=names("event_types", event_types),
            after_offset=integer(after_offset),
            history=history,
            batch_size=integer(batch_size),
            compression=compression,
            mode="streaming" if follow else "batch",
        )
        more: dict[str, Any] = {"server": self._connection, "progress": progress, "dtype_backend": dtype_backend}
        if payload is None:
            schema = pa.schema([LOG_SCHEMA.field(name) for name in ticket.columns or SCHEMA.names])
            return EventStream(self._connection.open, ticket, schema, frames, **more)
        return typed_stream(self._connection, ticket, payload, frames, **more)

    @overload
    def read(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["polars"] = "polars",
        **options: Unpack[StreamOptions],
    ) -> pl.DataFrame: ...

    @overload
    def read(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["pandas"],
        **options: Unpack[StreamOptions],
    ) -> pd.DataFrame: ...

    @overload
    def read(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Literal["arrow"],
        **options: Unpack[StreamOptions],
    ) -> pa.Table: ...

    @takes(stream)
    def read(
        self,
        entity: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        frames: Frames = "polars",
        **options: Unpack[StreamOptions],
    ) -> Any:
        """All that `stream` with the same arguments gives, in one frame (``frames="arrow"``: one table)."""
        wanted: Any = {**options, "frames": frames}
        stream: EventStream[Any] = self.stream(entity, start, end, **wanted)
        if frames == "polars":
            return stream.to_polars()
        return stream.to_pandas() if frames == "pandas" else stream.to_arrow()

    @takes()
    def scan(self, entity: str, *, payload: Payload | None = None) -> pl.LazyFrame:
        """Events as a Polars LazyFrame with their offsets, read when it is collected.

        What a condition says of times, offsets and types, the columns and ``head`` are asked of the server; all else is
        done here. A time that ``timestamp`` is compared with may be of any zone; without one it is UTC.

        Args:
            entity: an entity type, or ``"*"``.
            payload: typed columns, as for `stream`.

        Raises:
            InvalidArgument: when it is collected: Polars cannot ask a condition.

        Example:
            >>> EventClient(url).scan("Order").filter(pl.col("event_type") == "Order.Created").collect().height
            1
        """
        whole = self.stream(entity, columns=[*SCHEMA.names, "offset"], payload=payload)
        fields = {field.name: field for field in whole.schema if field.name not in LOG_SCHEMA.names}

        def open_stream(only: str, columns: list[str], **wanted: Any) -> EventStream[pl.DataFrame]:
            own = [name for name in columns if name not in fields]
            typed = {path_of(name): fields[name].type for name in columns if name in fields}
            return self.stream(only, columns=own or ["offset"], payload=typed or None, progress=False, **wanted)

        return lazy_frame(open_stream, entity, whole.schema)

    @takes()
    def live(
        self,
        entity: str = "*",
        *,
        value: str | None = None,
        by: str | None = None,
        start: Time | None = None,
        event_types: Sequence[str] | None = None,
        seconds: float = 60.0,
    ) -> Live:
        """A dashboard of what happens now: rate, totals, a rolling chart, the newest events, and in a notebook buttons.

        Args:
            entity: an entity type, or ``"*"`` for all.
            value: a number in `data` that is summed, such as ``"total"`` or ``"address.floor"``.
            by: what tells groups apart: a column such as ``"event_type"``, or a field of `data`, such as ``"status"``.
                By default the event type; of all entity types, the entity type.
            start: count from then on; without it from as long ago as the chart goes back.
            event_types: only events of these types.
            seconds: how much time the chart has, in 60 bins.

        Returns:
            A dashboard that reads already, in a thread of its own.

        Raises:
            InvalidArgument: a field is none that holds one value, or the time is none.

        Example:
            >>> with EventClient(url).live("Order", value="total", by="status") as dashboard:
            ...     dashboard.totals().columns
            ['status', 'events', 'values', 'sum']
        """
        return open_live(
            self.stream, self.status, entity, value=value, by=by, start=start, event_types=event_types, seconds=seconds
        )

    def sql(self, query: str) -> pl.DataFrame:
        """The answer of DuckDB to a SELECT over entity types as tables; ``events`` is all of them.

        Only the columns that it needs are read, and the rows of which its conditions on times, offsets and types can be
        true. JSON is read with DuckDB's functions: ``data->>'$.total'``. Times are UTC; whole numbers of 128 bits, such
        as sums, are Int64 where all fit, else Int128. DuckDB holds 1 GiB, and puts more into temporary files.

        Raises:
            InvalidArgument: it is no SELECT, or there is no such entity type.

        Example:
            >>> EventClient(url).sql('SELECT count(*) AS orders FROM "Order"').item()
            2
        """
        return run_sql(query, self.entities, self.stream)

    @takes()
    def payload_schema(
        self, entity: str, start: Time | None = None, end: Time | None = None, *, sample: int = SAMPLE
    ) -> pl.DataFrame:
        """What is in `data`: for each field its path, its type, how often it is there (0 to 1), and examples.

        Args:
            entity: an entity type, or ``"*"``.
            start: as for `stream`.
            end: as for `stream`.
            sample: how many events to look at, the first ones of the range.

        Raises:
            InvalidArgument: there are no such events, or none whose data are objects.
        """
        wanted = self.stream(entity, start, end, columns=["data"], limit=sample).ticket
        events = sampled(self._connection, wanted)
        return describe(events, infer(events))

    def entities(self) -> dict[str, EntityInfo]:
        """What the server has of each entity type, by name."""
        return self._connection.entities()

    def status(self) -> dict[str, Any]:
        """The state of bridge and log, as JSON values; docs/status.md explains each."""
        (status,) = self._connection.act("status")
        return status

    def dead_letters(self) -> Iterator[dict[str, Any]]:
        """What could not be read: for each its sequence, line, subject, time, reason and payload."""
        yield from self._connection.act("dead-letters", LIST_SECONDS)

    def close(self) -> None:
        """Closes the connection; again does nothing. The client may be used again."""
        self._connection.close()

    def __repr__(self) -> str:
        return f"EventClient({self._connection.shown_url!r})"

    def _repr_html_(self) -> str:
        try:
            (status,) = self._connection.act("status", LOOK_SECONDS)
        except EventsError as error:
            return card("EventClient", [("address", self._connection.shown_url), ("state", error)])
        return status_card("EventClient", self._connection.shown_url, status)
