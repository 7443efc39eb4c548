"""``%fraiseql sink`` in a real kernel, with ClickHouse's own engine in it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pyarrow as pa
import pytest

from fraiseql_events import InvalidArgument
from fraiseql_events.jupyter import sinking
from fraiseql_events.jupyter.running import Wanted
from fraiseql_events.jupyter.running import kernel as service
from fraiseql_events.jupyter.sinking import Filling, Sinks
from tests.kernels import ROOT, Kernel
from tests.log.test_object_store import bucket as bucket
from tests.waiting import until

PUBLISH = """
import pandas as pd
from fraiseql_events import EventClient
from fraiseql_events.shop import Shop
events = pd.DataFrame(Shop(seed=7, per_day=500).events(3_000))
%fraiseql publish events
"""
ASK = """
import clickhouse_connect
def ask(query):
    with clickhouse_connect.get_client(interface="chdb", path="clickhouse") as engine:
        return [tuple(row) for row in engine.query(query).result_rows]
"""
EXACT = "SELECT count(), uniqExact(offset) FROM {}"
VIEW = "application/vnd.jupyter.widget-view+json"
URL = "--url chdb://clickhouse"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel, and in it a service with 3 000 events."""
    with Kernel(tmp_path_factory.mktemp("notebook")) as kernel:
        kernel.run("%load_ext fraiseql_events")
        kernel.run("%fraiseql serve --listen 127.0.0.1:0 --store shop")
        kernel.run(PUBLISH)
        kernel.run(ASK)
        until(lambda: kernel.run("print(EventClient().status()['offset'])") == "3000\n")
        yield kernel


