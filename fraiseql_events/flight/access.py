"""Who may ask: whoever has the token, if there is one."""

from __future__ import annotations

import hmac
from typing import Any, Final

import pyarrow.flight as fl

from fraiseql_events.token import HEADER, SCHEME, TOKEN_VARIABLE

_HOW: Final = f"give it as EventClient(…, token=…), --token or {TOKEN_VARIABLE}"


class TokenRequired(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Refuses every call without the header ``authorization: Bearer TOKEN``: UNAUTHENTICATED, with a sentence.

    Args:
        token: what is wanted.
    """

    def __init__(self, token: str) -> None:
        self._wanted = (SCHEME + token).encode()

    def start_call(self, info: Any, headers: dict[str, list[str | bytes]]) -> None:
        """Lets a call pass, or raises. Takes as long for a token that is nearly right as for any."""
        found = headers.get(HEADER, [])
        if not found:
            raise fl.FlightUnauthenticatedError(f"this server wants a token: {_HOW}")
        given = found[0].encode() if isinstance(found[0], str) else found[0]
        if len(found) > 1 or not hmac.compare_digest(given, self._wanted):
            raise fl.FlightUnauthenticatedError(f"that is not this server's token: {_HOW}")
