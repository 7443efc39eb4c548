"""What DuckDB says of a query that it cannot answer, in one sentence with a hint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.wording import near

_SYNTAX: Final = re.compile(r'syntax error at or near "(?P<word>[^"]*)"')
_COLUMN: Final = re.compile(r'Referenced column "(?P<name>.+?)" not found')
_COLUMN_OF: Final = re.compile(r'"(?P<table>[^"]+)" does not have a column named "(?P<name>.+?)"')
_FIELD: Final = re.compile(r"Cannot extract field '(?P<name>.+?)' from expression \"data\"")
_TEXT_VALUE: Final = re.compile(r"(VARCHAR|STRING_LITERAL)(?s:.*)explicit")
_FUNCTION: Final = re.compile(r"Function with name (?P<name>.+) does not exist")
_ALIAS: Final = re.compile(r'Referenced table "(?P<name>.+?)" not found')
_MEMORY: Final = re.compile(r"(?:allocate|pin) (?:block|data).*\((?:.*)/(?P<limit>[\d.]+ \w+) used\)")
_CANDIDATES: Final = re.compile(r"^(?:Candidate bindings|Candidate tables|Did you mean):? (.*)$", re.MULTILINE)


def sentence(error: object, entities: Callable[[], Iterable[str]]) -> str:
    """What is wrong, and what would be right.

    Args:
        error: DuckDB's, or its text.
        entities: the entity types that there are.
    """
    text = str(error)
    candidates = re.findall(r'"([^"]+)"', " ".join(_CANDIDATES.findall(text)))
    if found := _SYNTAX.search(text):
        hint = _quoting(found["word"], entities) or "; one SELECT is expected"
        said = f'syntax error at or near "{found["word"]}"{hint}'
    elif found := _COLUMN.search(text) or _COLUMN_OF.search(text):
        said = _column(found["name"], found.groupdict().get("table"), candidates)
    elif found := _FIELD.search(text):
        said = f"data is JSON as text: write {_path(found['name'])}"
    elif _TEXT_VALUE.search(text):
        said = f"{_first_line(text)}; a number of data is written (data->>'$.total')::double"
    elif found := _MEMORY.search(text):
        said = f"it takes more than {found['limit']} of memory at once: ask for fewer columns or a shorter time"
    elif found := _FUNCTION.search(text):
        said = f"there is no function {found['name']}{near(found['name'], candidates)}"
    elif found := _ALIAS.search(text):
        said = f"there is no table {found['name']!r} in this FROM{near(found['name'], candidates)}"
        said += f"; there is {', '.join(candidates)}" if candidates else ""
    else:
        said = _first_line(text) or type(error).__name__
    return f"this SQL cannot be answered: {said}"


def _quoting(word: str, entities: Callable[[], Iterable[str]]) -> str:
    """For a word of SQL that is an entity type too."""
    alike = [each for each in entities() if each.casefold() == word.casefold()]
    return f'; a table named like a word of SQL is written in double quotes: "{alike[0]}"' if alike else ""


def _column(name: str, table: str | None, candidates: list[str]) -> str:
    said = f"there is no column {name!r}"
    if guess := near(name, [*candidates, *LOG_SCHEMA.names]):
        return said + guess
    if not re.fullmatch(r"\w+", name):
        return f"{said}; text is written in single quotes"
    before = f"{table}." if table else ""
    return f"{said}; a field of data is read with {before}{_path(name)}"


def _path(name: str) -> str:
    return f"data->>'$.{name}'"


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0].partition(": ")[2] or lines[0]).rstrip(".!") if lines else ""
