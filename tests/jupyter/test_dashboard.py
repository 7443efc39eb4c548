"""`client.live` in a real kernel: a widget while it lives, a picture that stays, and cells that stay responsive."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.kernels import ROOT, Kernel

VIEW = "application/vnd.jupyter.widget-view+json"
PICTURE = "image/svg+xml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("notebook")) as kernel:
        kernel.run(
            "%load_ext fraiseql_events\nservice = %fraiseql serve --listen 127.0.0.1:0\n%fraiseql demo --rate 500"
        )
        kernel.run("import time; from fraiseql_events import EventClient; client = EventClient()")
        kernel.run("while client.status()['offset'] < 500: time.sleep(0.1)")
        yield kernel
        kernel.run("%fraiseql stop")


@pytest.fixture
def live(shop: Kernel) -> Iterator[Kernel]:
    shop.run("live = client.live('Order', value='total', by='status')\nlive")
    yield shop
    shop.run("live.stop()")


def bundles(kernel: Kernel, kind: str) -> list[dict[str, Any]]:
    return [message["content"]["data"] for message in kernel.heard if message["msg_type"] == kind]


def pictures(kernel: Kernel) -> list[str]:
    """What the widget was told to show while the last cell ran."""
    told = (message["content"]["data"] for message in kernel.heard if message["msg_type"] == "comm_msg")
    return [each["state"]["value"] for each in told if "<svg" in each.get("state", {}).get("value", "")]


def test_it_shows_a_widget_and_for_pages_without_widgets_a_picture_of_what_was_there(live: Kernel) -> None:
    (bundle,) = bundles(live, "display_data")
    assert bundle[VIEW]["model_id"]
    assert "<svg" in bundle[PICTURE]
    assert "no events yet" not in bundle[PICTURE]
    assert bundle["text/plain"].startswith("<Live Order: ")


def test_it_moves_while_a_cell_computes_four_times_a_second_at_the_most(live: Kernel) -> None:
    turns = int(
        live.run("end, turns = time.monotonic() + 3, 0\nwhile time.monotonic() < end: turns += 1\nprint(turns)")
    )
    assert 3 <= len(pictures(live)) <= 13
    assert len(set(pictures(live))) == len(pictures(live))
    assert turns > 100_000


def test_a_pause_holds_the_widget_still_and_stop_leaves_a_picture_in_its_place(live: Kernel) -> None:
    live.run("live.pause(); time.sleep(1)")
    assert "paused" in pictures(live)[-1]
    live.run("time.sleep(1)")
    assert pictures(live) == []
    live.run("live.resume(); time.sleep(1)")
    assert pictures(live)
    live.run("live.stop()")
    (bundle,) = bundles(live, "update_display_data")
    assert VIEW not in bundle
    assert "stopped" in bundle[PICTURE]
    assert live.run("time.sleep(0.5); print(client.status()['streams'])") == "0\n"
    assert pictures(live) == []


def test_it_can_be_shown_twice_and_after_its_end_it_is_a_picture(live: Kernel) -> None:
    live.run("live")
    live.run("live.stop()")
    assert len(bundles(live, "update_display_data")) == 2
    live.run("live")
    assert "stopped" in bundles(live, "update_display_data")[-1][PICTURE]


def test_the_stop_button_before_it_is_shown_ends_it(live: Kernel) -> None:
    live.run("live.stop(); from fraiseql_events.live import dashboard")
    live.run("dashboard._FIRST_SECONDS = 30\nlive = client.live('Nothing')")
    live.start("live")
    time.sleep(1)
    assert live.interrupt()[0] == "KeyboardInterrupt"
    assert live.run("print(live.state)") == "stopped: the cell was interrupted before it was shown\n"
    live.run("dashboard._FIRST_SECONDS = 1")


def test_an_end_in_the_midst_of_the_first_showing_leaves_a_picture(live: Kernel) -> None:
    live.run("live.stop(); live = client.live('Order')\npicture = type(live).picture")
    live.run("type(live).picture = lambda self: self.stop() or picture(self)\nlive")
    (bundle,) = bundles(live, "update_display_data")
    assert VIEW not in bundle
    (shown,) = bundles(live, "display_data")
    assert shown[VIEW]["model_id"]
    live.run("type(live).picture = picture")


def test_what_is_wrong_is_one_sentence(shop: Kernel) -> None:
    assert shop.fail("client.live('Order', seconds=0)") == [
        "InvalidArgument: seconds=0: a chart has from a second to 31 days, in seconds"
    ]


def test_it_ends_with_the_kernel(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("%load_ext fraiseql_events\nservice = %fraiseql serve --demo --listen 127.0.0.1:0")
        kernel.run("from fraiseql_events import EventClient\nlive = EventClient().live()\nlive")
        kernel.shut_down()


def test_one_that_still_runs_when_a_machine_has_run_its_notebook_is_a_picture_on_the_page(tmp_path: Path) -> None:
    code = "%load_ext fraiseql_events\nservice = %fraiseql serve --demo --listen 127.0.0.1:0"
    cells = [code, "from fraiseql_events import EventClient\nlive = EventClient().live()\nlive", "%fraiseql stop"]
    path = tmp_path / "notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells))), path)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(path)]
    places = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    subprocess.run(command, check=True, capture_output=True, env=os.environ | places)
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert "<title>all entity types, live: " in page
    assert "no events yet" not in page
    assert f'<script type="{VIEW}">' not in page
