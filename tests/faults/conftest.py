"""What the tests of faults share."""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
from collections.abc import Iterator

import pytest


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """An interrupt that nobody has sent, as it came at times, is told with what the threads did; two at once end it."""
    seen = [0.0]

    def tell(number: int, frame: object) -> None:
        last, seen[0] = seen[0], time.monotonic()
        if seen[0] - last < 1:
            raise KeyboardInterrupt
        print("an interrupt has come, while the threads were at:", file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(sys.__stderr__)

    before = signal.signal(signal.SIGINT, tell)
    yield
    signal.signal(signal.SIGINT, before)
