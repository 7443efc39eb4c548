"""`fraiseql-events serve` for a kernel: it ends when the kernel does, however that ends."""

from __future__ import annotations

import os
import signal
import sys
import threading

from fraiseql_events.cli import main


def _end_with_the_kernel() -> None:
    """The kernel holds the other end of the standard input; nothing is ever written there.

    It is read without Python's buffer: the lock of that, held in a thread, is fatal to an interpreter that ends.
    """
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_kernel, name="fraiseql-events-kernel", daemon=True).start()
    main(["serve", *sys.argv[1:]])
