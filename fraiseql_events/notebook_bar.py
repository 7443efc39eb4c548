"""A progress bar in a notebook, of which nothing stays: not in the notebook's file either."""

from __future__ import annotations

from typing import Any, Final

from IPython.display import display
from tqdm.notebook import tqdm_notebook

#: Where the end is not known there is nothing to fill.
_COUNTER: Final = "{desc}: {n:,}{unit}, {rate_noinv_fmt}"


class NotebookBar(tqdm_notebook):  # type: ignore[misc]
    """tqdm's own, with two things mended.

    - A notebook that is saved keeps the place of a widget that is gone, and says "model not found" there when it is
      opened again: the place is emptied.
    - A bar that learns later how much there is would stay a small square: until then it is a counter, in words.
    """

    _place: Any = None
    bar_format: Any
    displayed: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not self.disable and self.total is None:
            self.bar_format = _COUNTER
            self.container.children[1].layout.display = "none"

    def learn_total(self, total: int) -> None:
        """Becomes a bar of so much."""
        self.total, self.bar_format = total, None
        bar = self.container.children[1]
        bar.max, bar.bar_style, bar.layout.width, bar.layout.display = total, "", None, None

    def display(self, msg: str | None = None, pos: int | None = None, **signals: Any) -> None:
        """Shows how far it is."""
        if signals.get("check_delay", True) and not self.displayed:
            self.displayed = True
            self._place = display(self.container, display_id=True)
        super().display(msg, pos, **signals)

    def close(self) -> None:
        """Goes; again does nothing."""
        if self.disable:
            return
        super().close()
        self.container.close()
        if self._place is not None:
            self._place.update({}, raw=True)
