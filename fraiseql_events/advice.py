"""Advice that can be followed where it is read: `%fraiseql` in IPython, commands in a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

#: Set for a process whose sentences a notebook shows.
NOTEBOOK_VARIABLE: Final = "FRAISEQL_EVENTS_NOTEBOOK"


def where_read(terminal: str, notebook: str) -> str:
    """The advice for a terminal, or for IPython, whose `%fraiseql` does the same."""
    return notebook if ipython_shell() is not None or NOTEBOOK_VARIABLE in os.environ else terminal


def ipython_shell() -> Any:
    """The shell of IPython or of a notebook's kernel; None elsewhere."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
