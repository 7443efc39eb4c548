"""`client.live` where something else happens too: a busy kernel, a closed output, a page that is loaded again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.browser.lab import Lab
from tests.browser.notebook import Notebook

SHOP = """%load_ext fraiseql_events
import tempfile, time
from fraiseql_events import EventClient
service = %fraiseql serve --store {tempfile.mkdtemp()} --listen 127.0.0.1:0
%fraiseql demo --rate 200 --day 20
client = EventClient()
while client.status()["offset"] < 200: time.sleep(0.1)"""
LIVE = "live = client.live('Order', value='total', by='status')\nlive"


@pytest.fixture(scope="module")
def shop(lab: Lab, chromium: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook with a shop that is open."""
    page = chromium.new_page()
    notebook = Notebook(page, lab, lab.new("dashboard.ipynb"), tmp_path_factory.mktemp("pictures"))
    notebook.run(SHOP)
    yield notebook
    page.close()
    lab.end_kernels()


@pytest.fixture
def notebook(shop: Notebook) -> Iterator[Notebook]:
    yield shop
    shop.run("live.stop()")


def shown(notebook: Notebook, cell: int) -> Locator:
    """The dashboard's picture while it lives: part of the page, so that its text can be seen."""
    return notebook.cell(cell).locator(".jupyter-widgets svg")


def moves(notebook: Notebook, cell: int) -> bool:
    """Whether it changes within two seconds."""
    before, end = shown(notebook, cell).inner_html(), time.monotonic() + 2
    while time.monotonic() < end:
        if shown(notebook, cell).inner_html() != before:
            return True
        notebook.page.wait_for_timeout(50)
    return False


def streams(notebook: Notebook) -> str:
    return notebook.output_of(notebook.run("print(client.status()['streams'], live.state)"))


def becomes(notebook: Notebook, wanted: str, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while (found := streams(notebook)) != wanted:
        assert time.monotonic() < end, found
        notebook.page.wait_for_timeout(500)
    return True


def test_its_buttons_work_while_a_cell_computes(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    busy = notebook.begin("end = time.monotonic() + 8\nwhile time.monotonic() < end: pass")
    notebook.page.wait_for_timeout(500)
    assert moves(notebook, cell)
    notebook.press(cell, "Stop")
    expect(notebook.cell(cell).get_by_role("img")).to_be_visible(timeout=4_000)
    assert "[*]:" in notebook.numbers()
    notebook.wait_until_run(busy)
    assert streams(notebook) == "0 stopped"


def test_it_ends_when_its_output_is_closed(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    expect(shown(notebook, cell)).to_be_visible()
    assert streams(notebook) == "1 live"
    notebook.clear_all_outputs()
    assert becomes(notebook, "0 stopped: its output was closed")


def test_running_its_cell_again_ends_the_one_before(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    expect(shown(notebook, cell)).to_be_visible()
    notebook.run("first = live")
    notebook.run_again(cell)
    expect(shown(notebook, cell)).to_be_visible()
    assert becomes(notebook, "1 live")
    assert notebook.output_of(notebook.run("print(first.state)")) == "stopped: its output was closed"
    assert moves(notebook, cell)


def test_it_lives_on_while_it_is_out_of_sight_and_when_the_page_is_loaded_again(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    expect(shown(notebook, cell)).to_be_visible()
    for _ in range(12):
        last = notebook.run("for number in range(30): print(number)")
    notebook.cell(last).scroll_into_view_if_needed()
    notebook.page.wait_for_timeout(7_000)
    assert streams(notebook) == "1 live"
    notebook.cell(cell).scroll_into_view_if_needed()
    assert moves(notebook, cell)
    notebook.save_and_open_again()
    notebook.page.wait_for_timeout(7_000)
    notebook.cell(cell).scroll_into_view_if_needed()
    assert moves(notebook, cell)
    notebook.press(cell, "Stop")
    expect(notebook.cell(cell).get_by_role("button", name="Stop")).to_have_count(0)
    expect(notebook.cell(cell).get_by_role("img")).to_be_visible()


def test_a_notebook_that_is_saved_meanwhile_has_a_picture(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    expect(shown(notebook, cell)).to_be_visible()
    notebook.save()
    saved = nbformat.read(notebook.lab.notebooks / notebook.name, as_version=4)
    (output,) = saved.cells[cell].outputs
    assert "sum of total" in output.data["image/svg+xml"]
    assert "no events yet" not in output.data["image/svg+xml"]


def test_it_ends_when_its_output_is_closed_also_after_the_page_was_loaded_again(notebook: Notebook) -> None:
    cell = notebook.run(LIVE)
    expect(shown(notebook, cell)).to_be_visible()
    for _ in range(2):
        notebook.save_and_open_again()
        notebook.cell(cell).scroll_into_view_if_needed()
        expect(shown(notebook, cell)).to_be_visible()
    notebook.page.wait_for_timeout(7_000)
    assert streams(notebook) == "1 live"
    notebook.clear_all_outputs()
    assert becomes(notebook, "0 stopped: its output was closed")
