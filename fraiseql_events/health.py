"""In a word and a sentence: how a service is doing."""

from __future__ import annotations

import time
from typing import Final, Literal

from fraiseql_events.bridge.bridge import BridgeStatus
from fraiseql_events.errors import EventsError
from fraiseql_events.log.status import LogStatus

State = Literal["live", "catching-up", "quiet", "stalled", "failed", "stopped"]

#: Without a message for so long, a stream is called quiet.
QUIET_SECONDS: Final = 30.0
#: A commit takes a fraction of a second; a store that takes so long for it hangs.
SLOW_COMMIT_SECONDS: Final = 10.0
#: Messages come at once; when they do not for so long, something holds them up.
WAITING_SECONDS: Final = 4.0
#: Further behind than so many messages, or a second's worth of them, a bridge is catching up.
BEHIND_MESSAGES: Final = 1000


def message_age(log: LogStatus) -> float | None:
    """Seconds since JetStream stored the last message that is in the log; None before the first."""
    if log.stream is None or not log.stream.published:
        return None
    return max(0.0, time.time() - log.stream.published / 1e9)


def assess(
    log: LogStatus, bridge: BridgeStatus, failure: EventsError | None, *, closed: bool = False
) -> tuple[State, str | None]:
    """The state, and the reason where it is not simply well.

    ``live`` and ``quiet`` are well: with and without traffic. ``catching-up`` mends itself. ``stalled`` goes on when
    the fault that the reason names ends; ``failed`` does not go on, and neither does ``stopped``, which was closed.
    """
    if failure is not None:
        return "failed", str(failure)
    if closed:
        return "stopped", "it was closed"
    if log.last_error is not None:
        return "stalled", log.last_error
    if log.committing > SLOW_COMMIT_SECONDS:
        return "stalled", f"the store has been busy with one commit for {log.committing:.0f} seconds"
    if bridge.trouble is not None:
        return "stalled", bridge.trouble
    if bridge.waiting > WAITING_SECONDS:
        return "stalled", f"{bridge.lag} messages wait in the stream, and none came for {bridge.waiting:.0f} seconds"
    if bridge.lag > max(BEHIND_MESSAGES, log.events_per_second):
        return "catching-up", f"{bridge.lag} messages behind the stream"
    age = message_age(log)
    if bridge.lag == 0 and (age is None or age > QUIET_SECONDS):
        return "quiet", "no message yet" if age is None else f"no message for {age:.0f} seconds"
    return "live", None
