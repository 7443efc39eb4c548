"""What the tab key offers behind ``%fraiseql``, and in the SQL below ``%%fraiseql sql``."""

from __future__ import annotations

import re
from argparse import Action
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from fraiseql_events.arguments import StreamOptions
from fraiseql_events.client import EventClient
from fraiseql_events.errors import EventsError
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.jupyter.magics import COMMANDS, parser_of
from fraiseql_events.jupyter.running import kernel
from fraiseql_events.sql import EVERYTHING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: What stands before the word that is being written, and that word.
_LINE: Final = re.compile(r"(.*%fraiseql\s(?:.*\s)?)(\S*)")
_SQL_CELL: Final = re.compile(r"\s*%%fraiseql\s+sql\b")
#: Where SQL names a table, and what of the name is there.
_TABLE: Final = re.compile(r"\b(?:from|join)\s+([^\s()]*)$", re.IGNORECASE)
#: Event types are looked for among so many of the newest events.
_LOOKED_AT: Final = 10_000


def complete_from(shell: InteractiveShell) -> None:
    """Has a shell complete what stands behind the magic, and offer nothing else there."""

    @context_matcher()
    def fraiseql_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = _LINE.fullmatch(context.text_until_cursor)
        if found is not None:
            word = found[2].rpartition(",")[2]
            return _result([text for text in candidates(found[1], shell.user_ns) if text.startswith(word)], word)
        table = _TABLE.search(context.text_until_cursor)
        if table is not None and context.cursor_line and _SQL_CELL.match(context.full_text):
            return _result(tables(table[1], context.line_with_cursor[context.cursor_position :]), table[1])
        return _result([], "")

    shell.Completer.custom_matchers.append(fraiseql_matcher)


def candidates(before: str, variables: dict[str, Any]) -> list[str]:
    """What may follow, given what stands before the word that is being written."""
    words = before.rpartition("%fraiseql")[2].split()
    if not words:
        return list(COMMANDS)
    command = words[0]
    if command not in COMMANDS:
        return []
    named = {name: action for action in parser_of(command)._actions for name in action.option_strings}
    option = next((word for word in reversed(words) if word in named), None)
    values = [] if option is None or named[option].nargs == 0 else _values(named[option], words)
    if option is not None and option == words[-1] and named[option].nargs != 0:
        return values
    found = [name for name in named if name not in words]
    if option is not None and named[option].nargs == "+":
        found = values + found
    if len(words) == 1:
        found = _kinds(command) + found
    if command == "stream" and len(words) == 1:
        found += _entity_types()
    if command == "publish" and len(words) == 1:
        found += [name for name, value in variables.items() if name[0] != "_" and hasattr(value, "__arrow_c_stream__")]
    return found


def tables(word: str, behind: str) -> list[str]:
    """The tables that SQL may name, given what of the name is there, and what stands behind the cursor."""
    begun = word.removeprefix('"').lower()
    closing = "" if behind.startswith('"') else '"'  # an editor may have closed it by itself
    names = [name for name in _entity_types() if name.lower().startswith(begun)]
    quoted = ['"' + name.replace('"', '""') + closing for name in names]
    return quoted + [EVERYTHING] * EVERYTHING.startswith(word)


def _result(texts: list[str], word: str) -> SimpleMatcherResult:
    return {
        "completions": [SimpleCompletion(text, type=_kind(text)) for text in texts],
        "matched_fragment": word,
        "suppress": bool(texts),
        "ordered": True,
    }


def _values(action: Action, words: list[str]) -> list[str]:
    """What may stand behind an option."""
    if action.dest == "columns":
        return list(LOG_SCHEMA.names)
    if action.dest == "entity":
        return _entity_types()
    if action.dest == "event_types":
        return _event_types(next((word for word in words[1:] if not word.startswith("-")), "*"))
    return [str(choice) for choice in action.choices or ()]


def _kinds(command: str) -> list[str]:
    """What the first word behind a command may be, where there is a choice."""
    first = [action for action in parser_of(command)._actions if not action.option_strings][:1]
    return [str(choice) for action in first for choice in action.choices or ()]


def _entity_types() -> list[str]:
    """Those of the notebook's own service: another server is not asked at a key press."""
    try:
        return [] if kernel.running is None else list(kernel.running.status()["entities"])
    except EventsError:
        return []


def _event_types(entity: str) -> list[str]:
    """Those of its newest events."""
    try:
        if kernel.running is None:
            return []
        after = max(-1, kernel.running.status()["offset"] - 1 - _LOOKED_AT)
        with EventClient(kernel.running.url) as client:
            wanted: StreamOptions = {"after_offset": after, "columns": ["event_type"], "limit": _LOOKED_AT}
            found = client.read(entity, frames="arrow", **wanted | {"progress": False})
            types: list[str] = found.column("event_type").unique().to_pylist()
            return sorted(types)
    except EventsError:
        return []


def _kind(text: str) -> str:
    """What a notebook says of it."""
    return "option" if text.startswith("-") else "command" if text in COMMANDS else "value"
