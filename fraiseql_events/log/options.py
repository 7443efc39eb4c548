"""How the log keeps events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fraiseql_events.errors import InvalidArgument

_LIMITS: Final = (
    ("commit_events", 1, 100_000_000),
    ("commit_seconds", 0.001, 86_400),
    ("commit_bytes", 1, 1 << 30),
    ("tail_bytes", 0, 1 << 40),
    ("compact_files", 0, 1000),
    ("vacuum_hours", 1, 87_600),  # in less, a file may still be on its way into its commit
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How the log keeps events.

    Attributes:
        commit_events: a commit is made when so many events wait for one,
        commit_seconds: or when the first of them has waited so long, whichever comes first.
        commit_bytes: or when they take so much memory.
        tail_bytes: committed events kept in memory for readers that are nearly live, in bytes; as much again where
            readers ask for single entity types.
        compact_files: so many neighbouring small files of an entity type become one; 0 never.
        vacuum_hours: files that were merged into others are removed after so many hours; no reader may take longer.
        storage_options: delta-rs's own, for object stores.
    """

    commit_events: int = 100_000
    commit_seconds: float = 5.0
    commit_bytes: int = 64 << 20
    tail_bytes: int = 64 << 20
    compact_files: int = 10
    vacuum_hours: int = 24
    storage_options: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for name, least, most in _LIMITS:
            value = getattr(self, name)
            whole = isinstance(least, int)
            if not isinstance(value, int if whole else int | float) or not least <= value <= most:  # a NaN is not
                kind = "a whole number" if whole else "a number"
                raise InvalidArgument(f"{name} is {value!r}: it must be {kind} from {least} to {most}")
