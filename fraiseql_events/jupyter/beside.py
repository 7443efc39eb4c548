"""`fraiseql-events serve` for a kernel: it ends when the kernel does, however that ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

from fraiseql_events.cli import main

#: An end that takes longer is made short; what is not committed then is read again from NATS at the next start.
END_SECONDS: Final = 15


def _end_with_the_kernel() -> None:
    """The kernel alone holds the other end of the standard input; nothing is ever written there.

    It is read without Python's buffer: the lock of that, held in a thread, is fatal to an interpreter that ends.
    """
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_kernel, name="fraiseql-events-kernel", daemon=True).start()
    main(["serve", *sys.argv[1:]])
