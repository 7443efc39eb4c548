"""What a person sees and does in a notebook."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from fraiseql_events.log.lock import StoreLock
from tests.browser.lab import Lab
from tests.browser.notebook import Notebook
from tests.processes import run
from tests.waiting import until

Open = Callable[[str], Notebook]

SERVE = "%load_ext fraiseql_events\n%fraiseql serve --store {store}"
CLIENT = "\nfrom fraiseql_events import EventClient\nclient = EventClient()"
SHOP = SERVE + " --demo" + CLIENT
FOLLOW = 'for frame in client.stream("Order", follow=True):\n    newest = frame'
#: A hundred thousand events in small batches, each with typed columns: that takes seconds.
LARGE = 'everything = client.read("*", payload="infer", batch_size=100{more})\neverything.height'
#: The bar of such a read.
BAR = re.compile(r"reading:\s+[3-9]\d%\s+[\d.]+k/100k.*events/s")


@pytest.fixture(scope="module")
def hundred_thousand(lab: Lab) -> str:
    """A store with so many events of a shop, beside the notebooks; its name."""
    run("demo", "--events", "100000", "--store", lab.notebooks / "shop")
    return "shop"


def test_the_quickstart_runs_from_top_to_bottom(open_notebook: Open) -> None:
    notebook = open_notebook("01_quickstart.ipynb")
    notebook.clear_all_outputs()
    notebook.run_all()
    notebook.wait_until_idle(100)
    assert notebook.errors() == []
    assert notebook.numbers() == [f"[{number}]:" for number in range(1, len(notebook.numbers()) + 1)]
    assert notebook.output_of(-1) == "stopped"
    assert any("Order.Created" in text for text in notebook.tables())
    notebook.picture("quickstart", at=notebook.cell_with("orders = client.read"))


def test_a_large_read_shows_a_bar_that_leaves_nothing(open_notebook: Open, hundred_thousand: str) -> None:
    notebook = open_notebook("large.ipynb")
    notebook.run(SERVE.format(store=hundred_thousand) + CLIENT)
    cell = notebook.begin(LARGE.format(more=""))
    notebook.wait_until_shows(cell, BAR)
    notebook.picture("progress", height=330)
    notebook.wait_until_run(cell)
    notebook.wait_until_shows(cell, "100000")
    assert notebook.output_of(cell) == "100000"
    cell = notebook.begin(LARGE.format(more=", limit=40_000, progress=False"))
    assert notebook.seen_while_it_runs(cell) <= {"", "40000"}
    notebook.save_and_open_again()
    assert (notebook.output_of(1), notebook.output_of(2)) == ("100000", "40000")


def test_a_follow_counts_and_the_stop_button_ends_it_in_a_line(open_notebook: Open) -> None:
    notebook = open_notebook("follow.ipynb")
    notebook.run(SHOP.format(store="follow"))
    cell = notebook.begin(FOLLOW)
    notebook.wait_until_shows(cell, re.compile(r"following:\s\d+\sevents,.*events/s"))
    notebook.wait_until_changes(cell)
    pressed = notebook.press_stop()
    notebook.wait_until_run(cell)
    assert time.monotonic() - pressed < 2
    assert notebook.error_of(cell) == f"KeyboardInterrupt\n  in line 1: {FOLLOW.splitlines()[0]}"
    cell = notebook.run('client.read("Order").height > 0')
    notebook.wait_until_shows(cell, "True")


def test_a_follow_s_table_has_a_line_for_each_event_and_the_newest_on_top(open_notebook: Open) -> None:
    notebook = open_notebook("table.ipynb")
    notebook.run(SHOP.format(store="table") + "\n%fraiseql demo --rate 200 --day 10")
    cell = notebook.begin("df = %fraiseql stream Order --follow")
    rows = notebook.cell(cell).locator("table").nth(1).locator("tbody tr")
    expect(rows).to_have_count(10)
    notebook.wait_until_changes(cell)
    notebook.press_stop()
    notebook.wait_until_run(cell)
    notebook.wait_until_shows(cell, "events, stopped")
    assert all(row.bounding_box()["height"] < 32 for row in rows.all())  # type: ignore[index]
    area = notebook.cell(cell).locator(".jp-OutputArea").bounding_box()
    assert area is not None
    assert area["height"] < 500
    cells = rows.first.locator("td").all()
    newest = notebook.run("print(df['event_id'][-1], df['data'][-1])")
    said = notebook.output_of(newest)
    assert said == f"{cells[0].get_attribute('title')} {cells[5].get_attribute('title')}"


def test_the_tab_key_completes_commands_and_options(open_notebook: Open) -> None:
    notebook = open_notebook("completion.ipynb")
    notebook.run("%load_ext fraiseql_events")
    cell = notebook.type_into_cell("%fraiseql ")
    assert notebook.press_tab()[:4] == ["serve", "stop", "restart", "status"]
    notebook.picture("completion", height=420)
    notebook.press_key("Escape")
    cell = notebook.type_into_cell("serve --st")
    assert notebook.press_tab() == ["--store"]
    notebook.press_key("Enter")
    assert notebook.code_of(cell) == "%fraiseql serve --store"


def test_a_wrong_command_is_one_sentence(open_notebook: Open) -> None:
    notebook = open_notebook("wrong.ipynb")
    notebook.run("%load_ext fraiseql_events")
    cell = notebook.run("%fraiseql serv")
    said = notebook.error_of(cell)
    assert said.startswith("InvalidArgument: %fraiseql has no command 'serv' (did you mean serve?)")
    assert "\n" not in said


def test_a_restart_of_the_kernel_leaves_nothing_and_the_notebook_runs_again(open_notebook: Open, lab: Lab) -> None:
    notebook = open_notebook("restart.ipynb")
    of_kernel = lab.ports()
    notebook.run(SHOP.format(store="restart"))
    processes, ports = lab.processes(), lab.ports() - of_kernel
    assert sorted(each.name() for each in processes) == ["nats-server", "python", "sh"]  # the last ends the first
    assert len(ports) == 2  # NATS and Flight
    notebook.restart_kernel()
    until(lambda: not any(each.is_running() for each in processes), 5)
    until(lambda: not ports & lab.ports(), 5)
    StoreLock(str(lab.notebooks / "restart")).release()
    notebook.run_all()
    notebook.wait_until_idle()
    assert notebook.errors() == []
    assert notebook.numbers()[0] == "[1]:"


@pytest.mark.parametrize("way", [Notebook.close_and_shut_down, Notebook.shut_down_in_the_panel])
def test_shutting_down_ends_everything(open_notebook: Open, lab: Lab, way: Callable[[Notebook], None]) -> None:
    notebook = open_notebook("close.ipynb")
    notebook.run(SHOP.format(store="close"))
    way(notebook)
    until(lambda: not lab.processes(), 10)
    StoreLock(str(lab.notebooks / "close")).release()


def test_a_service_beside_the_kernel_lives_on_after_the_stop_button(open_notebook: Open, lab: Lab) -> None:
    notebook = open_notebook("beside.ipynb")
    kernel = lab.processes()
    notebook.run(SHOP.format(store="beside --subprocess"))
    beside = [each for each in lab.processes() if each not in kernel]
    assert sorted(each.name() for each in beside) == ["nats-server", "python", "sh"]  # the service, and its NATS server
    cell = notebook.begin(FOLLOW)
    notebook.wait_until_shows(cell, "events/s")
    notebook.press_stop()
    notebook.wait_until_run(cell)
    cell = notebook.run('client.read("Order").height > 0')
    notebook.wait_until_shows(cell, "True")
    assert all(each.is_running() for each in beside)


def test_a_dashboard_moves_pauses_goes_on_and_stops(open_notebook: Open) -> None:
    notebook = open_notebook("live.ipynb")
    notebook.run(SHOP.format(store="live") + "\n%fraiseql demo --rate 200 --day 10")
    cell = notebook.run('client.live("Order", value="total", by="status", seconds=10)')
    notebook.wait_until_shows(cell, "shipped")
    notebook.wait_until_changes(cell)
    notebook.press(cell, "Pause")
    notebook.wait_until_says(cell, "paused")
    held = notebook.output_of(cell)
    time.sleep(1)
    assert notebook.output_of(cell) == held
    notebook.press(cell, "Resume")
    notebook.wait_until_says(cell, "live")
    notebook.wait_until_changes(cell)
    notebook.picture("dashboard", at=cell)
    notebook.press(cell, "Stop")
    expect(notebook.cell(cell).get_by_role("button", name="Stop")).to_have_count(0)
    expect(notebook.cell(cell).locator(".jp-RenderedSVG img")).to_be_visible()
