"""One answer of a Flight server, on a connection of its own, that can be given up from another thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import pyarrow as pa
import pyarrow.flight as fl

from fraiseql_events.ticket import Ticket
from fraiseql_events.token import HEADER, SCHEME

#: A server that is well says what it can do at once.
ANSWER_SECONDS: Final = 15.0
#: Numbers lie in memory as they are computed with: Arrow warns of each column in which they do not.
_ALIGNED: Final = pa.ipc.IpcReadOptions(ensure_alignment=pa.ipc.Alignment.DataTypeSpecific)


class FlightReader:
    """Reads chunk by chunk; asks at the first.

    A connection that has died without a word takes every call on it along: the next attempt needs another one.

    Args:
        url: the server's address.
        ticket: what is asked for.
        mapped_errors: makes Flight's errors ours.
        token: what the server wants of its clients, if anything.
        tls_roots: the certificates (PEM) that are trusted; None is what gRPC trusts by itself.
    """

    def __init__(
        self,
        url: str,
        ticket: Ticket,
        mapped_errors: Callable[[], AbstractContextManager[None]],
        token: str | None = None,
        tls_roots: bytes | None = None,
    ) -> None:
        self._ticket = ticket
        self._token = token
        self._mapped_errors = mapped_errors
        # without a pool of its own, a channel would be given the dead connection of another to the same address
        self._connection = connect(url, tls_roots, generic_options=[("grpc.use_local_subchannel_pool", 1)])
        self._reader: fl.FlightStreamReader | None = None
        self._cancelled = False

    def read_chunk(self) -> fl.FlightStreamChunk:
        """The next chunk.

        Raises:
            StopIteration: there is none.
            EventsError: as the client's.
        """
        with self._mapped_errors():
            if self._reader is None:
                self._find_out_whether_it_hangs()
                self._reader = self._connection.do_get(fl.Ticket(self._ticket.encode()), call_options(self._token))
                if self._cancelled:
                    self._reader.cancel()
            return self._reader.read_chunk()

    def _find_out_whether_it_hangs(self) -> None:
        """By a call with a time limit: asking for a stream can have none, and cannot be given up."""
        try:
            for _ in self._connection.list_actions(options=call_options(self._token, ANSWER_SECONDS)):
                pass
        except pa.ArrowNotImplementedError:
            pass  # it answers

    def cancel(self) -> None:
        """Ends the reading soon; from any thread."""
        self._cancelled = True
        if self._reader is not None:
            self._reader.cancel()

    def close(self) -> None:
        """Ends the connection. Not while another thread reads: pyarrow frees under it what it is using."""
        self._connection.close()


def connect(url: str, tls_roots: bytes | None, **options: Any) -> fl.FlightClient:
    """A connection, that trusts these certificates (PEM); None is what gRPC trusts by itself."""
    return fl.FlightClient(url, **options, **({} if tls_roots is None else {"tls_root_certs": tls_roots}))


def call_options(token: str | None, seconds: float | None = None) -> fl.FlightCallOptions:
    """What goes with a call: the token, and how long it may take, if there is a limit."""
    headers = None if token is None else [(HEADER.encode(), (SCHEME + token).encode())]
    return fl.FlightCallOptions(timeout=seconds, headers=headers, read_options=_ALIGNED)
