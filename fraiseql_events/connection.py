"""A connection to a Flight server: what is asked of it but for streams, which have connections of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import pyarrow.flight as fl

from fraiseql_events.client_errors import mapped_errors
from fraiseql_events.closing import Closing
from fraiseql_events.entity_info import EntityInfo
from fraiseql_events.flight_reader import FlightReader, call_options, connect
from fraiseql_events.interruptible import interruptible
from fraiseql_events.served import token_of
from fraiseql_events.ticket import Ticket
from fraiseql_events.token import check_token
from fraiseql_events.wording import without_password

CALL_SECONDS: Final = 30.0
#: So long a look at an object in a notebook may take.
LOOK_SECONDS: Final = 2.0
#: So many results of an action are taken at a time.
_AT_ONCE: Final = 16

T = TypeVar("T")


class Connection(Closing):
    """Made when it is first used, and anew when it is used after `close`. Thread-safe; errors are ours.

    Args:
        url: the server's address.
        token: what it wants of its clients; None is that of a server of this process, as it is at the time, or that of
            FRAISEQL_EVENTS_TOKEN, or none.
        tls_roots: the certificates (PEM) that are trusted; None is what gRPC trusts by itself.

    Attributes:
        shown_url: the address without a password that it may have.
    """

    def __init__(self, url: str, token: str | None = None, tls_roots: bytes | None = None) -> None:
        self.url = url
        self.shown_url = without_password(url)
        self._given = token
        self._tls_roots = tls_roots
        self._lock = threading.Lock()
        self._client: fl.FlightClient | None = None

    @property
    def _token(self) -> str | None:
        return check_token(token_of(self.url) if self._given is None else self._given)

    def open(self, ticket: Ticket) -> FlightReader:
        """Asks for a stream, on a connection of its own."""
        return FlightReader(self.url, ticket, partial(mapped_errors, self.shown_url), self._token, self._tls_roots)

    def entities(self, seconds: float = CALL_SECONDS) -> dict[str, EntityInfo]:
        """What the server has of each entity type, by name."""
        with mapped_errors(self.shown_url):
            found = self._ask(lambda client: list(client.list_flights(options=self._options(seconds))))
        infos = [json.loads(info.app_metadata) for info in found]
        return {info["entity_type"]: EntityInfo.of(info) for info in infos}

    def count(self, ticket: Ticket) -> int | None:
        """How many events a ticket asks for; None where the server does not know."""
        descriptor = fl.FlightDescriptor.for_command(ticket.encode())
        with mapped_errors(self.shown_url):
            options = self._options(LOOK_SECONDS)
            total = self._ask(lambda client: client.get_flight_info(descriptor, options=options).total_records)
        return None if total < 0 else int(total)

    def act(self, name: str, seconds: float = CALL_SECONDS) -> Iterator[dict[str, Any]]:
        """What an action answers, object by object."""
        with mapped_errors(self.shown_url):
            options = self._options(seconds)
            results = self._ask(lambda client: client.do_action(fl.Action(name, b""), options=options))
            while found := self._ask(lambda _: list(islice(results, _AT_ONCE))):
                for result in found:
                    yield json.loads(result.body.to_pybytes())

    def tell(self, name: str, body: bytes) -> None:
        """Tells the server something, by an action that answers nothing."""
        with mapped_errors(self.shown_url):
            options = self._options(LOOK_SECONDS)
            self._ask(lambda client: list(client.do_action(fl.Action(name, body), options=options)))

    def close(self) -> None:
        """Ends it; again does nothing."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, call: Callable[[fl.FlightClient], T]) -> T:
        """What a call gives; one that is interrupted keeps its connection, which nobody else uses any more."""
        client = self._flight()
        try:
            return interruptible(lambda: call(client))
        except KeyboardInterrupt:
            with self._lock:
                self._client = None
            raise

    def _flight(self) -> fl.FlightClient:
        with self._lock:
            if self._client is None:
                self._client = connect(self.url, self._tls_roots)
            return self._client

    def _options(self, seconds: float = CALL_SECONDS) -> fl.FlightCallOptions:
        return call_options(self._token, seconds)
