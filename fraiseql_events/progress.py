"""A progress bar on a terminal and in a notebook, and nothing in a pipe."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from fraiseql_events.advice import ipython_shell

#: Work that takes less needs no bar.
DELAY_SECONDS: Final = 0.5


def bar(what: str, *, total: int | None = None, unit: str = "events", shown: bool = True) -> Any:
    """A tqdm bar, shown once the work has taken half a second; a context manager with `update`.

    Nothing of it stays when it is closed. TQDM_DISABLE in the environment shows none, as with any bar of tqdm.

    Args:
        what: what is being done.
        total: how much of it there is; None shows a counter.
        unit: what is counted.
        shown: False shows nothing.
    """
    return _kind()(
        total=total,
        desc=what,
        unit=f" {unit}",
        unit_scale=True,
        delay=DELAY_SECONDS,
        leave=False,
        disable=not shown or bool(os.environ.get("TQDM_DISABLE")) or not (in_notebook() or sys.stderr.isatty()),
    )


def _kind() -> Any:
    """What draws it here."""
    if in_notebook():
        from fraiseql_events.notebook_bar import NotebookBar

        return NotebookBar
    from tqdm import tqdm

    return tqdm


def learn_total(progress: Any, total: int) -> None:
    """Tells a bar that has been a counter how much there is."""
    if in_notebook():
        progress.learn_total(total)
    else:
        progress.total = total


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel."""
    return getattr(ipython_shell(), "kernel", None) is not None
