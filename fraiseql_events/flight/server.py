"""The Flight server: DoGet, GetFlightInfo, GetSchema, ListFlights and three actions over one log."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.flight as fl

from fraiseql_events.errors import InvalidArgument, ServiceError
from fraiseql_events.event import text_or_base64
from fraiseql_events.flight.access import TokenRequired
from fraiseql_events.flight.errors import NotFound, Unimplemented, guard, handler
from fraiseql_events.flight.keepalive import Keepalive
from fraiseql_events.flight.reports import SinkReports
from fraiseql_events.flight.wire import LOOK_SECONDS, Request, wire_batches, wire_schema
from fraiseql_events.log import Cursor, Filter, Log
from fraiseql_events.log.place import Place
from fraiseql_events.log.ranges import EntityRange
from fraiseql_events.ticket import NotATicket, Ticket, quote_entity
from fraiseql_events.timestamps import format_time, micros_of_datetime

log: Final = logging.getLogger(__name__)

ACTIONS: Final = (
    ("status", "The state of bridge and log, as one JSON object."),
    ("dead-letters", "What could not be read: one JSON object a result, in the stream's order."),
    ("sink", "Takes a sink's report of itself, a JSON object, for the status to show."),
)


#: Each stream takes a thread and a few batches of memory.
MAX_STREAMS: Final = 300
#: A stream ends within a second, unless its client does not read.
PATIENCE_SECONDS: Final = 2.0

Item = tuple[pa.RecordBatch, pa.Buffer]


class EventServer(fl.FlightServerBase):  # type: ignore[misc]
    """Serves a log; answers from the moment that it is made until `close`.

    Args:
        log: what is served.
        listen: ``HOST:PORT``; port 0 takes a free one.
        status: makes the answer to the action ``status``, JSON values only.
        max_streams: how many streams may be open at once; each takes a thread.
        token: what every call must bring; None lets everybody ask.

    Raises:
        InvalidArgument: `listen` is no address.
        ServiceError: the address is taken, or not ours.
    """

    def __init__(
        self,
        log: Log,
        listen: str,
        *,
        status: Callable[[], dict[str, Any]],
        max_streams: int = MAX_STREAMS,
        token: str | None = None,
    ) -> None:
        self._log = log
        self._status = status
        self._max_streams = max_streams
        self._stopping = threading.Event()
        self._closing = threading.Lock()
        self._counting = threading.Lock()
        #: How many streams are open.
        self.streams = 0
        #: What sinks say of themselves.
        self.sinks = SinkReports()
        self._host, port = parse_listen(listen)
        check_free(self._host, port)
        # the base class serves from its constructor on: everything must be set before
        middleware = None if token is None else {"token": TokenRequired(token)}
        try:
            super().__init__(f"grpc://{_bracketed(self._host)}:{port}", middleware=middleware)
        except pa.ArrowException as error:  # somebody took it since
            raise _cannot_listen(self._host, port, str(error)) from error
        self._keepalive = Keepalive(self.port)

    @property
    def url(self) -> str:
        """The address with the true port."""
        return f"grpc://{_bracketed(self._host)}:{self.port}"

    def close(self) -> None:
        """Ends every stream and stops serving; again does nothing."""
        with self._closing:
            if not self._stopping.is_set():
                self._stopping.set()
                self._end_streams()
                self._keepalive.close()

    def _end_streams(self) -> None:
        """Lets the streams end by themselves, then breaks off those whose client does not read."""
        ending = threading.Thread(target=self.shutdown, name="fraiseql-events-shutdown", daemon=True)
        ending.start()
        for patience in (PATIENCE_SECONDS, 1, 1, 1):
            ending.join(patience)
            if not ending.is_alive():
                return
            self._keepalive.drop_all()
        log.warning("%d streams whose clients do not read could not be ended", self.streams)

    @handler
    def do_get(self, context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.FlightDataStream:
        """Streams the events that a ticket asks for, in offset order."""
        wanted = Ticket.decode(ticket.ticket)
        condition = Filter.of(wanted)
        self._check_place(wanted)
        with self._counting:
            self._check_room()
        items = guard(self._until_stopped(self._answer(wanted, condition, context)))
        options = pa.ipc.IpcWriteOptions(compression=wanted.compression)
        return fl.GeneratorStream(wire_schema(condition.columns), items, options=options)

    def _check_room(self) -> None:
        # pyarrow cannot send the status RESOURCE_EXHAUSTED: UNAVAILABLE is what clients try again after, too
        if self.streams >= self._max_streams:
            open_streams = "1 stream is" if self.streams == 1 else f"{self.streams} streams are"
            raise fl.FlightUnavailableError(
                f"resource exhausted: {open_streams} open, as many as it serves at once; close one, try again later, "
                "or start it with a larger --max-streams"
            )

    def _answer(self, wanted: Ticket, condition: Filter, context: fl.ServerCallContext) -> Iterator[Item]:
        cursor = Cursor(self._log, condition)
        end = None if wanted.end is None else wanted.end / 1_000_000
        live = wanted.mode == "streaming" and (end is None or time.time() < end)
        until = None if live else self._log.offset
        looks = cursor.follow(end=end, patience=LOOK_SECONDS) if until is None else cursor.looks(until)
        request = Request(wanted.batch_size, until, lambda: not (self._stopping.is_set() or context.is_cancelled()))
        return wire_batches(self._checked(looks, wanted), cursor, condition.columns, request)

    def _checked(self, looks: Iterator[Iterator[pa.RecordBatch]], wanted: Ticket) -> Iterator[Iterator[pa.RecordBatch]]:
        """The looks, none before it is sure that the ticket's offset means here what it meant."""
        sure = wanted.history is None
        for look in looks:
            sure = sure or self._check_place(wanted)
            yield look

    def _check_place(self, wanted: Ticket) -> bool:
        if wanted.history is None or wanted.after_offset is None:
            return True
        return self._log.check_place(Place.parse(wanted.history), wanted.after_offset)

    @handler
    def get_flight_info(self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        """Schema, an endpoint with a ticket, and the number of events where that is known (else -1)."""
        wanted = _ticket_of(descriptor)
        condition = Filter.of(wanted)
        rows = self._log.view().count(condition)
        return _flight_info(descriptor, wanted, -1 if rows is None else rows, b"")

    @handler
    def get_schema(self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor) -> fl.SchemaResult:
        """The schema of what a descriptor asks for."""
        return fl.SchemaResult(wire_schema(Filter.of(_ticket_of(descriptor)).columns))

    @handler
    def list_flights(self, context: fl.ServerCallContext, criteria: bytes) -> Iterator[fl.FlightInfo]:
        """One flight an entity type, by a path that can be asked for; its range is in app_metadata."""
        return iter([_entity_info(name, found) for name, found in sorted(self._log.status.entities.items())])

    @handler
    def list_actions(self, context: fl.ServerCallContext) -> list[tuple[str, str]]:
        """The actions that there are."""
        return list(ACTIONS)

    @handler
    def do_action(self, context: fl.ServerCallContext, action: fl.Action) -> Iterator[fl.Result]:
        """Runs an action."""
        if action.type == "status":
            return iter([_result(self._status())])
        if action.type == "dead-letters":
            return guard(_letters(self._log))
        if action.type == "sink":
            self.sinks.take(action.body.to_pybytes())
            return iter(())
        raise Unimplemented(
            f"there is no action {action.type[:60]!r}, only " + " and ".join(name for name, _ in ACTIONS)
        )

    @handler
    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Events come in through NATS alone."""
        raise Unimplemented("events cannot be put here: publish them to NATS, with `fraiseql-events publish`")

    @handler
    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """There is nothing to exchange."""
        raise Unimplemented("there is no exchange here: ask for events with DoGet")

    def _until_stopped(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items, and how many streams are open meanwhile."""
        with self._counting:
            self._check_room()  # again: many may have been let in before the first of them began
            self.streams += 1
        try:
            for item in items:
                if self._stopping.is_set():
                    break
                yield item
            if self._stopping.is_set():
                raise fl.FlightUnavailableError("the server is stopping")
        finally:
            with self._counting:
                self.streams -= 1


def parse_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (loopback).

    Raises:
        InvalidArgument: it is no such address.
    """
    if not isinstance(listen, str):
        raise InvalidArgument(f"{listen!r} is no address to listen on: write HOST:PORT, such as 127.0.0.1:50051")
    host, _, port = listen.removeprefix("grpc://").rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"{listen!r} is no address to listen on: write HOST:PORT, such as 127.0.0.1:50051")
    return host.strip("[]") or "127.0.0.1", int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def check_free(host: str, port: int) -> None:
    """Refuses an address that is taken; gRPC would share it in silence, or fail without saying why.

    Raises:
        ServiceError: it is taken, or not one of this machine.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            if hasattr(socket, "SO_REUSEADDR") and family == socket.AF_INET:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error.strerror or str(error)) from error


