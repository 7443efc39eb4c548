"""The notebooks of notebooks/ are clean; that their cells run is tested by nbval, in `make test`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "notebooks.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def check(path: Path) -> str:
    command = [sys.executable, str(SCRIPT), "--check", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_shows_what_its_cells_show(path: Path) -> None:
    assert check(path) == ""


def test_what_is_not_clean_is_said_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "some.ipynb"
    notebook = nbformat.v4.new_notebook(metadata={"author": "somebody"})
    bad = nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[])
    shown = nbformat.v4.new_output("stream", name="stdout", text="/home/somebody/x")
    cell = nbformat.v4.new_code_cell("1 / 0  # NBVAL_CHECK_OUTPUT", execution_count=7, outputs=[bad, shown])
    notebook.cells = [cell]
    nbformat.write(notebook, path)
    said = check(path)
    assert "an error in a cell: ValueError" in said
    assert "/home/ is of a machine" in said
    assert "nbval sees no mark behind code" in said
    assert "its metadata are not clean" in said
    gone = nbformat.v4.new_output("display_data")  # where a progress bar was
    cell.outputs = [gone, nbformat.v4.new_output("stream", name="stdout", text="fine")]
    cell.source = "# NBVAL_CHECK_OUTPUT\n1 / 0"
    nbformat.write(notebook, path)
    assert subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, check=True).stdout == b""
    assert check(path) == ""
