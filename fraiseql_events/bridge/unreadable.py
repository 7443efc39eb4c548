"""Why a payload, or one event of it, cannot be read. Caught where it becomes a dead letter."""

from __future__ import annotations

from dataclasses import dataclass


class Unreadable(Exception):
    """No event; the message is the reason, for a person."""


class NotJson(Unreadable):
    """Not one JSON value: it may still be several lines of JSON."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One unreadable event of a payload of many: its place from 1, the reason, its bytes."""

    line: int
    reason: str
    payload: bytes
