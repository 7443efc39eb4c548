"""``%fraiseql``: bridge, server and data frames from a notebook's cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load(shell: InteractiveShell) -> None:
    """Adds ``%fraiseql`` and ``%%fraiseql``, and what completes them."""
    from fraiseql_events.jupyter.completion import complete_from
    from fraiseql_events.jupyter.magics import FraiseqlMagics

    shell.register_magics(FraiseqlMagics)
    complete_from(shell)
