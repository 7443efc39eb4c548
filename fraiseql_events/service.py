"""Bridge, log and server, and an embedded NATS server if asked for, started and stopped as one thing."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fraiseql_events.bridge.bridge import Bridge
from fraiseql_events.bridge.consumer import STREAM, SUBJECT, StreamOptions, check_names
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.natspy import check_nats_url
from fraiseql_events.closing import Closing
from fraiseql_events.errors import EventsError, InvalidArgument
from fraiseql_events.flight.server import MAX_STREAMS, EventServer, check_free, entity_json, parse_listen
from fraiseql_events.health import assess, message_age
from fraiseql_events.log import Log, LogOptions
from fraiseql_events.log.storage import local_path
from fraiseql_events.served import announce, remember_password, withdraw
from fraiseql_events.status_view import status_card
from fraiseql_events.token import check_token
from fraiseql_events.wording import without_password

log: Final = logging.getLogger(__name__)

NATS_VARIABLE: Final = "FRAISEQL_NATS_URL"
DEFAULT_NATS: Final = "nats://localhost:4222"
DEFAULT_STORE: Final = "fraiseql-data"
DEFAULT_LISTEN: Final = "127.0.0.1:50051"
NATS_FOLDER: Final = "nats"
MOST_STREAMS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What a service reads, where it keeps it, and where it answers.

    Attributes:
        nats: the NATS server's address; None reads FRAISEQL_NATS_URL, and is localhost:4222 without it.
        embedded: start a NATS server of our own, with its files in the store.
        store: a local folder, or a URL that delta-rs takes.
        listen: ``HOST:PORT`` of the Flight server; port 0 takes a free one. None serves nobody.
        stream: the JetStream stream's name.
        subject: the subjects of it that are wanted.
        accept_stream: go on with another stream than the one that the store was filled from.
        max_streams: how many streams the server has open at once; each takes a thread.
        token: what every client must bring; None reads FRAISEQL_EVENTS_TOKEN, and lets everybody ask without it. A
            client in this process has it by itself.
        log: how events are kept.
    """

    nats: str | None = field(default=None, repr=False)
    embedded: bool = False
    store: str = DEFAULT_STORE
    listen: str | None = DEFAULT_LISTEN
    stream: str = STREAM
    subject: str = SUBJECT
    accept_stream: bool = False
    max_streams: int = MAX_STREAMS
    token: str | None = field(default=None, repr=False)
    log: LogOptions = field(default_factory=LogOptions)

    def __post_init__(self) -> None:
        if not isinstance(self.log, LogOptions):
            raise InvalidArgument(f"log is a {type(self.log).__name__}: it must be LogOptions(…)")
        if not isinstance(self.store, str):
            raise InvalidArgument(f"store is {self.store!r}: it must be a path or a URL")
        if type(self.max_streams) is not int or not 1 <= self.max_streams <= MOST_STREAMS:
            most = f"a whole number from 1 to {MOST_STREAMS}"
            raise InvalidArgument(f"max_streams is {self.max_streams!r}: it must be {most}")
        check_token(self.token)
        if self.listen is not None:
            parse_listen(self.listen)
        if self.nats is not None:
            remember_password(check_nats_url(self.nats))
        check_names(self.stream, self.subject)
        if self.embedded and self.nats:
            raise InvalidArgument("name a NATS server or embed one, not both")
        if self.embedded and local_path(self.store) is None:
            raise InvalidArgument(f"an embedded NATS server needs a local folder as its store, not {self.store}")


