"""The client: asks a Flight server for events, and gives frames."""

from __future__ import annotations

import json
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, Unpack, overload

import pyarrow as pa
import pyarrow.flight as fl

from fraiseql_events.closing import Closing
from fraiseql_events.errors import EventsError, InvalidArgument, ServerError, ServerUnavailable, StreamCut
from fraiseql_events.event import LOG_SCHEMA, SCHEMA
from fraiseql_events.flight_reader import FlightReader
from fraiseql_events.stream import EventStream, Frames, check_frames
from fraiseql_events.ticket import DEFAULT_BATCH_SIZE, Compression, Ticket, entity_or_all
from fraiseql_events.time_range import Time, end_micros, start_micros
from fraiseql_events.timestamps import EPOCH, parse_time

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

DEFAULT_URL: Final = "grpc://localhost:50051"
URL_VARIABLE: Final = "FRAISEQL_EVENTS_URL"
CALL_SECONDS: Final = 30.0
#: A list may be long.
LIST_SECONDS: Final = 3600.0
_BUSY: Final = "resource exhausted: "
_UNREACHABLE: Final = ("failed to connect", "onnection refused", "errors resolving", "omain name not found")
_SCHEMES: Final = ("grpc", "grpc+tcp", "grpc+tls", "grpc+unix")


class StreamOptions(TypedDict, total=False):
    """The options that `EventClient.stream` and `EventClient.read` share."""

    limit: int | None
    columns: Sequence[str] | None
    event_types: Sequence[str] | None
    after_offset: int | None
    history: str | None
    batch_size: int
    compression: Compression | None
    follow: bool


@dataclass(frozen=True, slots=True)
class EntityInfo:
    """What the server has of one entity type: how many events, and the first and last of their times (UTC)."""

    events: int
    first: datetime
    last: datetime


