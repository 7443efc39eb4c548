"""What every answer to R is: a value with what was warned of, an error in its words, or an interrupt."""

from __future__ import annotations

import functools
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from fraiseql_events import EventsError


def answering(function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Has an error of fraiseql_events, a warning, or an interrupt come back as a value: R tells it in its own way."""

    @functools.wraps(function)
    def answer(*arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", UserWarning)
                value = function(*arguments, **options)
        except EventsError as error:
            kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, EventsError)]
            return {"kinds": kinds, "message": str(error)}
        except KeyboardInterrupt:  # on its own way through reticulate it is lost at times, or ends R
            return {"interrupted": True}
        return {"value": value, "warnings": [str(each.message) for each in told]}

    return answer


def in_one_go(function: Callable[..., Any]) -> Callable[..., Any]:
    """Has an interrupt wait for the end of a short step, and go to no thread that the step starts, ever.

    While R sleeps its handler of interrupts jumps back to where it began to: in another thread that ends R.
    """
    if sys.platform == "win32":
        return function

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return function(*arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return call
