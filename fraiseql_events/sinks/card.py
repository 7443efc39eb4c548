"""A sink as a card in a notebook."""

from __future__ import annotations

from fraiseql_events.html import card
from fraiseql_events.sinks.status import SinkStatus
from fraiseql_events.status_view import count


def sink_card(title: str, name: str, events: str, status: SinkStatus, lag: int | None) -> str:
    """How a sink is doing, as HTML.

    Args:
        title: what it is.
        name: where the events go.
        events: which events, and from where.
        status: how it is doing.
        lag: how many events the server has that it has not come to; None where that is not known.
    """
    place = "" if status.offset is None else f", up to offset {status.offset:,}"
    facts = [("table", name), ("events", events), ("state", status.state)]
    facts.append(("inserted", f"{count(status.events, 'event')} by this sink{place}"))
    if lag is not None:
        facts.append(("behind", count(lag, "event")))
    if status.last_error is not None:
        facts.append(("last error", status.last_error))
    return card(title, facts)
