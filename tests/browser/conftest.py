"""A JupyterLab, a Chromium, and notebooks open in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Request, sync_playwright

from tests.browser.lab import ROOT, Lab, NoLab
from tests.browser.notebook import Notebook

SIZE = {"width": 1200, "height": 800}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="where screenshots go (a temporary folder)")
    parser.addoption("--update-pictures", action="store_true", help="write those of the documentation anew")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Debian's, without a window; Playwright's own is not installed. It may ask nothing of another machine."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail(
            "there is no chromium, which these tests drive: `apt-get install chromium` installs it", pytrace=False
        )
    elsewhere: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            elsewhere.append(request.url)

    with sync_playwright() as playwright:
        home = {"HOME": str(tmp_path_factory.mktemp("chromium"))}
        browser = playwright.chromium.launch(executable_path=path, env=os.environ | home)
        context = browser.new_context(viewport=SIZE, locale="en-US", reduced_motion="reduce")
        context.set_default_timeout(20_000)
        context.on("request", note)
        yield context
        browser.close()
    assert not elsewhere, f"a page asked for {elsewhere}"


@pytest.fixture(scope="session")
def lab(chromium: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Of no use without a browser, so that it is not started then."""
    try:
        lab = Lab(tmp_path_factory.mktemp("lab"))
    except NoLab as error:
        pytest.fail(str(error), pytrace=False)
    with lab:
        yield lab


@pytest.fixture
def open_notebook(
    chromium: BrowserContext, lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Notebook]]:
    """Opens a notebook of `notebooks/`, or an empty one of another name; after the test nothing of it may run."""
    screenshots = request.config.getoption("--screenshots", None) or tmp_path
    screenshots.mkdir(parents=True, exist_ok=True)
    pictures = ROOT / "docs" / "pictures" if request.config.getoption("--update-pictures", False) else tmp_path
    page = chromium.new_page()

    def open_notebook(name: str) -> Notebook:
        path = ROOT / "notebooks" / name
        return Notebook(page, lab, lab.copy(path) if path.exists() else lab.new(name), pictures)

    yield open_notebook
    page.screenshot(path=screenshots / f"{request.node.name}.png")  # the last that was seen, also where a test failed
    page.close()
    lab.end_kernels()
