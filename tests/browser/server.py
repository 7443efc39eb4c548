"""JupyterLab that ends with whoever started it, however that ends."""

from __future__ import annotations

import os
import signal
import sys
import threading

from jupyterlab.labapp import main


def _end_with_the_starter() -> None:
    """The starter holds the other end of the standard input; nothing is ever written there."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    sys.exit(main())
