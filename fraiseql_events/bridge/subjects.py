"""Which subjects a filter means."""

from __future__ import annotations

from itertools import zip_longest


def covers(wanted: str, subject: str) -> bool:
    """Whether a filter lets all through that another one does.

    >>> covers("entity.>", "entity.change.>"), covers("entity.change.>", "entity.>")
    (True, False)
    """
    for mine, other in zip_longest(wanted.split("."), subject.split(".")):
        if mine == ">":
            return other is not None
        if mine is None or other is None or other == ">" or (mine != "*" and mine != other):
            return False
    return True


def overlap(one: str, other: str) -> bool:
    """Whether some subject passes both filters.

    >>> overlap("entity.*.created", "entity.Order.>"), overlap("audit.>", "entity.>")
    (True, False)
    """
    for mine, theirs in zip_longest(one.split("."), other.split(".")):
        if mine is None or theirs is None:
            return False
        if ">" in (mine, theirs):
            return True
        if "*" not in (mine, theirs) and mine != theirs:
            return False
    return True
