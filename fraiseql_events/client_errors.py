"""Flight's errors as ours, one sentence each: mapped where they enter, and kept as their cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.flight as fl

from fraiseql_events.advice import where_read
from fraiseql_events.errors import (
    EventsError,
    InvalidArgument,
    ServerError,
    ServerUnavailable,
    StreamCut,
    Unauthenticated,
)

_BUSY: Final = "resource exhausted: "
_UNREACHABLE: Final = ("failed to connect", "onnection refused", "errors resolving", "omain name not found")


@contextmanager
def mapped_errors(url: str) -> Iterator[None]:
    """Makes Flight's errors ours, one sentence each."""
    try:
        yield
    except (EventsError, StopIteration, GeneratorExit):
        raise
    except (fl.FlightUnavailableError, fl.FlightTimedOutError, fl.FlightCancelledError) as error:
        # cancelled: by a server that ends; what we cancel ourselves nobody reads any more
        raise _unavailable(url, error) from error
    except fl.FlightUnauthenticatedError as error:
        raise Unauthenticated(f"the server at {url} answered: {_sentence(error)}") from error
    except pa.ArrowInvalid as error:
        raise InvalidArgument(_sentence(error)) from error
    except (fl.FlightError, pa.ArrowException, OSError) as error:
        raise ServerError(f"the server at {url} answered: {_sentence(error)}") from error


def _unavailable(url: str, error: Exception) -> EventsError:
    text = _sentence(error)
    if isinstance(error, fl.FlightTimedOutError) or any(sign in text for sign in _UNREACHABLE):
        return ServerUnavailable(
            f"no server answers at {url}: start one with "
            + where_read("`fraiseql-events serve --embedded`", "`%fraiseql serve`")
            + ", or name another: EventClient('grpc://host:port'), --url (of `sink`: --from) or FRAISEQL_EVENTS_URL"
        )
    if text.startswith(_BUSY):
        return ServerUnavailable(f"the server at {url} is busy: {text.removeprefix(_BUSY)}")
    return StreamCut(f"the server at {url} broke off: {text}")


def _sentence(error: Exception) -> str:
    """Flight's message without its debugging tails."""
    text = str(error).partition(". Detail: ")[0].partition(". gRPC client debug context")[0]
    text = text.removeprefix("Flight returned unavailable error, with message: ").strip()
    return text.splitlines()[0] if text else type(error).__name__
