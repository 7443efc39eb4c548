"""Whose line a warning names."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Final

_HERE: Final = f"{Path(__file__).parent}{os.sep}"


def caller_level() -> int:
    """The `stacklevel` by which a warning names the line that called this package."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame, level = frame.f_back, level + 1
    return level
