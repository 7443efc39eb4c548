"""The token that a server may want of its clients: any text that a header can carry."""

from __future__ import annotations

import os
import re
from typing import Final

from fraiseql_events.errors import InvalidArgument

TOKEN_VARIABLE: Final = "FRAISEQL_EVENTS_TOKEN"  # noqa: S105 - its name
#: The header that carries it, as HTTP has it (RFC 6750).
HEADER: Final = "authorization"
SCHEME: Final = "Bearer "
_LONGEST: Final = 4096
_TOKEN: Final = re.compile(rf"[!-~]{{1,{_LONGEST}}}")


def check_token(token: str | None) -> str | None:
    """The token given, else that of FRAISEQL_EVENTS_TOKEN, else none.

    Raises:
        InvalidArgument: a header cannot carry it. It is not repeated.
    """
    found = (os.environ.get(TOKEN_VARIABLE) or None) if token is None else token
    if found is not None and (not isinstance(found, str) or not _TOKEN.fullmatch(found)):
        raise InvalidArgument(f"the token must be 1 to {_LONGEST} letters, digits or signs of ASCII, without spaces")
    return found
