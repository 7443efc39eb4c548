"""`fraiseql-events serve` for a kernel, or a session of R: it ends when that does, however that ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Final

from fraiseql_events.cli import main

#: An end that takes longer is made short; what is not committed then is read again from NATS at the next start.
END_SECONDS: Final = 15


def _end_with_the_kernel(own: ExitStack) -> None:
    """The kernel alone holds the other end of the standard input; nothing is ever written there.

    It is read without Python's buffer: the lock of that, held in a thread, is fatal to an interpreter that ends.
    """
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    own.close()
    os._exit(1)


def own_prefix(pid: int) -> str:
    """How the name of a process's temporary store begins: whoever started it can remove that of one that was killed."""
    return f"fraiseql-events-{pid}-"


def _serve(arguments: list[str]) -> None:
    """Serves; where no store is named it is a temporary folder, which is removed at the end."""
    with ExitStack() as own:
        # until `serve` has taken the signal over it ends the start
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if "--store" not in arguments:
            folder = tempfile.TemporaryDirectory(prefix=own_prefix(os.getpid()), ignore_cleanup_errors=True)
            arguments = [*arguments, "--store", own.enter_context(folder)]
        threading.Thread(target=_end_with_the_kernel, args=[own], name="fraiseql-events-kernel", daemon=True).start()
        main(["serve", *arguments])


if __name__ == "__main__":
    _serve(sys.argv[1:])
