"""Words that our sentences share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def near(word: object, words: Sequence[str]) -> str:
    """A suggestion for a word that is none of those, in brackets; empty when none is close."""
    close = difflib.get_close_matches(str(word), words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(value: object) -> str:
    """A value as a sentence shows it, short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
