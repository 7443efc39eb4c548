"""Writes docs/magics.md, the reference of `%fraiseql`, from the code; `--check` tells whether it is still true."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

from fraiseql_events.jupyter import magics

PAGE: Final = Path(__file__).parents[1] / "docs" / "magics.md"
#: A space where no line may end.
_HARD: Final = "\N{NO-BREAK SPACE}"
_HEAD: Final = """\
# Magics

<!-- Written by scripts/magics.py from the code. Change the code, and write it again. -->

`%load_ext fraiseql_events` adds `%fraiseql` to a notebook, and these are its commands. [In a notebook](notebook.md)
shows them at work. `%fraiseql` alone lists them, `%fraiseql serve --help` tells the options of one, and the tab key
completes commands, options, entity types, columns and event types. What is wrong is said in one sentence, and the cell
has failed.
"""


def page() -> str:
    """The whole page."""
    rows = [(f"[`{_magic(name)}`](#{name})", _words(magics.description_of(name))[0]) for name in magics.COMMANDS]
    return "\n".join([_HEAD, *_table(("command", "what it does"), rows), *map(_section, magics.COMMANDS)])


def _section(command: str) -> str:
    parser = magics.parser_of(command)
    usage = " ".join(parser.format_usage().removeprefix("::").split()).replace(f"%fraiseql {command}", _magic(command))
    whole = re.sub(r"\[(?:[^][]|\[[^][]*\])*\]", lambda match: match[0].replace(" ", _HARD), usage)
    shown = [line.replace(_HARD, " ") for line in _wrapped(whole, 100, subsequent_indent=" " * 8)]
    lines = ["", f"## {command}", "", *(f"    {line}" for line in shown), ""]
    for paragraph in _words(magics.description_of(command)):
        lines += [*_wrapped(paragraph, 125), ""]
    if parser._actions:
        rows = [_row(parser, action) for action in parser._actions]
        lines += _table(("option", "default", "what it says"), rows)
    return "\n".join(lines).rstrip("\n")


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str, str]:
    """An option as it is written, what it is without being given (its help ends with that), and its help."""
    formatter: Any = parser._get_formatter()
    says = re.sub("[*<]", r"\\\g<0>", formatter._expand_help(action))
    default = "" if action.default in (None, False) else str(action.default)
    says = re.sub(r"(?<![`\w-])(%+fraiseql \w+|--[a-z-]+)", r"`\1`", says)
    if match := re.fullmatch(r"(.*) \(([^()]+)\)", says):
        says, default = match.groups()
    written = formatter._format_action_invocation(action).replace("<", "").replace(">", "")
    return f"`{written}`", default, says


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of Markdown; what stands in a cell may hold the bar that parts cells."""
    lines = [head, ("---",) * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _words(text: str) -> list[str]:
    """Paragraphs, a line each."""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _wrapped(text: str, width: int, **options: str) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False, **options)


def _magic(command: str) -> str:
    return f"{'%%' if 'cell' in magics._MORE.get(command, ()) else '%'}fraiseql {command}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    if check and PAGE.read_text(encoding="utf-8") != page() + "\n":
        print("docs/magics.md is not what the code says: `python scripts/magics.py` writes it again")
        return 1
    if not check:
        PAGE.write_text(page() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
