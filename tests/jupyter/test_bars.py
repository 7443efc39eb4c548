"""Progress bars in a real kernel: what a notebook keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import Kernel

WORK = """
from time import sleep
from fraiseql_events.progress import bar, learn_total
with bar("working", shown={shown}) as progress:
    for _ in range(2): sleep(0.4); progress.update(1000)
    {then}
    for _ in range(2): sleep(0.2); progress.update(1000)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("notebook")) as kernel:
        yield kernel


def of(kernel: Kernel, kind: str) -> list[dict[str, Any]]:
    return [message["content"]["data"] for message in kernel.heard if message["msg_type"] == kind]


def told(kernel: Kernel) -> list[Any]:
    """What the widgets were told to show."""
    states = [data["state"] for data in of(kernel, "comm_msg") if "state" in data]
    return [state.get("value") for state in states]


def test_a_bar_is_a_counter_until_it_learns_how_much_there_is_and_then_goes_without_a_trace(kernel: Kernel) -> None:
    kernel.run(WORK.format(shown=True, then="learn_total(progress, 5000)"))
    (place,) = of(kernel, "display_data")
    assert "application/vnd.jupyter.widget-view+json" in place
    texts = [str(value).replace("\u2007", " ") for value in told(kernel)]
    assert any(text.startswith("working: 2,000 events, ") and text.endswith(" events/s") for text in texts)
    assert "working:  80%" in texts
    assert {"max": 5000.0} in [
        {"max": state["state"].get("max")} for state in of(kernel, "comm_msg") if "state" in state
    ]
    assert of(kernel, "update_display_data") == [{}]


def test_a_bar_of_work_that_fails_goes_too(kernel: Kernel) -> None:
    kernel.fail(WORK.format(shown=True, then="learn_total(progress, 5000); 1 / 0"))
    assert of(kernel, "update_display_data") == [{}]


def test_nothing_is_shown_where_nothing_is_wanted(kernel: Kernel) -> None:
    kernel.run(WORK.format(shown=False, then="pass"))
    assert of(kernel, "display_data") == of(kernel, "comm_msg") == []
