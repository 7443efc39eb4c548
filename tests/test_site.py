"""The site: built as `make docs` builds it, and whole."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import fraiseql_events
from fraiseql_events.jupyter.magics import COMMANDS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: What a browser loads by itself, by tag; a link of these kinds is only followed when somebody clicks.
LOADED = {"src", "srcset", "poster", "data"}
FOLLOWED = {"canonical", "next", "prev", "index", "search", "author"}


def build(source: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    command += ["-c", str(source / "docs"), str(source), str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert (built.returncode, built.stderr) == (0, "")
    return folder


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text(encoding="utf-8")


def small_copy(to: Path) -> Path:
    """A site of three pages, with the settings of the real one."""
    for name in ("conf.py", "_static", "_templates"):
        source = ROOT / "docs" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, to / "docs" / name)
    contents = "# Title\n\n```{toctree}\n:glob:\npage\napi\n../notebooks/*\n```\n"
    (to / "docs" / "index.md").write_text(contents, encoding="utf-8")
    (to / "docs" / "page.md").write_text("# Page\n\n[a link](index.md#title)\n", encoding="utf-8")
    api = "API\n===\n\n.. autoclass:: fraiseql_events.EntityInfo\n\nSee `fraiseql_events.EntityInfo`.\n"
    (to / "docs" / "api.rst").write_text(api, encoding="utf-8")
    (to / "notebooks").mkdir()
    shutil.copy(NOTEBOOKS[0], to / "notebooks")
    return to


def test_what_is_broken_makes_the_build_fail(tmp_path: Path) -> None:
    (tmp_path / "copy" / "docs").mkdir(parents=True)
    copy = small_copy(tmp_path / "copy")
    assert build(copy, tmp_path / "whole").returncode == 0
    with (copy / "docs" / "page.md").open("a", encoding="utf-8") as file:
        file.write("[a page](nowhere.md) [a place](index.md#nowhere) ![a picture](nowhere.svg)\n")
    with (copy / "docs" / "api.rst").open("a", encoding="utf-8") as file:
        file.write("Not `fraiseql_events.EventClint`.\n\n.. autoclass:: fraiseql_events.Nothing\n")
    (copy / "docs" / "alone.md").write_text("# In no list\n", encoding="utf-8")
    notebook = copy / "notebooks" / NOTEBOOKS[0].name
    cell = {"cell_type": "markdown", "id": "x", "metadata": {}, "source": "[a page](../docs/gone.md)"}
    content = json.loads(notebook.read_text(encoding="utf-8"))
    notebook.write_text(json.dumps(content | {"cells": [*content["cells"], cell]}), encoding="utf-8")
    built = build(copy, tmp_path / "broken")
    assert built.returncode == 1
    for broken in ("nowhere.md", "'nowhere'", "nowhere.svg", "EventClint", "Nothing", "alone.md", "gone.md"):
        assert broken in built.stderr, broken


def test_every_export_and_its_members_are_in_the_api_reference(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "docs" / "api").glob("*.html"))
    names = list(fraiseql_events.__all__)
    for kind in map(vars(fraiseql_events).get, fraiseql_events.__all__):
        if inspect.isclass(kind) and not issubclass(kind, Exception):
            names += [f"{kind.__name__}.{name}" for name in vars(kind) if not name.startswith("_")]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    inner = {name for names in re.findall(r":exclude-members: (.*)", sources) for name in names.split(", ")}
    found = set(re.findall(r'id="fraiseql_events\.([\w.]+)"', pages))
    missing = [name for name in names if name not in found and name.partition(".")[2] not in inner]
    assert not missing, f"{', '.join(missing)}: on no page of docs/api; name it in one, with a docstring"


def test_the_reference_of_magics_is_what_the_code_says(site: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "magics.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout or checked.stderr
    for name in COMMANDS:
        assert f'<section id="{name}">' in page(site, "docs/magics"), name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_there_with_its_outputs(site: Path, notebook: Path) -> None:
    shown = page(site, f"notebooks/{notebook.stem}")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert shown.count('<div class="cell_output ') == sum(1 for cell in cells if cell.get("outputs"))
    assert f'href="../notebooks/{notebook.stem}.html"' in page(site, "docs/index")


def test_the_picture_of_the_whole_fits_a_page_that_is_not_wide(site: Path) -> None:
    (diagram,) = re.findall(r"<pre>(?:<span></span>)?(database change.*?)</pre>", page(site, "docs/index"), re.DOTALL)
    assert max(map(len, diagram.splitlines())) <= 98  # at 1250 pixels


def test_the_first_page_leads_to_the_site(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", page(site, "index"))
    assert (site / target).exists()


class Loads(HTMLParser):
    """The addresses of what a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.found += [value for name, value in named.items() if name in LOADED]
        if tag == "link" and named.get("rel") not in FOLLOWED:
            self.found.append(named.get("href", ""))


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for path in [*pages, *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        loads = Loads()
        if path.suffix == ".html":
            loads.feed(text)
            assert loads.found or path == site / "index.html"
        loads.found += re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)
        outside = [address for address in loads.found if re.match(r"(https?:)?//", address)]
        assert not outside, f"{path.relative_to(site)} loads {outside}"
