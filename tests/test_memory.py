"""Memory is constant however long the answer is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from fraiseql_events.bridge.publisher import publish
from fraiseql_events.event import SCHEMA
from fraiseql_events.own_process import VARIABLE
from tests.mixed import an_event, to_ipc
from tests.processes import Serve, peak_memory, run

READ = """
import sys
from fraiseql_events import EventClient
from tests.processes import peak_memory
import os
rows = 0
for frame in EventClient(sys.argv[1]).stream(sys.argv[2]):
    rows += frame.height
print(rows, peak_memory(os.getpid()))
"""


def payload(first: int, rows: int) -> bytes:
    """Events of about 300 bytes as Arrow IPC, four entity types."""
    numbers = np.arange(first, first + rows)
    text = pa.array([f"{number:012d}" for number in numbers.tolist()])
    entity = pa.array([("Order", "User", "Product", "Cart")[number % 4] for number in numbers.tolist()])
    data = pa.array([f'{{"total": {number}.5, "note": "{number * 7919:0>120}é"}}' for number in numbers.tolist()])
    times = pa.array(1_767_225_600_000_000 + numbers * 1000).cast(pa.timestamp("us", "UTC"))
    columns = [text, entity, entity, text, times, data, text, text]
    return to_ipc(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def fill(folder: Path, events: int) -> None:
    """Makes a history through the front door."""
    with EmbeddedNats(folder / "nats") as server:
        source = StreamOptions(nats=server.url)
        publish((("entity.change.x.y", payload(first, 2_000)) for first in range(0, events, 2_000)), source)
        result = json.loads(run("ingest", "--nats", server.url, "--store", folder))
        assert result["events"] == events


def peaks(folder: Path, entity: str, events: int) -> tuple[int, int]:
    """The peak memory of server and client for one pass over the history."""
    with Serve("--embedded", "--store", folder) as serve:
        url = serve.wait_until_ready()
        arguments = [sys.executable, "-c", READ, url, entity]
        shown = subprocess.run(arguments, capture_output=True, check=True, text=True, timeout=300).stdout
        rows, client = map(int, shown.split())
        assert rows == events
        return peak_memory(serve.process.pid), client


def least_peaks(folder: Path, entity: str, events: int) -> tuple[int, int]:
    """The least that server and client needed in three passes: what a busy machine adds is not in all."""
    servers, clients = zip(*(peaks(folder, entity, events) for _ in range(3)), strict=True)
    return min(servers), min(clients)


ALLOCATOR = """
from fraiseql_events import cli
cli.run(["serve", "--nats", "no address"])
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Arrow's own choice stands")
def test_serve_has_arrow_use_jemalloc_unless_the_environment_names_another() -> None:
    for named, expected in (({}, "jemalloc"), ({VARIABLE: "system"}, "system")):
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE} | named
        command = [sys.executable, "-c", ALLOCATOR]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True, timeout=60)
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.timeout(400)
def test_five_million_events_take_the_memory_of_half_a_million(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    fill(small, 500_000)
    fill(large, 5_000_000)
    for entity, share in (("*", 1), ("Order", 4)):
        server, client = least_peaks(small, entity, 500_000 // share)
        large_server, large_client = least_peaks(large, entity, 5_000_000 // share)
        said = f"{entity}, MiB: server {server >> 20}, {large_server >> 20} client {client >> 20}, {large_client >> 20}"
        assert large_server <= 1.3 * server, said
        assert large_client <= 1.3 * client, said


ASK = """
import os, sys
from fraiseql_events import EventClient, sql
from tests.processes import peak_memory
sql.MEMORY_LIMIT = sys.argv[2]
asked = EventClient(sys.argv[1])
for query in ("select count(*) from events a join events b on a.data = b.data",
              "select count(*) from (select row_number() over (order by data) as n from events) where n > 1"):
    print(asked.sql(query).item())
print(peak_memory(os.getpid()))
"""


def test_a_query_over_more_than_it_may_hold_puts_the_rest_into_files(tmp_path: Path) -> None:
    count, peaks = 1_000_000, []
    fill(tmp_path, count)
    with Serve("--embedded", "--store", tmp_path) as serve:
        url = serve.wait_until_ready()
        for limit in ("64MiB", "8GiB"):
            command = [sys.executable, "-c", ASK, url, limit]
            done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=200)
            assert done.returncode == 0, done.stderr
            *answers, peak = map(int, done.stdout.split())
            assert answers == [count, count - 1]
            peaks.append(peak >> 20)
    limited, free = peaks
    assert limited + 200 < free, f"MiB: {limited}, {free}"


WITHOUT_PANDAS = """
import sys
from fraiseql_events import cli
cli.run(["ingest", "--nats", sys.argv[1], "--store", sys.argv[2]])
print("pandas" in sys.modules)
"""


def test_an_ingest_of_any_payload_does_not_load_pandas(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path / "nats") as server:
        payloads = [payload(0, 100), an_event(), b"\n".join([an_event()] * 2000), b"["]
        publish((("entity.change.x.y", each) for each in payloads), StreamOptions(nats=server.url))
        command = [sys.executable, "-c", WITHOUT_PANDAS, server.url, str(tmp_path / "store")]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    summary, loaded = done.stdout.splitlines()
    assert (json.loads(summary)["events"], json.loads(summary)["dead_letters"]) == (2101, 1)
    assert loaded == "False", done.stderr
