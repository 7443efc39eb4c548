"""What a program of ours alone does first: a server's process, or an ingest's, in which nobody else's code runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Final

VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"
#: How Arrow's own jemalloc is told its options.
OPTIONS: Final = "JE_ARROW_MALLOC_CONF"
#: And that of ClickHouse's engine.
ENGINE_OPTIONS: Final = "JE_MALLOC_CONF"
#: mallopt(3): what is larger is asked of the system piece by piece; so much that is free is given back to it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_LARGEST_MMAP_THRESHOLD: Final = 32 * 2**20
_KEPT_BYTES: Final = 512 * 2**20


def choose_allocator() -> None:
    """Has Arrow use jemalloc on Linux, unless the environment names another; before pyarrow is loaded.

    A server's batches are made in one thread and dropped in another, and there are many threads. Of what is freed so,
    mimalloc, Arrow's own choice, keeps three to four times as much as is in use; jemalloc gives it back within seconds.
    It would still keep a second's worth for each of eight arenas: with a single one, what one thread has freed is what
    the next takes. Arrow asks for few and large pieces, so its lock costs nothing that could be measured.
    """
    if sys.platform == "linux":
        os.environ.setdefault(VARIABLE, "jemalloc")
        os.environ.setdefault(OPTIONS, "narenas:1")


def keep_freed_memory() -> None:
    """Has what one block of a sink has taken be taken again by the next, on Linux, instead of asking the system anew.

    Memory that is new is paid for when it is first touched, a page of 4 KiB at a time. Of ClickHouse's engine, whose
    threads are many, each processor would otherwise have memory of its own, and large pieces would go back at once.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault(ENGINE_OPTIONS, "percpu_arena:disabled,narenas:1,oversize_threshold:0")
    with contextlib.suppress(AttributeError):  # another C library than glibc has no such options
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def do_without_pandas() -> None:
    """Has pyarrow take pandas for not installed, unless it is loaded.

    It loads pandas at the first array that it makes, only to find out whether it was given something of its; that takes
    0.3 seconds, just when the first events have come. It does so once, and remembers.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    """Finds nothing, and lets nobody else find pandas."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
