"""Words that our sentences share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final

#: What stands in the place of a password.
HIDDEN: Final = "***"
#: What stands before the last @ of an address: a name, or one with a password; or a token.
_SECRET: Final = re.compile(r"(?P<before>(?:^|,)\s*(?:[\w+.-]+://)?)(?P<name>[^\s,:@/]*:)?[^\s,]*@")


def near(word: object, words: Sequence[str]) -> str:
    """A suggestion for a word that is none of those, in brackets; empty when none is close."""
    return _guess({each.casefold(): each for each in reversed(words)}, word)


def near_end(word: object, words: Sequence[str]) -> str:
    """The same for words with dots in them, of which a person may have written the end alone."""
    return near(word, words) or _guess({each.casefold().rpartition(".")[2]: each for each in reversed(words)}, word)


def _guess(known: Mapping[str, str], word: object) -> str:
    close = difflib.get_close_matches(str(word).casefold(), known, n=1)
    return f" (did you mean {known[close[0]]}?)" if close else ""


def shown(value: object) -> str:
    """A value as a sentence shows it, short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def without_password(url: str) -> str:
    """An address that may be shown, or several with commas: a password or a token is ``***`` in it.

    >>> without_password("nats://ada:secret@host:4222")
    'nats://ada:***@host:4222'
    """
    return _SECRET.sub(lambda found: f"{found['before']}{found['name'] or ''}{HIDDEN}@", url)
