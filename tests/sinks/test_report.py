"""What a sink says of itself to the server."""

from __future__ import annotations

from fraiseql_events import ClickHouseSink, Service
from tests.waiting import until


def test_a_state_that_has_changed_is_in_the_status_at_once(service: Service) -> None:
    with ClickHouseSink("http://127.0.0.1:1", source=service.url).start() as sink:
        until(lambda: sink.status.state == "asking again")
        until(lambda: [each["state"] for each in service.status()["sinks"]] == ["asking again"], 0.6)
