"""A notebook in a browser, and what a person does with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import Lab

#: A cell that has run has a number.
NUMBERED = re.compile(r"\[\d+\]:")
_ERROR = '[data-mime-type="application/vnd.jupyter.stderr"]'


class Notebook:
    """A notebook of a JupyterLab, open in a page of a browser, its kernel ready. Code cells are counted from 0.

    Args:
        page: an empty page.
        lab: the JupyterLab.
        name: of the notebook, in the folder that JupyterLab shows.
        pictures: the folder for those of the documentation.
    """

    def __init__(self, page: Page, lab: Lab, name: str, pictures: Path) -> None:
        self.page, self.lab, self.name = page, lab, name
        self._pictures = pictures
        self._open()

    def _open(self) -> None:
        workspace = self.name.partition(".")[0]
        self.page.goto(f"{self.lab.url}lab/workspaces/{workspace}/tree/{self.name}?token={self.lab.token}&reset")
        self.wait_for_kernel()
        self.page.keyboard.press("Control+b")  # hides the list of files

    # what is seen

    def cell(self, cell: int) -> Locator:
        """A code cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell)

    def numbers(self) -> list[str]:
        """What stands before each code cell, such as ``[3]:``."""
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()

    def code_of(self, cell: int) -> str:
        """What is written in a cell."""
        return self.cell(cell).locator(".cm-content").inner_text()

    def cell_with(self, code: str) -> int:
        """The first cell in which some code is written."""
        cells = self.page.locator(".jp-CodeCell .cm-content").all_text_contents()
        return next(cell for cell, text in enumerate(cells) if code in text)

    def tables(self) -> list[str]:
        """The texts of the data frames that are shown."""
        return self.page.locator(".jp-OutputArea table.dataframe").all_text_contents()

    def outputs(self, cell: int) -> Locator:
        """What a cell shows, part by part."""
        return self.cell(cell).locator(".jp-OutputArea-output")

    def output_of(self, cell: int) -> str:
        """The text that a cell shows, as it is seen."""
        self.cell(cell).scroll_into_view_if_needed()
        return "\n".join(self.outputs(cell).all_inner_texts()).strip()

    def error_of(self, cell: int) -> str:
        """The error that a cell shows; it shows one."""
        return self.cell(cell).locator(_ERROR).inner_text().strip()

    def errors(self) -> list[str]:
        """The errors of all cells, and what was written to the error stream."""
        return self.page.locator(f".jp-CodeCell {_ERROR}").all_text_contents()

    def seen_while_it_runs(self, cell: int) -> set[str]:
        """All that a cell shows until it has run, and then."""
        seen = set()
        while not NUMBERED.match(self.numbers()[cell]):
            seen.add(self.output_of(cell))
        return seen | {self.output_of(cell)}

    def picture(self, name: str, *, at: int | None = None, height: int = 800) -> None:
        """Takes a picture for the documentation, of the upper so many pixels, with a cell at its top."""
        if at is not None:
            self.cell(at).evaluate("cell => cell.scrollIntoView()")
        self.page.mouse.move(600, height - 2)  # where it points to nothing
        path = self._pictures / f"{name}.png"
        self.page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1200, "height": height}, caret="initial")
        assert path.stat().st_size < 200_000

    # what is done

    def type_into_cell(self, code: str) -> int:
        """Writes into the last cell, at its end, key by key; that cell."""
        cell = self._last_cell()
        self.page.keyboard.type(code)
        return cell

    def begin(self, code: str) -> int:
        """Pastes code into the last cell and runs it; that cell."""
        cell = self._last_cell()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")  # makes another below
        return cell

    def run(self, code: str, seconds: float = 30) -> int:
        """The same, and waits until it has run, well or not."""
        cell = self.begin(code)
        self.wait_until_run(cell, seconds)
        return cell

    def run_all(self) -> None:
        """Runs all cells, by the menu."""
        before = self.numbers()
        self.choose("Run", "Run All Cells")
        self._wait_until(lambda: self.numbers() != before)

    def run_again(self, cell: int) -> None:
        """Runs a cell that has run before, and waits until it has run."""
        before = self.numbers()[cell]
        self.cell(cell).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self._wait_until(lambda: self.numbers()[cell] not in (before, "[*]:"))

    def save(self) -> None:
        """Saves the notebook, and waits until it is whole on the disk."""
        path = self.lab.notebooks / self.name
        before = path.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")
        self._wait_until(lambda: path.stat().st_mtime_ns != before and path.read_text().rstrip().endswith("}"))

    def save_and_open_again(self) -> None:
        """Saves the notebook, and loads the page anew."""
        self.save()
        self.page.reload()
        self.wait_for_kernel()

    def clear_all_outputs(self) -> None:
        """Forgets what was shown before, by the menu."""
        self.choose("Edit", "Clear Outputs of All Cells")

    def press_stop(self) -> float:
        """Presses the toolbar's stop button; when."""
        pressed = time.monotonic()
        self.page.get_by_title("Interrupt the kernel").click()
        return pressed

    def press(self, cell: int, button: str) -> None:
        """Presses a button that a cell shows."""
        self.cell(cell).get_by_role("button", name=button).click()

    def press_key(self, key: str) -> None:
        """Presses any other key."""
        self.page.keyboard.press(key)

    def press_tab(self) -> list[str]:
        """Presses the tab key; what is offered."""
        self.page.keyboard.press("Tab")
        offered = self.page.locator(".jp-Completer-item .jp-Completer-match")
        expect(offered.first).to_be_visible()
        return offered.all_inner_texts()

    def restart_kernel(self) -> None:
        """Restarts the kernel, by the menu."""
        self.choose("Kernel", "Restart Kernel…")
        self.answer("Confirm Kernel Restart")
        self.wait_for_kernel()

    def close_and_shut_down(self) -> None:
        """Closes the notebook and ends its kernel, by the file menu."""
        self.choose("File", "Close and Shut Down Notebook…")
        self.answer("Ok")
        expect(self.page.locator(".jp-Notebook")).to_have_count(0)

    def shut_down_in_the_panel(self) -> None:
        """Ends the kernel in the panel of what is running, and leaves the notebook open."""
        self.page.get_by_title("Running Terminals and Kernels").click()
        kernel = self.page.locator(".jp-RunningSessions-item").filter(has_text=f"{self.name} (").last
        kernel.locator("> .jp-RunningSessions-itemLabel").hover()  # its button is hidden until then
        kernel.locator("> [title='Shut Down']").click()
        self.wait_for_kernel("Disconnected")

    def choose(self, menu: str, item: str) -> None:
        """Clicks an item of a menu."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(".lm-Menu-item").filter(has_text=re.compile(f"^{re.escape(item)}")).first.click()

    def answer(self, button: str) -> None:
        """Presses a button of a question."""
        self.page.locator(".jp-Dialog").get_by_role("button", name=button).click()

    # what is waited for

    def wait_until_run(self, cell: int, seconds: float = 30) -> None:
        """Waits until a cell has run, well or not."""
        expect(self.cell(cell).locator(".jp-InputPrompt")).to_have_text(NUMBERED, timeout=seconds * 1000)

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Waits until no cell runs or waits."""
        self._wait_until(lambda: "[*]:" not in self.numbers(), seconds)
        self.wait_for_kernel()

    def wait_until_changes(self, cell: int, seconds: float = 20) -> None:
        """Waits until a cell shows something else than now."""
        before = self.output_of(cell)
        self._wait_until(lambda: self.output_of(cell) != before, seconds)

    def wait_until_shows(self, cell: int, text: str | re.Pattern[str], seconds: float = 20) -> None:
        """Waits until a cell shows a text, among others."""
        expect(self.cell(cell).locator(".jp-OutputArea")).to_contain_text(text, timeout=seconds * 1000)

    def wait_until_says(self, cell: int, text: str, seconds: float = 20) -> None:
        """Waits until a cell shows a text that stands by itself."""
        expect(self.outputs(cell).get_by_text(text, exact=True)).to_be_visible(timeout=seconds * 1000)

    def wait_for_kernel(self, state: str = "Idle") -> None:
        """Waits until the status bar says how the kernel is."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text(f"| {state}", timeout=30_000)

    def _wait_until(self, true: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it took too long; the cells: {self.numbers()}"
            self.page.wait_for_timeout(20)

    def _last_cell(self) -> int:
        """The last cell, with the cursor in it."""
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        cells.last.locator(".cm-content").click()
        return cells.count() - 1
