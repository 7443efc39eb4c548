"""What comes slowly is not taken for what does not come."""

from __future__ import annotations

from pathlib import Path

from fraiseql_events import EventClient
from tests.faults.nats import NatsServer
from tests.following import events
from tests.processes import Serve
from tests.proxy import Proxy
from tests.waiting import until


def test_a_slow_link_is_not_taken_for_a_broken_one(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats, Proxy(nats.port) as proxy:
        nats.publish(events(0, 2))
        with Serve("--nats", f"nats://127.0.0.1:{proxy.port}", "--store", tmp_path / "store") as server:
            url = server.wait_until_ready()
            until(lambda: server.status(url)["offset"] == 2)
            proxy.delay = 0.1  # 640 KiB a second: 8 seconds for all, and NATS drops whom it waits for ten seconds for
            nats.publish(events(2, 2_502, data="x" * 2_000))
            until(lambda: server.status(url)["offset"] == 2_502, 60)
            proxy.delay = 0.0
            with EventClient(url) as client:
                assert client.read("*")["event_id"].to_list() == [str(number) for number in range(2_502)]
        assert server.said.count("reading goes on") <= 2
