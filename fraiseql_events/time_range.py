"""What may be written for the start and the end of a range of time, and how a ticket spells both."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Final

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.timestamps import (
    DAY,
    MIN_MICROS,
    TIME_PATTERN,
    format_date,
    format_time,
    looks_like_time,
    micros_of_date,
    micros_of_datetime,
    parse_date,
    parse_time,
)
from fraiseql_events.wording import shown

Time = str | date | datetime

_WHEN: Final = re.compile(rf"{re.sub(r'[?]P<[a-z]+>', '?:', TIME_PATTERN)}|\d{{4}}-\d{{2}}-\d{{2}}", re.ASCII)
_EXAMPLES: Final = "such as 2026-01-31 or 2026-01-31T12:00:00Z"


def start_micros(value: Time | None) -> int | None:
    """A start, inclusive, as microseconds since the epoch: a date is its first moment in UTC."""
    return None if value is None or value == "" else _micros("start", value)[0]


def end_micros(value: Time | None) -> int | None:
    """An end, exclusive, as microseconds since the epoch: a date includes that whole day in UTC."""
    if value is None or value == "":
        return None
    micros, is_date = _micros("end", value)
    return micros + DAY if is_date else micros


def take_time(which: str, rest: str) -> tuple[str, str]:
    """The time that the text begins with, and what follows its colon."""
    if match := _WHEN.match(rest):
        when, after = match.group(), rest[match.end() :]
    else:
        when, after = "", rest
    if after and not after.startswith(":"):
        wrong = rest.partition(":")[0]
        raise InvalidArgument(f"{which} {shown(wrong)} is neither a date nor an RFC 3339 time, {_EXAMPLES}")
    return when, after[1:]


def format_start(micros: int) -> str:
    """A start as a ticket spells it: a date where it begins one."""
    return format_time(micros) if micros % DAY else format_date(micros)


def format_end(micros: int) -> str:
    """An end as a ticket spells it: the last date that it includes, where it ends one."""
    whole_day = micros % DAY == 0 and micros > MIN_MICROS  # a day that ends where time begins has no date
    return format_date(micros - DAY) if whole_day else format_time(micros)


def _micros(which: str, value: Time) -> tuple[int, bool]:
    if value != value:  # a NaT says it is a datetime
        raise InvalidArgument(f"{which} is {value}: it must be a date, a datetime or text {_EXAMPLES}")
    if isinstance(value, datetime):
        return micros_of_datetime(value), False
    if isinstance(value, date):
        return micros_of_date(value), True
    if not isinstance(value, str):
        raise InvalidArgument(f"{which} is a {type(value).__name__}: it must be a date, a datetime or text {_EXAMPLES}")
    try:
        day = parse_date(value)
        if day is None and not looks_like_time(value):
            raise InvalidArgument(f"{which} {shown(value)} is neither a date nor an RFC 3339 time, {_EXAMPLES}")
        return (parse_time(value), False) if day is None else (day, True)
    except InvalidArgument:
        raise
    except ValueError as error:
        raise InvalidArgument(f"{which} {error}") from None