def _cannot_listen(host: str, port: int, why: str) -> ServiceError:
    return ServiceError(
        f"cannot listen on {host}:{port} ({why}): name another port with --listen, or {host}:0 for a free one"
    )


def _ticket_of(descriptor: fl.FlightDescriptor) -> Ticket:
    if descriptor.descriptor_type != fl.DescriptorType.PATH:
        return Ticket.decode(descriptor.command)
    if len(descriptor.path) != 1:
        raise NotFound("a path has one part here, such as events:Order")
    try:
        return Ticket.decode(descriptor.path[0])
    except NotATicket as error:
        raise NotFound(str(error)) from None


def _flight_info(descriptor: fl.FlightDescriptor, ticket: Ticket, rows: int, metadata: bytes) -> fl.FlightInfo:
    endpoint = fl.FlightEndpoint(ticket.encode(), [])
    schema = wire_schema(Filter.of(ticket).columns)
    return fl.FlightInfo(schema, descriptor, [endpoint], rows, -1, True, metadata)


def _entity_info(name: str, found: EntityRange) -> fl.FlightInfo:
    descriptor = fl.FlightDescriptor.for_path(f"events:{quote_entity(name)}")
    metadata = msgspec.json.encode({"entity_type": name, **entity_json(found)})
    return _flight_info(descriptor, Ticket(entity=name), found.events, metadata)


def entity_json(found: EntityRange) -> dict[str, Any]:
    """An entity type's range as JSON values, the times in RFC 3339."""
    return {"events": found.events, "first": format_time(found.first), "last": format_time(found.last)}


def _letters(log: Log) -> Iterator[fl.Result]:
    for batch in log.dead_letters():
        for letter in batch.to_pylist():
            yield _result(_letter_json(letter))


def _letter_json(letter: dict[str, Any]) -> dict[str, Any]:
    """A dead letter as JSON values: its bytes as text where they are UTF-8, else in base64."""
    text, encoded = text_or_base64(letter.pop("payload"))
    letter["published"] = format_time(micros_of_datetime(letter["published"]))
    replayed = letter.pop("replayed")
    return {**letter, "payload": text, "payload_base64": encoded, "replayed": replayed}


def _result(value: dict[str, Any]) -> fl.Result:
    return fl.Result(pa.py_buffer(msgspec.json.encode(value)))
