"""A wait inside pyarrow that Ctrl-C and a notebook's stop button end: it is left to a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

#: A wait is cut into slices, so that an interrupt is seen soon.
_SLICE: Final = 0.1


def interruptible(call: Callable[[], T]) -> T:
    """What a call gives, or raises; an interrupt leaves it alone with what it holds.

    Interrupts come to the main thread only: in any other it is just the call.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whom it concerns
            answers.put((None, error))

    threading.Thread(target=run, name="fraiseql-events-call", daemon=True).start()
    while True:
        try:
            found, error = answers.get(timeout=_SLICE)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return cast("T", found)
