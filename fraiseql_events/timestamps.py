"""RFC 3339 times and dates as microseconds since 1970-01-01T00:00:00Z, exactly and in both directions.

Accepted are the years 0001 to 9999 in UTC, which is what Python, pandas and Polars can all show.
Digits past microseconds are cut, a time without an offset is UTC, and the leap second 23:59:60
is the first moment of the next minute, as in PostgreSQL.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
MICROSECOND: Final = timedelta(microseconds=1)
DAY: Final = 86_400_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MIN_MICROS: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
MAX_MICROS: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND

TIME_PATTERN: Final = (
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<clock>\d{2}:\d{2}:)(?P<second>\d{2})"
    r"(?:\.(?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d{2}:\d{2})?"
)
_TIME: Final = re.compile(TIME_PATTERN, re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

# What Arrow's own cast reads with the same meaning as `parse_time`; all else goes through `parse_time`.
#: For so few, Arrow's functions cost more than they save.
_FEW: Final = 8
_LONGEST: Final = len("2026-01-31T12:00:00.123456Z")
_PLAIN: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"


def parse_time(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 time.

    Raises:
        ValueError: with a sentence, when the text is no such time.

    >>> parse_time("1970-01-01T01:00:00.0000019+01:00")
    1
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")
    leap = match["second"] == "60"
    second = "59" if leap else match["second"]
    try:
        hour, minute = int(match["clock"][:2]), int(match["clock"][3:5])
        moment = datetime.combine(date.fromisoformat(match["date"]), time(hour, minute, int(second)), UTC)
    except ValueError as error:
        raise ValueError(f"{_shown(text)} is not a time that exists: {error}") from None
    micros = (moment - EPOCH) // MICROSECOND
    if leap:
        micros += 1_000_000
    else:
        micros += int((match["fraction"] or "")[:6].ljust(6, "0"))
    micros -= _offset_micros(match["zone"], text)
    if leap and micros % DAY:
        raise ValueError(f"{_shown(text)} is not a time that exists: a leap second ends a day in UTC")
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ValueError(f"{_shown(text)} is outside the years 0001 to 9999 in UTC")
    return micros


def parse_nanos(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time, as NATS writes the time that a message was stored at.

    Raises:
        ValueError: as `parse_time`.

    >>> parse_nanos("1970-01-01T00:00:00.000001002Z")
    1002
    """
    match = _TIME.fullmatch(text)
    digits = (match["fraction"] or "") if match is not None else ""
    return parse_time(text) * 1000 + int(digits[6:9].ljust(3, "0"))


def _offset_micros(zone: str | None, text: str) -> int:
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{_shown(text)} has an offset past 23:59")
    micros = (hours * 60 + minutes) * 60_000_000
    return micros if zone[0] == "+" else -micros


def looks_like_time(text: str) -> bool:
    """Whether a text has the form of an RFC 3339 time, be it one that exists or not."""
    return _TIME.fullmatch(text) is not None


def parse_date(text: str) -> int | None:
    """Microseconds since the epoch of a date's first moment in UTC; None when the text does not look like a date.

    Raises:
        ValueError: with a sentence, when it looks like one and is none.

    >>> parse_date("1970-01-02")
    86400000000
    """
    if _DATE.fullmatch(text) is None:
        return None
    try:
        return micros_of_date(date.fromisoformat(text))
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a date that exists") from None


def micros_of_date(day: date) -> int:
    """Microseconds since the epoch of a date's first moment in UTC."""
    return (day - EPOCH.date()).days * DAY


def micros_of_datetime(moment: datetime) -> int:
    """Microseconds since the epoch; a datetime without a zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND


def format_time(micros: int) -> str:
    """The shortest RFC 3339 spelling in UTC, which `parse_time` reads back to the same number.

    >>> format_time(1)
    '1970-01-01T00:00:00.000001Z'
    """
    return (EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def format_date(micros: int) -> str:
    """The date of a first moment of a day in UTC."""
    return (EPOCH + timedelta(microseconds=micros)).date().isoformat()


def parse_times(texts: pa.StringArray) -> tuple[pa.TimestampArray, dict[int, str]]:
    """A column of RFC 3339 texts as timestamp[us, UTC], and what is wrong with each row that is none.

    A wrong row is null in the column; the dictionary gives its position and a sentence.
    """
    if len(texts) <= _FEW:
        return _parse_one_by_one(texts)
    if _are_usual(texts) or pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py():
        try:
            times = texts.cast(TIMESTAMP)
        except pa.ArrowInvalid:
            pass
        else:
            if _within_range(times):
                return times, {}
    return _parse_one_by_one(texts)


def _are_usual(texts: pa.StringArray) -> bool:
    """Whether what Arrow's cast takes of these texts, if it takes them, is as in `_PLAIN`: cheaper than the pattern.

    Of so many characters, and with a Z at its end, it takes nothing but a date, a time with seconds, and a fraction.
    """
    sizes = pc.min_max(pc.binary_length(texts)).as_py()
    usual = sizes["min"] is not None and sizes["min"] >= len("2026-01-31T12:00:00Z") and sizes["max"] <= _LONGEST
    return usual and not texts.null_count and pc.all(pc.ends_with(texts, "Z")).as_py() is True


def _within_range(times: pa.TimestampArray) -> bool:
    ends = pc.min_max(times.view(pa.int64()))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is None or (low >= MIN_MICROS and high <= MAX_MICROS)


def _parse_one_by_one(texts: pa.StringArray) -> tuple[pa.TimestampArray, dict[int, str]]:
    micros: list[int | None] = []
    wrong: dict[int, str] = {}
    for row, text in enumerate(texts.to_pylist()):
        try:
            micros.append(parse_time(text))
        except ValueError as error:
            wrong[row] = str(error)
            micros.append(None)
    return pa.array(micros, pa.int64()).view(TIMESTAMP), wrong


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
