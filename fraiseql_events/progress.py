"""A progress bar on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, *, total: int | None = None, unit: str = "events") -> Any:
    """A tqdm bar on standard error, shown once the work has taken half a second; a context manager with `update`."""
    return tqdm(
        total=total,
        desc=what,
        unit=f" {unit}",
        unit_scale=True,
        delay=0.5,
        leave=False,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
    )
