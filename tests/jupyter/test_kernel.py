"""``%fraiseql`` in a real kernel: a service in its cells, and one sentence where something is wrong."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fraiseql_events import EventClient, Unauthenticated, serve
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import EmbeddedNats
from tests.bridge.test_bridge import manage
from tests.kernels import Kernel
from tests.waiting import lives, until

FRAME = """
import polars as pl
from datetime import datetime, UTC
df = pl.DataFrame({
    "event_id": [str(n) for n in range(5)], "event_type": "Order.Created", "entity_type": "Order",
    "entity_id": "o-1", "timestamp": datetime(2026, 1, 31, tzinfo=UTC), "data": '{"total": 9.5}',
    "user_id": None, "org_id": None,
})
"""

#: A follow that is interrupted so long after its stream was asked for.
INTERRUPTED = """
import os, signal, threading
from fraiseql_events import EventClient
from fraiseql_events.jupyter.following import follow
def opened():
    press = threading.Timer({seconds}, os.kill, [os.getpid(), signal.SIGINT])
    press.start() if {seconds} else press.run()
    return EventClient({url!r}).stream("Order", follow=True, frames="arrow")
before = signal.getsignal(signal.SIGINT)
print(follow(opened, "polars").width, signal.getsignal(signal.SIGINT) == before)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("notebook")) as kernel:
        kernel.run("%load_ext fraiseql_events")
        yield kernel


@pytest.fixture
def serving(kernel: Kernel) -> Iterator[Kernel]:
    kernel.run(f"%fraiseql serve --listen 127.0.0.1:0 --store {uuid.uuid4().hex}")
    yield kernel
    kernel.run("%fraiseql stop")


def wait_for(kernel: Kernel, rows: int) -> None:
    until(lambda: kernel.run("print(EventClient().status()['offset'])") == f"{rows}\n")


def test_a_cell_serves_publishes_and_reads_without_any_address(serving: Kernel) -> None:
    serving.run(FRAME)
    assert serving.run("%fraiseql publish df") == "5 events published\n"
    serving.run("from fraiseql_events import EventClient")
    wait_for(serving, 5)
    serving.run("back = %fraiseql stream Order --start 2026-01-31 --end 2026-01-31 --columns event_id data --limit 3")
    assert serving.run("print(back.shape, type(back).__module__.partition('.')[0])") == "(3, 2) polars\n"
    serving.run("back = %fraiseql stream Order --columns event_id,data --event-types Order.Created,Order.Paid")
    assert serving.run("print(back.shape)") == "(5, 2)\n"
    serving.run("back = %fraiseql stream Order --frames pandas")
    assert serving.run("print(back.shape, type(back).__module__.partition('.')[0])") == "(5, 8) pandas\n"


