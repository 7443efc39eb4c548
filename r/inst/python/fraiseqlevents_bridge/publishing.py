"""R's rows as events."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from fraiseql_events import EventClient
from fraiseqlevents_bridge.answering import answering


@answering
def publish(client: EventClient, columns: list[dict[str, Any]], nats: str | None) -> int:
    """Publishes rows as events, to the stream that the server reads; how many there were."""
    from fraiseql_events.bridge.publisher import publish as send
    from fraiseql_events.publishing import frame_messages, stream_of

    messages = frame_messages(pa.table({column["name"]: _from_r(**column) for column in columns}))
    return send(messages, stream_of(client.status(), nats))


def _from_r(name: str, kind: str, values: list[str], missing: list[int]) -> pa.Array:
    found: list[Any] = list(values)
    for place in missing:
        found[int(place)] = None
    if kind == "micros":
        return pa.array([None if each is None else int(each) for each in found], pa.timestamp("us", "UTC"))
    return pa.array(found, pa.string())
