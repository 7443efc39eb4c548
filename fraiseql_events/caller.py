"""Whose line a warning names."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

#: What stands between a person's line and ours.
_BETWEEN: Final = ("fraiseql_events", "IPython", "polars")


def caller_level() -> int:
    """The `stacklevel` by which a warning names the line that a person wrote."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level
