"""JupyterLab that ends with whoever started it, however that ends."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading

from jupyterlab.labapp import main


def _end_with_the_starter(stdin: int) -> None:
    """The starter holds the other end of the standard input; nothing is ever written there."""
    os.read(stdin, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _own_stdin() -> int:
    """The standard input for this process alone: a node that inherits it would have reads return at once."""
    own = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return own


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # writes what it is doing into its log
    threading.Thread(target=_end_with_the_starter, args=[_own_stdin()], daemon=True).start()
    sys.exit(main())
