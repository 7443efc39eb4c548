"""Keeps notebooks/ clean: `--run` runs them anew and keeps what they show, `--check` says what is not clean.

Clean is: no metadata but the kernel's name, cells numbered from 1, of widgets only a picture, nothing printed to the
error stream, and no path of a machine.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import nbformat

FOLDER: Final = Path(__file__).parents[1] / "notebooks"
_KERNEL: Final = {"display_name": "Python 3", "language": "python", "name": "python3"}
_CELL_SECONDS: Final = 60
_UNSEEN_MARK: Final = re.compile(r"^[ \t]*[^#\s].*#\s*NBVAL_\w+", re.MULTILINE)
_OF_A_MACHINE: Final = re.compile(r"/(?:home|root|tmp|Users|work)/|0x[0-9a-f]{6,}")


def cleaned(notebook: Any) -> Any:
    """The same without what says where and when it was run."""
    notebook.metadata = nbformat.from_dict({"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    number = 0
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in ("tags",) if key in cell.metadata})
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = _together(each for each in map(_cleaned_output, cell.outputs) if each is not None)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = number
    return notebook


def _together(outputs: Iterable[Any]) -> list[Any]:
    """What was printed in pieces, how many being a matter of chance, as one."""
    found: list[Any] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream" and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def _cleaned_output(output: Any) -> Any:
    if output.output_type == "stream" and output.name == "stderr":
        return None
    if "data" in output:
        output.metadata = nbformat.from_dict({})
        widget = output.data.pop("application/vnd.jupyter.widget-view+json", None)
        if not output.data or (widget and set(output.data) <= {"text/plain"}):  # the first is of a bar that has gone
            return None
    return output


def faults(path: Path) -> list[str]:
    """What is not clean in a notebook."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"an error in a cell: {output.ename}" for cell in code for output in cell.outputs if "ename" in output]
    if not any(cell.outputs for cell in code):
        found.append("it shows nothing: run it with --run")
    if any(_UNSEEN_MARK.search(cell.source) for cell in code):
        found.append("nbval sees no mark behind code: give the cell the tag nbval-check-output")
    outputs = "".join(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])) for cell in code)
    found += [f"{match} is of a machine" for match in sorted(set(_OF_A_MACHINE.findall(outputs)))]
    if nbformat.writes(cleaned(nbformat.reads(text, as_version=4))) + "\n" != text:
        found.append("its metadata are not clean: run this script")
    return found


def run(path: Path) -> Any:
    """A notebook as its cells leave it."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=_CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="run them anew")
    parser.add_argument("--check", action="store_true", help="change nothing, and say what is not clean")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(FOLDER.glob("*.ipynb")))
    options = parser.parse_args()
    bad = 0
    for path in options.notebooks:
        if not options.check:
            notebook = run(path) if options.run else nbformat.read(path, as_version=4)
            path.write_text(nbformat.writes(cleaned(notebook)) + "\n", encoding="utf-8")
        for fault in faults(path):
            print(f"{path.name}: {fault}")
            bad += 1
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