@pytest.fixture
def table(kernel: Kernel) -> Iterator[str]:
    """The name of a table of the test's own, whose sink ends with the test."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield name
    kernel.run("%fraiseql sink clickhouse --stop")


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where somebody listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def wait_for(kernel: Kernel, sink: str, offset: int) -> None:
    until(lambda: kernel.run(f"print({sink}.status.offset)") == f"{offset}\n")


def wait_until_shown(kernel: Kernel, words: str) -> None:
    """Waits until the status has heard it of the sink, which says it once a second."""
    until(lambda: kernel.run("%fraiseql status") == "" and words in text(kernel))


def text(kernel: Kernel) -> str:
    """What the last cell showed as HTML, without the tags."""
    return " ".join(re.sub("<[^>]+>", " ", kernel.html).split())


def test_a_cell_fills_a_table_and_shows_how_that_goes(kernel: Kernel, table: str) -> None:
    kernel.run(f"sink = %fraiseql sink clickhouse {URL} --table {table}")
    wait_for(kernel, "sink", 2_999)
    kernel.run(f"again = %fraiseql sink clickhouse {URL} --table {table}\nagain")
    assert text(kernel).startswith(
        f"ClickHouseSink table chdb://clickhouse default.{table} events all, from grpc://127"
    )
    assert text(kernel).endswith("state live inserted 3,000 events by this sink, up to offset 2,999 behind 0 events")
    assert kernel.run("print(again is sink)") == "True\n"
    assert kernel.run(f"print(ask('{EXACT.format(table)}'))") == "[(3000, 3000)]\n"
    wait_until_shown(kernel, f"sink chdb://clickhouse default.{table}: live, 0 events behind")
    said = kernel.run(f"%fraiseql sink clickhouse --stop --table {table}")
    assert said == f"chdb://clickhouse default.{table} is no longer filled\n"
    kernel.run("sink")
    assert "state stopped" in text(kernel)
    assert "behind" not in text(kernel)


def test_several_tables_are_filled_and_each_can_be_ended(kernel: Kernel, table: str) -> None:
    for entity in ("Order", "User"):
        kernel.run(f"{entity} = %fraiseql sink clickhouse {URL} --table {table}_{entity} --entity {entity}")
        wait_for(kernel, entity, 2_999)
    assert kernel.run(f"print(ask('SELECT DISTINCT entity_type FROM {table}_User'))") == "[('User',)]\n"
    (said,) = kernel.fail(f"%fraiseql sink clickhouse {URL} --table {table}_User")
    assert said == (
        f"ServiceError: chdb://clickhouse default.{table}_User is filled with other options: "
        f"`%fraiseql sink clickhouse --table {table}_User --stop` ends that"
    )
    (said,) = kernel.fail(f"%fraiseql sink clickhouse {URL} --table {table}_User --entity User --once")
    assert "is being filled, nothing is left to load" in said
    kernel.run(f"%fraiseql sink clickhouse --stop --table {table}_User")
    assert kernel.run("print(Order.status.state, User.status.state)") == "live stopped\n"
    assert kernel.run(f"%fraiseql sink clickhouse --stop --table {table}") == "no such sink runs in this notebook\n"
    kernel.run("%fraiseql sink clickhouse --stop")
    assert kernel.run("print(Order.status.state)") == "stopped\n"
    assert kernel.run("%fraiseql sink clickhouse --stop") == "no sink runs in this notebook\n"


def test_loading_once_says_how_much_and_loads_it_once(kernel: Kernel, table: str) -> None:
    for events in (3_000, 0):
        kernel.run(f"loaded = %fraiseql sink clickhouse {URL} --table {table} --once\nloaded")
        assert re.match(
            rf"Loaded loaded {events:,} events in \d+\.\d s.* the table reaches offset 2,999$", text(kernel)
        )
        assert kernel.run("print(loaded.events)") == f"{events}\n"
    assert kernel.run(f"print(ask('{EXACT.format(table)}'))") == "[(3000, 3000)]\n"


def test_the_folder_of_the_store_is_where_clickhouse_keeps_its_tables(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("%load_ext fraiseql_events\n%fraiseql serve --listen 127.0.0.1:0 --store shop")
        kernel.run("%fraiseql sink clickhouse")
        assert "chdb://shop/clickhouse default.fraiseql_events" in text(kernel)
        assert (tmp_path / "shop" / "clickhouse").is_dir()


def test_a_store_that_is_no_folder_wants_the_clickhouse_named(bucket: str, nats_url: str) -> None:
    pool_before = pa.default_memory_pool()
    service.serve(Wanted(store=bucket, nats=nats_url, listen="127.0.0.1:0"))
    try:
        with pytest.raises(InvalidArgument, match=r"s3://bucket/shop is no folder .*: name a ClickHouse with --url"):
            Filling().open()
    finally:
        service.stop()
        pa.set_memory_pool(pool_before)


@pytest.mark.parametrize("address", ["", "--listen 127.0.0.1:{port}"], ids=["the same address", "another address"])
def test_a_restart_leaves_a_sink_to_go_on(tmp_path: Path, address: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = address.format(port=probe.getsockname()[1])
    with Kernel(tmp_path) as kernel:
        kernel.run("%load_ext fraiseql_events\n%fraiseql serve --listen 127.0.0.1:0 --store shop")
        kernel.run(f"{PUBLISH}{ASK}")
        kernel.run(f"sink = %fraiseql sink clickhouse {URL}")
        wait_for(kernel, "sink", 2_999)
        kernel.run(f"%fraiseql restart {address}")
        kernel.run("%fraiseql publish events")
        kernel.run(f"sink = %fraiseql sink clickhouse {URL}")
        wait_for(kernel, "sink", 5_999)
        assert kernel.run(f"print(ask('{EXACT.format('fraiseql_events')}'))") == "[(6000, 6000)]\n"
        assert kernel.run("%fraiseql stop") == "stopped\n"
        assert kernel.run("print(sink.status.state, sink.failure)") == "stopped None\n"
        kernel.run("%fraiseql restart")  # what was stopped is started again, but for the sinks
        assert kernel.run("%fraiseql sink clickhouse --stop") == "no sink runs in this notebook\n"


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_token_is_found(tmp_path: Path, option: str) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("%load_ext fraiseql_events")
        kernel.run(f"%fraiseql serve --listen 127.0.0.1:0 --store shop --token of-this-kernel {option}")
        kernel.run(PUBLISH)
        kernel.run("sink = %fraiseql sink clickhouse")
        wait_for(kernel, "sink", 2_999)
        wait_until_shown(kernel, "live, 0 events behind")


@pytest.mark.parametrize("serve_first", [True, False])
def test_a_kernel_that_ends_ends_its_sinks_well(tmp_path: Path, serve_first: bool) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("%load_ext fraiseql_events\n%fraiseql serve --listen 127.0.0.1:0 --store shop")
        kernel.run(PUBLISH)
        kernel.run(f"sink = %fraiseql sink clickhouse {URL}")
        wait_for(kernel, "sink", 2_999)
        if not serve_first:
            kernel.run("%fraiseql restart")  # the service has begun after the sink
        started = time.monotonic()
        kernel.shut_down()
        assert time.monotonic() - started < 4  # after five seconds it would have been killed
    with clickhouse_connect.get_client(interface="chdb", path=str(tmp_path / "clickhouse")) as engine:
        newest = "SELECT offset, events FROM fraiseql_events_position ORDER BY number DESC LIMIT 1"
        # no block is begun and not known to be complete, as it would be after a kill
        assert [tuple(row) for row in engine.query(newest).result_rows] == [(2_999, 0)]


def test_a_clickhouse_that_never_answers_does_not_hold_up_the_end(silent: str) -> None:
    code = f"""
