"""The columns of a frame of events: which there must be, and what those that are missing may be called there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fraiseql_events.errors import InvalidArgument

#: Each column that there must be, and what it holds.
_REQUIRED: Final = {
    "id": "a text that is this event's alone",
    "event_type": "what happened, such as 'Order.Created'",
    "entity_type": "what it happened to, such as 'Order'",
    "entity_id": "to which one, such as 'order-187'",
    "timestamp": "when: a time, UTC where it has no zone",
    "data": "the rest: JSON text, structs or dictionaries",
}
#: Other names of the contract's own.
_ALIASES: Final = {"id": "event_id"}
_KNOWN: Final = frozenset({*_REQUIRED, *_ALIASES.values(), "user_id", "org_id", "tenant_id"})
#: What others call them; a guess, which a person has to confirm by renaming.
_ELSEWHERE: Final = {
    "id": ("uuid", "eventuuid"),
    "event_type": ("type", "event", "kind", "action", "operation"),
    "entity_type": ("entity", "table", "model"),
    "entity_id": ("key", "entitykey"),
    "timestamp": ("time", "ts", "date", "datetime", "createdat", "occurredat", "eventtime"),
    "data": ("payload", "body", "json", "value", "values"),
}


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuses a frame that lacks a column.

    Args:
        names: its columns.
        where: what it is, at the sentence's beginning.

    Raises:
        InvalidArgument: all that are missing, what each is, and which ones to rename.
    """
    missing = [name for name in _REQUIRED if name not in names and _ALIASES.get(name) not in names]
    if not missing:
        return
    told = ", ".join(f"{name} ({_REQUIRED[name]})" for name in missing)
    found = {_meant(name, names): name for name in missing if _meant(name, names)}
    renames = ", ".join(f"{old!r}: {new!r}" for old, new in found.items())
    hint = f"; if these are there by another name, rename them: {{{renames}}}" if found else ""
    raise InvalidArgument(f"{where}: there is no column {told}{hint}")


def _meant(missing: str, names: Sequence[str]) -> str | None:
    """The one column that may be the missing one; None where there is none, or more than one."""
    close = (missing.replace("_", ""), *_ELSEWHERE[missing])
    found = [name for name in names if name not in _KNOWN and name.replace("_", "").replace(" ", "").lower() in close]
    return found[0] if len(found) == 1 else None
