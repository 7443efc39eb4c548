"""Runs all benchmarks, and writes their figures as a page with plots."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.page import render
from benchmarks.plots import plot
from benchmarks.programs import PROGRAMS, run_all
from benchmarks.running import end_in_order

ROOT = Path(__file__).parent.parent
MACHINE = "machine.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--from", dest="kept", type=Path, metavar="FOLDER", help="run nothing: these figures again")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look; docs/ stays as it is")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="where the page goes (docs)")
    arguments = parser.parse_args()
    kept = arguments.kept or Path(tempfile.mkdtemp(prefix="fraiseql-benchmarks-"))
    docs = arguments.docs or (kept if arguments.quick else ROOT / "docs")
    if arguments.kept is None:
        end_in_order()
        (kept / MACHINE).write_text(json.dumps(describe(), indent=1) + "\n", encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="fraiseql-bench-histories-") as histories:
            run_all(kept, Path(histories), quick=arguments.quick)
    page = write(kept, docs, quick=arguments.quick)
    print(f"{page} is written; `python -m benchmarks.report --from {kept}` writes it again")


def write(kept: Path, docs: Path, *, quick: bool = False) -> Path:
    """Writes page and plots of the figures in a folder; the page."""
    files = {program: kept / f"{program.name}.json" for program in PROGRAMS}
    found = {program: json.loads(path.read_text("utf-8")) for program, path in files.items() if path.exists()}
    plots = docs / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    for program, report in found.items():
        plot(report, plots / f"{program.name}.svg", title=program.title, ours=program.ours)
    machine = json.loads((kept / MACHINE).read_text(encoding="utf-8"))
    findings = (Path(__file__).parent / "findings.md").read_text(encoding="utf-8")
    page = docs / "benchmarks.md"
    page.write_text(render(found, machine, findings, quick=quick), encoding="utf-8")
    return page


if __name__ == "__main__":
    main()
