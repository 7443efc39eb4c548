"""Errors as Flight sends them: the right status code, one sentence, no traceback."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from fraiseql_events.errors import EventsError
from fraiseql_events.errors import InvalidArgument as OurInvalidArgument
from fraiseql_events.ticket import UnsupportedTicket

log: Final = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

MAX_SENTENCE: Final = 1000


class _NoTraceback:
    """pyarrow appends `traceback.format_exception` of what a handler raises, or, if that fails, just the type's name.

    Only Arrow's own errors carry the status codes INVALID_ARGUMENT, NOT_FOUND and UNIMPLEMENTED; this makes the
    formatting fail for them, so that a client sees the sentence and the name.
    """

    @property
    def __suppress_context__(self) -> bool:
        raise AttributeError("this error is for the wire")


class InvalidArgument(_NoTraceback, pa.ArrowInvalid):  # type: ignore[misc]
    """INVALID_ARGUMENT on the wire."""


class NotFound(_NoTraceback, pa.ArrowKeyError):  # type: ignore[misc]
    """NOT_FOUND on the wire."""


class Unimplemented(_NoTraceback, pa.ArrowNotImplementedError):  # type: ignore[misc]
    """UNIMPLEMENTED on the wire."""


def to_wire(error: Exception) -> Any:
    """The error to raise in a Flight handler for one that came up in it."""
    sentence = str(error)[:MAX_SENTENCE]
    if isinstance(error, fl.FlightError | _NoTraceback):
        return error
    if isinstance(error, UnsupportedTicket):
        return Unimplemented(sentence)
    if isinstance(error, OurInvalidArgument):
        return InvalidArgument(sentence)
    if isinstance(error, EventsError):
        return fl.FlightServerError(sentence)
    log.error("a Flight call failed", exc_info=error)
    return fl.FlightInternalError(f"the server failed ({type(error).__name__}); its log says why")


def handler(call: Callable[P, R]) -> Callable[P, R]:
    """Makes every error of a Flight handler one for the wire."""

    @functools.wraps(call)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            raise_on_wire(error)

    return guarded


def guard(items: Iterator[R]) -> Iterator[R]:
    """Makes every error of a generator that Flight runs one for the wire."""
    try:
        yield from items
    except Exception as error:
        raise_on_wire(error)


def raise_on_wire(error: Exception) -> NoReturn:
    """Raises the wire's form of an error."""
    raise to_wire(error) from None
