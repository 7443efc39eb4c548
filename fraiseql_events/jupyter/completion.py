"""What the tab key offers behind ``%fraiseql``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from fraiseql_events.errors import EventsError
from fraiseql_events.jupyter.magics import COMMANDS, parser_of
from fraiseql_events.jupyter.running import kernel

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: What stands before the word that is being written, and that word.
_LINE: Final = re.compile(r"(.*%fraiseql\s(?:.*\s)?)(\S*)")


def complete_from(shell: InteractiveShell) -> None:
    """Has a shell complete what stands behind the magic, and offer nothing else there."""

    @context_matcher()
    def fraiseql_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = _LINE.fullmatch(context.text_until_cursor)
        if found is None:
            return {"completions": [], "suppress": False}
        before, word = found.groups()
        texts = [text for text in candidates(before, shell.user_ns) if text.startswith(word)]
        return {
            "completions": [SimpleCompletion(text, type=_kind(text)) for text in texts],
            "matched_fragment": word,
            "suppress": bool(texts),
            "ordered": True,
        }

    shell.Completer.custom_matchers.append(fraiseql_matcher)


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


def _kind(text: str) -> str:
    """What a notebook says of it."""
    return "option" if text.startswith("-") else "command" if text in COMMANDS else "value"
