"""Events a second, over the last seconds."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 5.0
STEP_SECONDS: Final = 0.25


class Rate:
    """The pace of a counter that only rises."""

    def __init__(self, count: int) -> None:
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), count)])
        self._noted = 0.0

    def note(self, count: int) -> None:
        """Tells the counter's value of this moment."""
        self._noted = now = time.monotonic()
        if now - self._samples[-1][0] >= STEP_SECONDS:
            self._samples.append((now, count))
        self._forget(now)

    def per_second(self, count: int) -> float:
        """The pace over the last `WINDOW_SECONDS`."""
        now = time.monotonic()
        if now - self._noted > WINDOW_SECONDS:
            return 0.0
        self._forget(now)
        since, before = self._samples[0]
        return (count - before) / max(min(now - since, WINDOW_SECONDS), STEP_SECONDS)

    def _forget(self, now: float) -> None:
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW_SECONDS:
            self._samples.popleft()
