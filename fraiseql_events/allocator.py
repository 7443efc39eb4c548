"""Which allocator Arrow takes its memory from, in a program that is ours alone."""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"


def choose_allocator() -> None:
    """Has Arrow use jemalloc on Linux, unless the environment names another; before pyarrow is loaded.

    A server's batches are made in one thread and dropped in another, and there are many threads. Of what is freed so,
    mimalloc, Arrow's own choice, keeps three to four times as much as is in use; jemalloc gives it back within seconds.
    """
    if sys.platform == "linux":
        os.environ.setdefault(VARIABLE, "jemalloc")
