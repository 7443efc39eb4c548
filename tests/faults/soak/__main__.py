"""`python -m tests.faults.soak`: runs the soak, prints its report, and ends with 1 when something was wrong."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.soak.report import text_of
from tests.faults.soak.run import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long there are faults")
    parser.add_argument("--rate", type=int, default=2000, help="events a second")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same sequence of faults")
    parser.add_argument("--report", type=Path, help="a page of Markdown")
    options = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background ignores it, and so would our children
    logging.disable(logging.WARNING)  # the followers' own, at each fault
    folder = Path(tempfile.mkdtemp(prefix="fraiseql-events-soak-"))
    soak = Soak(folder, seconds=options.seconds, rate=options.rate, seed=options.seed)
    result = soak.run()
    text = text_of(result)
    sys.stdout.write(text)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")
    if result.wrong:
        sys.stderr.write(f"{len(result.wrong)} things were wrong, the first: {result.wrong[0]}\n")
        sys.stderr.write(f"what is needed to look into it is in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