def test_a_publish_that_stops_half_way_says_which_row_to_go_on_with(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run(FRAME)
    with EmbeddedNats(tmp_path) as server:
        source = StreamOptions(nats=server.url)
        limits = {"subjects": [source.subject], "max_msgs": 3, "discard": "new"}
        manage(source, lambda js: js.add_stream(name=source.stream, **limits))
        (said,) = kernel.fail(f"%fraiseql publish df --nats {server.url}")
        assert said.endswith("maximum messages exceeded; the first 3 are published: go on with number 4")
        assert kernel.printed == "3 events published; to go on: `rest = df[3:]`, and `%fraiseql publish rest`\n"
        manage(source, lambda js: js.purge_stream(source.stream))
        assert kernel.run(f"rest = df[3:]\n%fraiseql publish rest --nats {server.url}") == "2 events published\n"


def test_sql_in_a_cell_answers_with_a_frame(serving: Kernel) -> None:
    serving.run(FRAME + "\nfrom fraiseql_events import EventClient")
    serving.run("%fraiseql publish df")
    wait_for(serving, 5)
    serving.run("%%fraiseql sql out\nselect sum((data->>'$.total')::double) as total from \"Order\"")
    assert serving.run("print(out.item())") == "47.5\n"
    serving.run("%%fraiseql sql\nselect count(*) as n from events")
    assert "n" in serving.text
    assert serving.fail('%%fraiseql sql\nselect * from "Ordr"')[0].startswith(
        "InvalidArgument: there is no table 'Ordr'"
    )
    assert serving.fail("%%fraiseql stream\nOrder")[0].startswith(
        "InvalidArgument: %%fraiseql stream: only %%fraiseql sql"
    )
    assert serving.fail("%fraiseql sql")[0].startswith("InvalidArgument: %fraiseql sql has no query")


def test_a_demo_serves_and_fills_the_stream_until_it_is_stopped(kernel: Kernel) -> None:
    kernel.run("from fraiseql_events import EventClient")
    kernel.run("%fraiseql demo --rate 300")
    assert "300 events a second" in kernel.text
    try:
        count = "print(EventClient().status()['offset'])"
        until(lambda: int(kernel.run(count)) > 100, 20)
        kernel.run("%fraiseql restart")
        before = int(kernel.run(count))
        until(lambda: int(kernel.run(count)) > before + 50, 20)
        assert kernel.run("%fraiseql demo") == ""
        said = kernel.run("%fraiseql demo --rate 250")
        assert said == "the shop that was open has closed: this one has other options\n"
        assert "250 events a second" in kernel.text
        assert kernel.run("%fraiseql serve --demo") == ""
        assert kernel.run("%fraiseql demo --stop") == "the shop is closed\n"
        assert kernel.run("%fraiseql demo --stop") == "no shop is open in this notebook\n"
        after = kernel.run(f"import time; time.sleep(0.5); {count}")
        assert kernel.run(f"time.sleep(0.5); {count}") == after
        kernel.run("%fraiseql demo")
        assert kernel.fail("%fraiseql demo --rate 0")[0].startswith("InvalidArgument: the rate 0 must be more than 0")
    finally:
        kernel.run("%fraiseql stop")
    assert "fraiseql-events-shop" not in kernel.run("import threading; print([t.name for t in threading.enumerate()])")


def test_serving_again_shows_what_runs_and_other_options_say_how_to_restart(serving: Kernel) -> None:
    serving.run("_ = %fraiseql status")
    serving.run("store = _.wanted.store")
    serving.run("%fraiseql serve --listen 127.0.0.1:0 --store {store}")
    assert "in this kernel" in serving.html
    assert "127.0.0.1" in serving.text
    (said,) = serving.fail("%fraiseql serve --store another")
    assert said.startswith("ServiceError: a service with other options runs in this notebook at grpc://127.0.0.1:")
    assert "`%fraiseql restart`" in said
    serving.run("%fraiseql restart --store another")
    assert "another" in serving.html


@pytest.mark.parametrize("listen", ["", " --listen 127.0.0.1:0"])
def test_a_restart_keeps_the_address_and_the_events(kernel: Kernel, listen: str) -> None:
    serve = f"%fraiseql serve --store {uuid.uuid4().hex}{listen}"
    kernel.run("from fraiseql_events import EventClient")
    kernel.run(serve)
    try:
        kernel.run(FRAME + "\nclient = EventClient()")
        kernel.run("%fraiseql publish df")
        until(lambda: kernel.run("print(client.status()['offset'])") == "5\n")
        url = kernel.run("print(client.url)")
        kernel.run("%fraiseql restart")
        until(lambda: kernel.run("print(client.status()['offset'])") == "5\n")
        assert kernel.run("print(EventClient().url)") == url
        kernel.run(serve)  # running all cells again is no error
    finally:
        assert kernel.run("%fraiseql stop") == "stopped\n"
    assert kernel.run("%fraiseql stop") == "nothing runs in this notebook\n"
    kernel.run("%fraiseql restart")  # what was stopped is what is started again
    try:
        assert kernel.run("print(EventClient().url)") == url
        until(lambda: kernel.run("print(client.status()['offset'])") == "5\n")
    finally:
        kernel.run("%fraiseql stop")


def test_orders_are_there_when_the_cell_that_opens_a_shop_has_ended(kernel: Kernel) -> None:
    kernel.run("from fraiseql_events import EventClient")
    try:
        kernel.run(f"%fraiseql serve --demo --listen 127.0.0.1:0 --store {uuid.uuid4().hex}\nclient = EventClient()")
        assert kernel.run("print(client.read('Order').height > 0)") == "True\n"
    finally:
        kernel.run("%fraiseql stop")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (
            '%fraiseql sql select * from "Order"',
            "InvalidArgument: %fraiseql sql has no query in its line: begin the cell with %%fraiseql sql, and write it",
        ),
        (
            "%%fraiseql sql select data->>'$.total'\nfrom events",
            "InvalidArgument: %fraiseql sql has no query in its line",
        ),
        (
            "%fraiseql stream Order --columns event_id,dat",
            "InvalidArgument: there is no column 'dat' (did you mean data?",
        ),
        ("%fraiseql serv", "InvalidArgument: %fraiseql has no command 'serv' (did you mean serve?): there are serve,"),
        ("%fraiseql serve --stor x", "InvalidArgument: %fraiseql serve does not take '--stor' (did you mean --store?)"),
        ("%fraiseql serve --listen nowhere", "InvalidArgument: 'nowhere' is no address to listen on: write HOST:PORT"),
        ("%fraiseql serve --nats nats://127.0.0.1:1", "NatsUnavailable: no NATS server answers at nats://127.0.0.1:1"),
        ("%fraiseql stream", "InvalidArgument: %fraiseql stream: the following arguments are required: entity"),
        ("%fraiseql stream Order --limit many", "InvalidArgument: %fraiseql stream: argument --limit: invalid int"),
        ("%fraiseql stream Order --start soon", "InvalidArgument: start 'soon' is neither a date nor"),
        ("%fraiseql stream 'Order", "InvalidArgument: %fraiseql stream 'Order: no closing quotation"),
        ("%%fraiseql sql class\nselect 1", "InvalidArgument: 'class' is no name for a variable"),
        ("%fraiseql publish empty", "ServiceError: nothing runs in this notebook: `%fraiseql serve` first"),
        ("%fraiseql publish dg", "InvalidArgument: there is no variable 'dg'"),
        ("%fraiseql publish FRAME --nats nats://127.0.0.1:1", "InvalidArgument: str is no frame"),
        (
            "%fraiseql stream Order --url grpc://127.0.0.1:1",
            "ServerUnavailable: no server answers at grpc://127.0.0.1:1: start one with `%fraiseql serve`, or name",
        ),
    ],
)
def test_wrong_use_is_one_sentence_and_an_error(kernel: Kernel, cell: str, says: str) -> None:
    kernel.run("FRAME = 'text'\nimport pyarrow as pa\nfrom fraiseql_events import SCHEMA\nempty = SCHEMA.empty_table()")
    lines = kernel.fail(cell)
    assert len(lines) == 1
    assert lines[0].startswith(says)


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_advice_in_a_notebook_names_the_magic(kernel: Kernel, option: str) -> None:
    (said,) = kernel.fail(f"%fraiseql serve --nats nats://127.0.0.1:1 {option}")
    assert said.endswith("): name another with --nats, or none: `%fraiseql serve` brings its own")
    (said,) = kernel.fail("from fraiseql_events import EventClient\nEventClient('grpc://127.0.0.1:1').entities()")[:1]
    assert "grpc://127.0.0.1:1: start one with `%fraiseql serve`, or name another" in said


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_service_that_cannot_start_says_why(kernel: Kernel, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (said,) = kernel.fail(f"%fraiseql serve {option} --listen 127.0.0.1:{port}")
    assert said.startswith(f"ServiceError: cannot listen on 127.0.0.1:{port} (Address already in use): name another")


def test_an_error_in_a_cell_of_several_lines_says_in_which(kernel: Kernel) -> None:
    kernel.run("from fraiseql_events import EventClient")
    lines = kernel.fail("x = 1\nfor _ in range(1):\n    EventClient('grpc://127.0.0.1:1').read('Order')\n")
    assert lines[0].startswith("ServerUnavailable: no server answers")
    assert lines[1] == "  in line 3: EventClient('grpc://127.0.0.1:1').read('Order')"
    assert len(lines) == 2


def test_bars_are_shown_unless_the_environment_says_no(kernel: Kernel) -> None:
    cell = "from fraiseql_events.progress import bar\nwith bar('reading') as shown: print(shown.disable)"
    assert kernel.run(cell) == "False\n"
    kernel.run("import os; os.environ['TQDM_DISABLE'] = '1'")
    assert kernel.run(cell) == "True\n"
    kernel.run("del os.environ['TQDM_DISABLE']")


def test_help_reads_well(kernel: Kernel) -> None:
    text = kernel.run("%fraiseql")
    assert all(f"%fraiseql {name} " in text for name in ("serve", "restart", "stop", "status", "stream", "publish"))
    assert "%fraiseql stop     Stops the service, and the shop" in text
    assert kernel.run("%fraiseql help") == text
    assert kernel.run("%fraiseql help serve") == kernel.run("%fraiseql serve --help")
    text = kernel.run("%fraiseql serve --help")
    assert text.startswith("  %fraiseql serve [--nats URL]")
    assert text.count("--subprocess ") == text.count("Starts bridge") == 1
    assert kernel.run("%fraiseql serve --help") == text


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_kernel_that_ends_leaves_nothing_and_one_that_dies_no_harm(tmp_path: Path, option: str) -> None:
    def serve() -> list[psutil.Process]:
        kernel.run("%load_ext fraiseql_events")
        kernel.run(f"%fraiseql serve {option} --store store")
        assert "quiet" in kernel.html or "live" in kernel.html
        children = kernel.process.children(recursive=True)
        assert children
        return children

    with Kernel(tmp_path) as kernel:
        children = serve()
        kernel.restart()
        assert not any(child.is_running() for child in children)
        children = serve()
        kernel.kill()
        kernel.start_again()
        children += serve()
        kernel.shut_down()
        until(lambda: not any(child.is_running() for child in children), 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_kernel_that_is_killed_leaves_no_process_and_the_next_has_all_events(
    tmp_path: Path, option: str, number: signal.Signals
) -> None:
    serve = f"%load_ext fraiseql_events\n%fraiseql serve {option} --store store --listen 127.0.0.1:0"
    with Kernel(tmp_path) as kernel:
        kernel.run(serve)
        kernel.run(FRAME + "\nfrom fraiseql_events import EventClient")
        kernel.run("%fraiseql publish df")
        wait_for(kernel, 5)
        children = kernel.process.children(recursive=True)
        assert {"nats-server", "sh"} <= {child.name() for child in children}
        kernel.kill(number)
        kernel.start_again()
        kernel.run(serve)  # at once
        kernel.run("from fraiseql_events import EventClient")
        wait_for(kernel, 5)
        until(lambda: not any(lives(child) for child in children), 15)
        children = kernel.process.children(recursive=True)
        kernel.kill(number)
        until(lambda: not any(lives(child) for child in children), 15)


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_jupyterlab_that_is_killed_leaves_no_process(tmp_path: Path, option: str) -> None:
    code = f"""
import os
from pathlib import Path
from tests.kernels import Kernel
kernel = Kernel(Path({str(tmp_path)!r}))
kernel.run("%load_ext fraiseql_events")
kernel.run("%fraiseql serve {option} --store store --listen 127.0.0.1:0")
print(kernel.process.pid, *(child.pid for child in kernel.process.children(recursive=True)), flush=True)
os.kill(os.getpid(), 9)
"""
    shown = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    processes = [psutil.Process(int(pid)) for pid in shown.stdout.split()]
    assert len(processes) == (4 if option else 3)
    until(lambda: not any(lives(each) for each in processes), 20)


def test_a_service_beside_the_kernel_shows_its_process(kernel: Kernel) -> None:
    kernel.run(f"%fraiseql serve --subprocess --listen 127.0.0.1:0 --store {uuid.uuid4().hex}")
    try:
        for _ in range(2):
            (beside,) = [child for child in kernel.process.children() if "beside" in " ".join(child.cmdline())]
            assert f"in process {beside.pid}, beside this kernel" in kernel.html
            assert f"runs in process {beside.pid}, beside this kernel" in kernel.text
            kernel.run("%fraiseql status")
    finally:
        kernel.run("%fraiseql stop")


def test_the_tab_key_offers_commands_options_and_entity_types(serving: Kernel) -> None:
    def complete(code: str, behind: str = "") -> list[str]:
        reply = serving.client.complete(code + behind, len(code), reply=True, timeout=10)
        replaced = code[reply["content"]["cursor_start"] :]
        assert all(
            match.lower().lstrip('"').startswith(replaced.lower().lstrip('"')) for match in reply["content"]["matches"]
        )
        return list(reply["content"]["matches"])

    serving.run(FRAME)
    serving.run("%fraiseql publish df")
    serving.run("from fraiseql_events import EventClient")
    wait_for(serving, 5)
    assert complete("%fraiseql ")[:3] == ["serve", "stop", "restart"]
    assert complete("%fraiseql se") == ["serve"]
    assert complete("%fraiseql serve --st") == ["--store"]
    assert complete("x = %fraiseql stream Or") == ["Order"]
    assert complete("%fraiseql publish d") == ["df"]
    assert complete("x = %fraiseql stream Order --frames pa") == ["pandas"]
    serving.run("_2 = _3 = df")
    offered = complete("%fraiseql publish ")
    assert "df" in offered
    assert not [name for name in offered if name.startswith("_")]
    assert complete("x = %fraiseql stream Order --columns ent") == ["entity_type", "entity_id"]
    assert complete("x = %fraiseql stream Order --columns event_id,da") == ["data"]
    assert complete("x = %fraiseql stream Order --columns event_id of") == ["offset"]
    assert complete("x = %fraiseql stream Order --columns event_id --li") == ["--limit"]
    assert complete("x = %fraiseql stream Order --event-types ") == ["Order.Created"]
    assert complete("x = %fraiseql stream User --event-types Or") == []
    assert complete("%%fraiseql sql\nselect *\nfrom ") == ['"Order"', "events"]
    assert complete("%%fraiseql sql\nselect * from events join or") == ['"Order"']
    assert complete('%%fraiseql sql\nselect * from "Or', '"') == ['"Order']
    assert '"Order"' not in complete("select *\nfrom ")


def test_a_follow_shows_a_table_that_moves_and_the_stop_button_gives_a_frame(serving: Kernel) -> None:
    serving.run("%fraiseql demo --rate 100")
    code = "df = %fraiseql stream '*' --follow --columns entity_type event_type\nprint(df.columns, df.height > 0)"
    serving.start(code)
    tables = serving.shown_within(3)
    assert len(tables) >= 2
    assert "following" in tables[-1]["text/plain"]
    assert "<td" in tables[-1]["text/html"]
    error, seconds = serving.interrupt()
    assert (error, seconds < 5) == (None, True)
    assert serving.printed == "['entity_type', 'event_type'] True\n"
    until(lambda: serving.run("print(EventClient().status()['streams'])") == "0\n")


def test_a_follow_says_what_is_the_matter_and_one_that_fails_keeps_what_it_had(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run(FRAME)
    with serve(embedded=True, store=tmp_path / "one", listen="127.0.0.1:0") as service:
        url = service.url
        assert url is not None
        kernel.run(f"%fraiseql publish df --nats {service.nats_url}")
        until(lambda: service.status()["offset"] == 5)
        kernel.start(f"kept = %fraiseql stream Order --follow --url {url}")
        kernel.shown_within(1)
    tables = kernel.shown_within(3)
    assert "asking again: no server answers at" in tables[-1]["text/plain"]
    assert "start one with `%fraiseql serve`" in tables[-1]["text/html"]
    with serve(embedded=True, store=tmp_path / "other", listen=url.removeprefix("grpc://")):
        (table,) = kernel.shown_within(5)[-1:]
        assert "5 events, failed: offset 4 is one of the history" in table["text/plain"]
        assert kernel.run("print(kept.height)") == "5\n"
        assert "o-1" in table["text/html"]


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.1])
def test_an_interrupt_at_any_moment_of_a_follow_gives_a_frame(kernel: Kernel, tmp_path: Path, seconds: float) -> None:
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        assert kernel.run(INTERRUPTED.format(url=service.url, seconds=seconds)) == "8 True\n"


def test_a_follow_with_a_limit_ends_by_itself_with_all_of_it(serving: Kernel) -> None:
    serving.run("%fraiseql demo --rate 500\nfrom fraiseql_events import EventClient")
    serving.run("df = %fraiseql stream Order --follow --limit 50 --frames pandas")
    assert serving.run("print(type(df).__module__.partition('.')[0], len(df))") == "pandas 50\n"
    serving.run("arrow = %fraiseql stream Order --follow --limit 50 --frames arrow")
    shown = [each["content"]["data"] for each in serving.heard if each["msg_type"] == "update_display_data"]
    assert "50 events, ended" in shown[-1]["text/plain"]
    assert serving.run("print(arrow.num_rows)") == "50\n"


@pytest.mark.parametrize("option", ["", "--subprocess"])
def test_a_token_keeps_others_out_and_this_kernel_needs_none(kernel: Kernel, option: str) -> None:
    kernel.run("token = 'of-this-kernel'\nfrom fraiseql_events import EventClient")
    kernel.run(f"running = %fraiseql serve --listen 127.0.0.1:0 --store {uuid.uuid4().hex} --token {{token}} {option}")
    try:
        assert kernel.run("print(EventClient().status()['dead_letters'])") == "0\n"
        by_another_name = "EventClient(running.url.replace('127.0.0.1', 'localhost')).entities()"
        assert kernel.run(f"print({by_another_name})") == "{}\n"
        url = kernel.run("print(running.url)").strip()
        with pytest.raises(Unauthenticated, match=f"the server at {url}"):
            EventClient(url).entities()  # the test is another process
        assert EventClient(url, token="of-this-kernel").entities() == {}
        kernel.run("running")
        assert "of-this-kernel" not in kernel.html + kernel.text
        for options in ("", f" --store {uuid.uuid4().hex} {option}"):
            kernel.run(f"%fraiseql restart{options}")
            assert kernel.run("print(EventClient().status()['dead_letters'])") == "0\n"
            with pytest.raises(Unauthenticated):
                EventClient(kernel.run("print(running.url)").strip()).entities()
    finally:
        kernel.run("%fraiseql stop")
