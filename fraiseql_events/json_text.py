"""Python's values as JSON text, exactly: what JSON has no word for is refused, and nothing is rounded."""

from __future__ import annotations

import math
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.wording import shown


def json_text(value: Any) -> str:
    """A value as JSON text. Decimals and whole numbers keep every digit; times are RFC 3339.

    Raises:
        InvalidArgument: JSON has no word for something in it.
    """
    try:
        return msgspec.json.encode(_plain(value)).decode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{shown(value)} holds half of a surrogate pair, which is no text") from None
    except RecursionError:
        raise InvalidArgument("it is nested too deeply, or holds itself") from None


def _plain(value: Any) -> Any:
    """The same of what msgspec writes exactly."""
    if isinstance(value, dict):
        return {_name(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | UUID):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return msgspec.Raw(str(value).encode()) if isinstance(value, Decimal) else float(value)
    if isinstance(value, date | time) and value == value:  # which pandas' NaT is not
        return value.isoformat()
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return str(value)
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, np.datetime64 | np.timedelta64 | np.bytes_):
        return _plain(value.tolist())
    raise InvalidArgument(f"JSON has no word for {shown(value)}: write None, a number or a text instead")


def _name(key: object) -> str:
    if isinstance(key, str):
        return str(key)
    raise InvalidArgument(f"{shown(key)} is no name of a field in JSON, which is text")