import sys, time
from fraiseql_events import ClickHouseSink, serve
from fraiseql_events.jupyter.sinking import Filling, _Started, sinks
sink = ClickHouseSink({silent!r}, source="grpc://127.0.0.1:1").start()
sinks._started[sink.name] = _Started(Filling(url={silent!r}), sink, None)
sinks._end_with_the_kernel()
time.sleep(1)
print(sink.status.state, flush=True)
"""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "starting\n", "")
    assert time.monotonic() - started < 3 * sinking.END_SECONDS


def test_one_that_does_not_end_in_time_is_told_from_one_that_does(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinking, "END_SECONDS", 0.5)
    sinks = Sinks()
    for url in (silent, "http://127.0.0.1:1"):
        sink = Filling(url=url, source="grpc://127.0.0.1:1").open().start()
        sinks._started[url] = sinking._Started(Filling(url=url), sink, None)
    time.sleep(0.3)
    assert sinks.stop() == {silent: False, "http://127.0.0.1:1": True}


@pytest.mark.parametrize("option", ["", "--once"])
def test_the_stop_button_ends_a_wait_for_clickhouse(kernel: Kernel, table: str, silent: str, option: str) -> None:
    kernel.begin(f"print('begun')\n%fraiseql sink clickhouse --url {silent} --table {table} {option}", "begun\n")
    time.sleep(1)
    error, seconds = kernel.interrupt()
    assert (error, seconds < 2 * sinking.END_SECONDS) == ("KeyboardInterrupt", True)
    assert kernel.error == ["KeyboardInterrupt"]  # in place of a traceback
    bars = [each["content"]["data"] for each in kernel.heard if each["msg_type"] == "display_data"]
    assert [VIEW in bar for bar in bars] == ([True] if option else [])
    assert kernel.run("%fraiseql sink clickhouse --stop") == "no sink runs in this notebook\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "InvalidArgument: %fraiseql sink: the following arguments are required: kind"),
        ("duckdb", "InvalidArgument: %fraiseql sink: argument kind: invalid choice: 'duckdb'"),
        ("clickhouse --ur x", "InvalidArgument: %fraiseql sink does not take '--ur' (did you mean --url?)"),
        ("clickhouse --url ftp://x", "InvalidArgument: 'ftp://x' is no address of a ClickHouse"),
        ("clickhouse --table 'a b'", "InvalidArgument: 'a b' is no name for a table"),
        ("clickhouse --keep-days 0", "InvalidArgument: keep_days is 0: a whole number of days is expected"),
        ("clickhouse --url http://127.0.0.1:1", "SinkUnavailable: no ClickHouse at http://127.0.0.1:1 answers"),
        ("clickhouse --url http://127.0.0.1:1 --once", "SinkUnavailable: no ClickHouse at http://127.0.0.1:1 answers"),
        ("clickhouse --from grpc://127.0.0.1:1", "ServerUnavailable: no server answers at grpc://127.0.0.1:1"),
        ("clickhouse --from grpc://127.0.0.1:1 --once", "ServerUnavailable: no server answers at grpc://127.0.0.1:1"),
    ],
)
def test_wrong_use_is_one_sentence_and_an_error(kernel: Kernel, options: str, says: str) -> None:
    lines = kernel.fail(f"%fraiseql sink {options}")
    assert len(lines) == 1
    assert lines[0].startswith(says)
    assert kernel.run("%fraiseql sink clickhouse --stop") == "no sink runs in this notebook\n"


@pytest.mark.parametrize("option", ["", "--once"])
def test_without_the_extra_package_one_sentence_says_what_to_install(kernel: Kernel, table: str, option: str) -> None:
    kernel.run("import sys; found = sys.modules['clickhouse_connect']; sys.modules['clickhouse_connect'] = None")
    try:
        lines = kernel.fail(f"%fraiseql sink clickhouse {URL} --table {table} {option}")
    finally:
        kernel.run("sys.modules['clickhouse_connect'] = found")
    assert lines == ["SinkError: ClickHouse wants one more package: pip install 'fraiseql-events[clickhouse]'"]
    assert not [each for each in kernel.heard if each["msg_type"] == "stream" and each["content"]["name"] == "stderr"]


def test_the_tab_key_offers_what_can_be_filled_and_with_what(kernel: Kernel) -> None:
    def complete(code: str) -> list[str]:
        return list(kernel.client.complete(code, len(code), reply=True, timeout=10)["content"]["matches"])

    assert complete("%fraiseql si") == ["sink"]
    assert complete("%fraiseql sink ")[0] == "clickhouse"
    assert complete("%fraiseql sink clickhouse --ta") == ["--table"]
    assert complete("%fraiseql sink clickhouse --entity ") == ["Order", "Product", "User"]
