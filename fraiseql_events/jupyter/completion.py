"""What the tab key offers behind ``%fraiseql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fraiseql_events.errors import EventsError
from fraiseql_events.jupyter.magics import COMMANDS, parser_of
from fraiseql_events.jupyter.running import kernel

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def complete_from(shell: InteractiveShell) -> None:
    """Has a shell complete what stands behind the magic."""
    shell.set_hook("complete_command", _complete, re_key=r".*%fraiseql\s")


def candidates(before: str, variables: dict[str, Any]) -> list[str]:
    """What may follow, given what stands before the word that is being written."""
    words = before.rpartition("%fraiseql")[2].split()
    if not words:
        return list(COMMANDS)
    command, last = words[0], words[-1]
    if command not in COMMANDS:
        return []
    actions = parser_of(command)._actions
    named = {name: action for action in actions for name in action.option_strings}
    if last in named and named[last].choices:
        return [str(choice) for choice in named[last].choices or ()]
    found = [name for name in named if name not in words]
    if command == "stream" and len(words) == 1:
        found += _entity_types()
    if command == "publish" and len(words) == 1:
        found += [name for name, value in variables.items() if hasattr(value, "__arrow_c_stream__")]
    return found


def _entity_types() -> list[str]:
    """Those of the notebook's own service: another server is not asked at a key press."""
    try:
        return [] if kernel.running is None else list(kernel.running.status()["entities"])
    except EventsError:
        return []


def _complete(shell: InteractiveShell, event: Any) -> list[str]:
    before = event.line[: len(event.line) - len(event.symbol)] if event.line.endswith(event.symbol) else event.line
    return candidates(before, shell.user_ns)
