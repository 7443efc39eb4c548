"""Where a time axis has its marks, and what stands there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from fraiseql_events.timestamps import EPOCH

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_STEPS: Final = (
    *(_SECOND * tenths // 10 for tenths in (1, 2, 5)),
    *(unit * number for unit in (_SECOND, _MINUTE) for number in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * number for number in (1, 2, 3, 6, 12)),
    *(_DAY * number for number in (1, 2, 7)),
)
#: So many labels have room.
_MOST: Final = 6
#: The epoch was a Thursday; weeks begin on Mondays.
_MONDAY: Final = 4 * _DAY
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def marks(first: int, span: int) -> list[tuple[int, str]]:
    """Round times in a range of up to 42 days, and how each is written, in UTC.

    Args:
        first: the begin of the range, in microseconds since the epoch.
        span: its length, in microseconds; a second at least.
    """
    steps = [step for step in _STEPS if 2 * step <= span]  # so that there are two at least
    step = next((step for step in steps if span <= _MOST * step), steps[-1])
    after = _MONDAY if step == 7 * _DAY else 0
    begin = -((after - first) // step) * step + after
    return [(moment, _written(moment, step)) for moment in range(begin, first + span, step)]


def _written(moment: int, step: int) -> str:
    """As short as the step allows: midnight is written as its day."""
    time = EPOCH + timedelta(microseconds=moment)
    if step < _SECOND:
        return f"{time:%H:%M:%S}.{time.microsecond // 100_000}"
    if step < _MINUTE:
        return f"{time:%H:%M:%S}"
    return f"{time:%H:%M}" if moment % _DAY else _day(time)


def _day(time: datetime) -> str:
    return f"{_MONTHS[time.month - 1]} {time.day}"