class EventClient(Closing):
    """Reads events from a Flight server. Thread-safe; connects when it is first used.

    Args:
        url: the server's address; without one, FRAISEQL_EVENTS_URL, and without that grpc://localhost:50051.

    Raises:
        InvalidArgument: the address is none.

    Example:
        >>> EventClient(url).read("Order", "2026-01-01", "2026-01-31", columns=["entity_id", "timestamp"]).shape
        (2, 2)
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = _check_url((os.environ.get(URL_VARIABLE) or DEFAULT_URL) if url is None else url)
        self._lock = threading.Lock()
        self._connection: fl.FlightClient | None = None

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
        frames: Frames = "polars",
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
            frames: ``"polars"``, ``"pandas"`` or ``"arrow"`` (record batches).

        Returns:
            A stream that has asked for nothing yet.

        Raises:
            InvalidArgument: at once, before anything is sent. What the server or the way to it does wrong is raised
                while the stream is read: `ServerUnavailable`, `ServerError`.
        """
        check_frames(frames)
        ticket = Ticket(
            entity=_entity(entity),
            start=start_micros(start),
            end=end_micros(end),
            limit=_integer(limit),
            columns=_names("columns", columns),
            event_types=_names("event_types", event_types),
            after_offset=_integer(after_offset),
            history=history,
            batch_size=_integer(batch_size),
            compression=compression,
            mode="streaming" if follow else "batch",
        )
        schema = pa.schema([LOG_SCHEMA.field(name) for name in ticket.columns or SCHEMA.names])
        return EventStream(self._open, ticket, schema, frames)

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
        check_frames(frames)
        stream = self.stream(entity, start, end, **options)
        if frames == "polars":
            return stream.to_polars()
        return stream.to_pandas() if frames == "pandas" else stream.to_arrow()

    def entities(self) -> dict[str, EntityInfo]:
        """What the server has of each entity type, by name."""
        with self._mapped_errors():
            infos = [json.loads(info.app_metadata) for info in self._connect().list_flights(options=_call_options())]
        return {
            info["entity_type"]: EntityInfo(info["events"], _moment(info["first"]), _moment(info["last"]))
            for info in infos
        }

    def status(self) -> dict[str, Any]:
        """The state of bridge and log, as JSON values; docs/status.md explains each."""
        (status,) = self._act("status")
        return status

    def dead_letters(self) -> Iterator[dict[str, Any]]:
        """What could not be read: for each its sequence, line, subject, time, reason and payload."""
        yield from self._act("dead-letters", seconds=LIST_SECONDS)

    def close(self) -> None:
        """Closes the connection; again does nothing. The client may be used again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __repr__(self) -> str:
        return f"EventClient({self.url!r})"

    def _connect(self) -> fl.FlightClient:
        with self._lock:
            if self._connection is None:
                self._connection = fl.FlightClient(self.url)
            return self._connection

    def _open(self, ticket: Ticket) -> FlightReader:
        return FlightReader(self.url, ticket, self._mapped_errors)

    def _act(self, name: str, seconds: float = CALL_SECONDS) -> Iterator[dict[str, Any]]:
        with self._mapped_errors():
            for result in self._connect().do_action(fl.Action(name, b""), options=_call_options(seconds)):
                yield json.loads(result.body.to_pybytes())

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        """Makes Flight's errors ours, one sentence each."""
        try:
            yield
        except (EventsError, StopIteration, GeneratorExit):
            raise
        except (fl.FlightUnavailableError, fl.FlightTimedOutError, fl.FlightCancelledError) as error:
            # cancelled: by a server that ends; what we cancel ourselves nobody reads any more
            raise self._unavailable(error) from error
        except pa.ArrowInvalid as error:
            raise InvalidArgument(_sentence(error)) from error
        except (fl.FlightError, pa.ArrowException, OSError) as error:
            raise ServerError(f"the server at {self.url} answered: {_sentence(error)}") from error

    def _unavailable(self, error: Exception) -> EventsError:
        text = _sentence(error)
        if isinstance(error, fl.FlightTimedOutError) or any(sign in text for sign in _UNREACHABLE):
            return ServerUnavailable(
                f"no server answers at {self.url}: start one with `fraiseql-events serve --embedded`, or name "
                "another: EventClient('grpc://host:port'), --url or FRAISEQL_EVENTS_URL"
            )
        if text.startswith(_BUSY):
            return ServerUnavailable(f"the server at {self.url} is busy: {text.removeprefix(_BUSY)}")
        return StreamCut(f"the server at {self.url} broke off: {text}")


def _call_options(seconds: float = CALL_SECONDS) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(timeout=seconds)


def _check_url(url: str) -> str:
    if not isinstance(url, str):
        raise InvalidArgument(f"{url!r} is no address of a Flight server: write grpc://HOST:PORT")
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES or not rest:
        raise InvalidArgument(f"{url!r} is no address of a Flight server: write grpc://HOST:PORT")
    if scheme != "grpc+unix" and not rest.rpartition(":")[2].isdigit():
        raise InvalidArgument(f"{url!r} has no port: write grpc://HOST:PORT")
    return url


def _entity(entity: str) -> str | None:
    if entity is None:
        raise InvalidArgument("entity is None: name an entity type such as 'Order', or '*' for all")
    return entity_or_all(entity)


def _integer(value: Any) -> Any:
    """Whole numbers of other kinds (NumPy's) as Python's own; `Ticket` refuses the rest."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def _names(option: str, names: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(names, str):
        raise InvalidArgument(f"{option}={names!r} is one text: write {option}=[{names!r}]")
    try:
        return None if names is None else tuple(names)
    except TypeError:
        raise InvalidArgument(f"{option}={names!r}: it must be a list of strings") from None


def _sentence(error: Exception) -> str:
    """Flight's message without its debugging tails."""
    text = str(error).partition(". Detail: ")[0].partition(". gRPC client debug context")[0]
    text = text.removeprefix("Flight returned unavailable error, with message: ").strip()
    return text.splitlines()[0] if text else type(error).__name__


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(microseconds=parse_time(text))
