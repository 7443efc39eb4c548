"""What a server has of an entity type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from fraiseql_events.timestamps import EPOCH, parse_time


@dataclass(frozen=True, slots=True)
class EntityInfo:
    """What the server has of one entity type.

    Attributes:
        events: how many there are.
        first: the first of their times (UTC).
        last: the last of them.
    """

    events: int
    first: datetime
    last: datetime

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """The same from JSON values."""
        return cls(found["events"], _moment(found["first"]), _moment(found["last"]))


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(microseconds=parse_time(text))