class Service(Closing):
    """Runs from the moment that `serve` makes it until `close`; a context manager."""

    def __init__(self, options: ServiceOptions, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Starts all of it.

        Args:
            options: what it reads, where it keeps it, and where it answers.
            stopped: whether to give up the start; asked ten times a second.

        Raises:
            NatsUnavailable: no NATS server, or no JetStream.
            StoreError: the store cannot be opened.
            StreamMismatch: the store was filled from another stream.
            ServiceError: the address is taken, or the start was ended.
        """
        self.options = options
        self.failed = threading.Event()
        self._started = time.monotonic()
        self._closing = threading.Lock()
        self._closed = False
        self._server: EventServer | None = None
        self._embedded: EmbeddedNats | None = None
        self._stack = ExitStack()
        if options.listen is not None:
            check_free(*parse_listen(options.listen))  # before anything is started that would have to be stopped
        with ExitStack() as stack:
            self.log = Log(options.store, options.log)  # first: it has the lock on the store, in which NATS lies
            stack.push(lambda failure, *_: self.log.close(discard=failure is not None))
            #: Where the log was before anything was read.
            self.began = self.log.status
            self.nats_url = self._find_nats(stack)
            self.bridge = Bridge(
                self._stream_options(), self.log, start=self.log.reached, on_failure=lambda error: self.failed.set()
            )
            stack.callback(self.bridge.stop)
            self.bridge.start(stopped=stopped)
            if options.listen is not None:
                token = check_token(options.token)
                self._server = EventServer(
                    self.log, options.listen, status=self.status, max_streams=options.max_streams, token=token
                )
                stack.callback(self._server.close)
                announce(self._server.url, token)
                stack.callback(withdraw, self._server.url)
            self._stack = stack.pop_all()

    @property
    def url(self) -> str | None:
        """The Flight server's address with its true port; None where nobody is served."""
        return self._server.url if self._server else None

    @property
    def failure(self) -> EventsError | None:
        """Why the bridge stopped by itself, if it did."""
        return self.bridge.status.failure

    def status(self) -> dict[str, Any]:
        """The state of bridge and log, in JSON values; docs/status.md explains each."""
        log, bridge = self.log.status, self.bridge.status
        failure = bridge.failure or self.log.failure
        if self._embedded is not None:
            bridge = replace(bridge, trouble=self._embedded.trouble or bridge.trouble)
        state, reason = assess(log, bridge, failure, closed=self._closed)
        age = message_age(log)
        return {
            "state": state,
            "reason": reason,
            "last_message_age_seconds": None if age is None else round(age, 3),
            "offset": log.offset,
            "committed": log.committed,
            "stream": self.options.stream,
            "stream_seq": log.stream.sequence if log.stream else 0,
            "stream_last_seq": bridge.last_sequence,
            "stream_epoch": log.stream.epoch if log.stream else 0,
            "lag": bridge.lag,
            "missed": bridge.missed,
            "dead_letters": log.dead_letters,
            "dead_letters_replayed": log.replayed,
            "streams": self._server.streams if self._server else 0,
            "sinks": self._server.sinks.listed(log.offset) if self._server else [],
            "entities": {name: entity_json(found) for name, found in sorted(log.entities.items())},
            "events_per_second": round(log.events_per_second, 1),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "last_error": reason if state in ("stalled", "failed") else None,
            "nats": without_password(self.nats_url),
            "history": self.log.id[:8],
            "store": self.options.store,
        }

    def close(self) -> None:
        """Stops serving and reading, commits what is in memory, ends the embedded server; again does nothing.

        Raises:
            EventsError: something could not be committed; it is still in JetStream and will be read again.
        """
        with self._closing:
            self._closed = True
            self._stack.close()

    def __repr__(self) -> str:
        return f"<fraiseql_events service {self.url or 'without a server'}, store {self.options.store}>"

    def _repr_html_(self) -> str:
        return status_card("Service", self.url or "serves nobody", self.status())

    def _find_nats(self, stack: ExitStack) -> str:
        if not self.options.embedded:
            url = nats_url(self.options.nats)
            remember_password(url)
            return url
        folder = local_path(self.options.store)
        assert folder is not None
        self._embedded = stack.enter_context(EmbeddedNats(folder / NATS_FOLDER))
        log.info("the embedded NATS server answers at %s", self._embedded.url)
        return self._embedded.url

    def _stream_options(self) -> StreamOptions:
        return StreamOptions(
            nats=self.nats_url,
            stream=self.options.stream,
            subject=self.options.subject,
            consumer=f"fraiseql-events-{self.log.id[:8]}",
            description=f"fraiseql_events on {socket.gethostname()} (pid {os.getpid()}), store {self.options.store}",
            # what lies in the store's own folder cannot be the stream of somebody else
            accept_stream=self.options.accept_stream or self.options.embedded,
        )


def nats_url(url: str | None) -> str:
    """The NATS server's address: the one given, else FRAISEQL_NATS_URL, else localhost:4222."""
    return check_nats_url(url or os.environ.get(NATS_VARIABLE) or DEFAULT_NATS)


def serve(
    *,
    nats: str | None = None,
    embedded: bool = False,
    store: str | Path = DEFAULT_STORE,
    listen: str = DEFAULT_LISTEN,
    stream: str = STREAM,
    subject: str = SUBJECT,
    accept_stream: bool = False,
    max_streams: int = MAX_STREAMS,
    token: str | None = None,
    log: LogOptions | None = None,
) -> Service:
    """Starts bridge, log and Flight server in threads of this process, and returns at once.

    Args:
        nats: the NATS server's address; None reads FRAISEQL_NATS_URL, and is localhost:4222 without it.
        embedded: start a NATS server of our own, with its files in the store.
        store: a local folder, or a URL that delta-rs takes; made when it is missing.
        listen: ``HOST:PORT``; port 0 takes a free one.
        stream: the JetStream stream's name; it is created when it is missing.
        subject: the subjects of it that are wanted.
        accept_stream: where the stream is not the one that the store was filled from (it was made anew, or its server
            lost messages that had been read), go on with what it has stored since, instead of `StreamMismatch`. An
            embedded server's stream is always gone on with.
        max_streams: how many streams the server has open at once; each takes a thread.
        token: what every client must bring; None reads FRAISEQL_EVENTS_TOKEN, and lets everybody ask without it. A
            client in this process has it by itself.
        log: how events are kept.

    Returns:
        The service, to be used with ``with``, or closed.

    Raises:
        InvalidArgument: an argument is wrong.
        NatsUnavailable: no NATS server, or no JetStream.
        StoreError: the store cannot be opened; `StoreInUse`: by another process that writes to it.
        StreamMismatch: the store was filled from another stream.
        ServiceError: the address is taken.

    Example:
        >>> with serve(embedded=True, store=folder, listen="127.0.0.1:0") as service:
        ...     EventClient(service.url).entities()
        {}
    """
    options = ServiceOptions(
        nats=nats,
        embedded=embedded,
        store=os.fspath(store) if isinstance(store, os.PathLike) else store,
        listen=listen,
        stream=stream,
        subject=subject,
        accept_stream=accept_stream,
        max_streams=max_streams,
        token=token,
        log=log or LogOptions(),
    )
    return Service(options)
