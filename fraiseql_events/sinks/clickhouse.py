"""Fills a table of ClickHouse with events, each once."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final, Self

from fraiseql_events.arguments import entity_type, read_certificates
from fraiseql_events.client import EventClient
from fraiseql_events.closing import Closing
from fraiseql_events.connection import LOOK_SECONDS, Connection
from fraiseql_events.errors import EventsError, ServerUnavailable, SinkError, SinkUnavailable, StreamCut
from fraiseql_events.flight.reports import events_behind
from fraiseql_events.sinks.address import parse_address
from fraiseql_events.sinks.card import sink_card
from fraiseql_events.sinks.engine import Engine
from fraiseql_events.sinks.opening import open_tables
from fraiseql_events.sinks.report import Reporter
from fraiseql_events.sinks.schema import Tables
from fraiseql_events.sinks.session import Session, Work
from fraiseql_events.sinks.status import Loaded, SinkStatus
from fraiseql_events.ticket import Ticket

log: Final = logging.getLogger(__name__)

DATABASE: Final = "default"
TABLE: Final = "fraiseql_events"
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
#: A trouble has passed when something more is in the table, or when for so long nothing was left to come.
_QUIET_SECONDS: Final = 2.0
#: Loading is given up when for so long nothing more comes into the table.
GIVE_UP_SECONDS: Final = 60.0


class ClickHouseSink(Closing):
    """Fills a table of ClickHouse with events, each once, whatever happens to it, to ClickHouse or to the network.

    The place that it has come to is kept in ClickHouse, beside the events: another sink goes on from there, whether
    this one was closed or killed. The tables are made where they are not there; docs/clickhouse.md has their SQL.

    Args:
        url: the ClickHouse: ``http://HOST:8123``, ``https://HOST:8443``, or ``chdb:///FOLDER`` for the engine that runs
            in this process. User and password are in it, or in CLICKHOUSE_USER and CLICKHOUSE_PASSWORD.
        source: the Flight server, as for `EventClient`.
        token: what that server wants of its clients, as for `EventClient`.
        tls_roots: as for `EventClient`.
        entity: an entity type, or ``"*"`` for all.
        database: where the tables are; made if it is not there.
        table: the table of the events. A table is filled with one entity type, or with all, by one sink at a time.
        keep_days: have ClickHouse remove events that are older; for a table that is not there yet.

    Raises:
        InvalidArgument: one of them is wrong.

    Example:
        >>> with ClickHouseSink("chdb://clickhouse", entity="Order") as sink:
        ...     sink.load().events
        2
    """

    def __init__(
        self,
        url: str,
        *,
        source: str | None = None,
        token: str | None = None,
        tls_roots: str | os.PathLike[str] | None = None,
        entity: str = "*",
        database: str = DATABASE,
        table: str = TABLE,
        keep_days: int | None = None,
    ) -> None:
        self._address = parse_address(url)
        self._tables = Tables(database=database, table=table, keep_days=keep_days)
        Ticket(entity=entity_type(entity))  # which checks it
        self._entity = entity
        self._client = EventClient(source, token=token, tls_roots=tls_roots)
        self._id = uuid.uuid4().hex
        self._status = SinkStatus()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        #: Held while it runs, in whatever thread.
        self._running = threading.RLock()
        self._server = Connection(self._client.url, token, read_certificates(self._client.url, tls_roots))
        self._reporter = Reporter(self._server, self.name, entity)
        #: When the tables were open, something came into them, or nothing was left to come; None before that.
        self._moved: float | None = None
        self._began = 0.0
        self._progress: Callable[[int], object] = _nothing
        self._follows = False
        #: Whether a trouble has been told that has not passed.
        self._warned = False
        #: Why a sink that was started has ended by itself; None while it has not.
        self.failure: EventsError | None = None

    @property
    def name(self) -> str:
        """Where the events go, in a word."""
        return f"{self._address.shown} {self._tables.events}"

    @property
    def status(self) -> SinkStatus:
        """How it is doing."""
        return self._status

    def lag(self) -> int | None:
        """How many events the server has behind the last that is in the table, also those of other entity types.

        Returns:
            The number; None where the sink has ended or not begun, or the server does not answer.
        """
        if self._stopping.is_set() or self._status.state in ("failed", "stopped"):
            return None
        try:
            (status,) = self._server.act("status", LOOK_SECONDS)
        except EventsError:
            return None
        return events_behind(status["offset"], self._status.offset)

    def prepare(self) -> Self:
        """Makes the tables that are not there, and says at once what would not go well.

        Raises:
            SinkUnavailable: ClickHouse does not answer.
            SinkError: it does not take this user, or has other tables of these names.
            EventsError: the Flight server does not answer, or wants a token.
        """
        list(self._server.act("status"))
        with Engine(self._address) as engine:
            open_tables(engine, self._tables, self._entity, self._id)
        return self

    def load(
        self, *, progress: Callable[[int], object] | None = None, stopped: Callable[[], bool] | None = None
    ) -> Loaded:
        """Loads what is there and not in the table yet, then ends.

        Args:
            progress: is told how many events more are in the table.
            stopped: is asked whether it should end earlier.

        Raises:
            SinkUnavailable: ClickHouse does not answer, or for a minute takes nothing.
            SinkError: it cannot go on, follows already, or is closed.
            EventsError: the Flight server does not answer, or cannot go on.
        """
        self._check_open()
        if self._follows:
            raise SinkError(f"{self.name} is being filled by this sink, which follows: nothing is left to load")
        with self._running:  # of two threads that load, each tells what it has loaded
            started, before = time.monotonic(), self._status.events
            self._progress = progress or _nothing
            self._run(follow=False, stopped=stopped or _never)
            return Loaded(self._status.events - before, round(time.monotonic() - started, 3), self._status.offset)

    def follow(self, *, stopped: Callable[[], bool] | None = None) -> None:
        """Loads what is there, then what arrives, until it is closed; what does not answer is asked again.

        Args:
            stopped: is asked whether it should end.

        Raises:
            SinkError: it cannot go on, or is closed.
        """
        self._check_open()
        self._follow(stopped or _never)

    def start(self) -> Self:
        """Follows in a thread of its own, until it is closed.

        Raises:
            SinkError: it is closed.
        """
        self._check_open()
        if self._thread is None:
            self._follows = True
            self._thread = threading.Thread(target=self._follow_quietly, name="fraiseql-events-follow", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Ends it, when the block that is being inserted is in the table; again does nothing.

        A server that does not answer is waited for 3 seconds: the next sink completes the block.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._running:
            self._client.close()
            self._server.close()

    def __repr__(self) -> str:
        status = self._status
        place = "nothing yet" if status.offset is None else f"up to offset {status.offset:,}"
        trouble = f" ({status.last_error})" if status.state in ("asking again", "failed") else ""
        return f"<ClickHouseSink {self.name}: {status.state}{trouble}, {status.events:,} events, {place}>"

    def _repr_html_(self) -> str:
        events = f"{'all' if self._entity == '*' else self._entity}, from {self._server.shown_url}"
        return sink_card("ClickHouseSink", self.name, events, self._status, self.lag())

    def _check_open(self) -> None:
        if self._stopping.is_set():
            raise SinkError("this sink is closed: make another")

    def _follow(self, stopped: Callable[[], bool]) -> None:
        self._follows = True
        try:
            self._run(follow=True, stopped=stopped)
        finally:
            self._follows = False

    def _follow_quietly(self) -> None:
        try:
            self._follow(_never)
        except EventsError as error:
            log.error("the sink %s has ended: %s", self.name, error)

    def _run(self, *, follow: bool, stopped: Callable[[], bool]) -> None:
        """Runs sessions until one ends well; after a trouble that may pass another one goes on."""
        pause = _FIRST_PAUSE
        self._moved = None
        self._set(state="starting")

        def ended() -> bool:
            return self._ended(stopped)

        reporting, engine = self._reporter.reporting(lambda: self._status), Engine(self._address, ended)
        with self._running, reporting, engine, self._failure_is_told():
            while not ended():
                moved = self._moved
                try:
                    self._run_once(engine, follow=follow, ended=ended)
                    break
                except (SinkUnavailable, ServerUnavailable, StreamCut) as error:
                    if ended():
                        self._set(last_error=str(error))
                        break
                    self._plan_again(error, follow=follow)
                    pause = _FIRST_PAUSE if self._moved != moved else min(2 * pause, _LONGEST_PAUSE)
                    self._wait(pause, stopped)

    @contextlib.contextmanager
    def _failure_is_told(self) -> Generator[None, None, None]:
        """Whatever ends it, its state says so."""
        try:
            yield
        except Exception as error:
            self.failure = error if isinstance(error, EventsError) else None
            self._set(state="failed", last_error=str(error) if self.failure else f"{type(error).__name__}: {error}")
            raise
        except BaseException:
            self._set(state="stopped")
            raise
        self._set(state="stopped")

    def _run_once(self, engine: Engine, *, follow: bool, ended: Callable[[], bool]) -> None:
        told = (self._open, self._note, self._wait_for_server)
        work = Work(self._client, self._tables, self._entity, self._id, follow, ended, *told)
        self._began = time.monotonic()
        try:
            Session(engine, work).run()
        finally:
            engine.part()

    def _plan_again(self, error: EventsError, *, follow: bool) -> None:
        """Says what is wrong; for loading it is an error at the start, and when it does not pass."""
        if not follow and (self._moved is None or time.monotonic() - self._moved > GIVE_UP_SECONDS):
            self._set(state="failed", last_error=str(error))
            raise error
        if self._status.state != "asking again" or self._status.last_error != str(error):
            log.warning("%s; asking again", error)
            self._warned = True
        self._set(state="asking again", last_error=str(error))

    def _open(self) -> None:
        self._moved = self._moved or time.monotonic()

    def _note(self, events: int, offset: int) -> None:
        now, again = time.monotonic(), self._status.state == "asking again"
        self._progress(events)
        self._set(events=self._status.events + events, offset=None if offset < 0 else offset)
        if again and not events and now - self._began < _QUIET_SECONDS:
            return  # what went wrong before has not been tried again
        if self._warned:
            log.warning("the sink goes on")
            self._warned = False
        self._moved = now
        self._set(state="live")

    def _wait_for_server(self, trouble: str) -> None:
        """The stream asks again by itself, and has said so."""
        self._set(state="asking again", last_error=trouble)

    def _set(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]

    def _ended(self, stopped: Callable[[], bool]) -> bool:
        return self._stopping.is_set() or stopped()

    def _wait(self, seconds: float, stopped: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._ended(stopped):
            self._stopping.wait(0.1)


def _never() -> bool:
    return False


def _nothing(events: int) -> None:
    pass
