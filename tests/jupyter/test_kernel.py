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
    serving.run("back = %fraiseql stream Order --frames pandas")
    assert serving.run("print(back.shape, type(back).__module__.partition('.')[0])") == "(5, 8) pandas\n"


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
            "ServerUnavailable: no server answers at grpc://127.0.0.1:1",
        ),
    ],
)
def test_wrong_use_is_one_sentence_and_an_error(kernel: Kernel, cell: str, says: str) -> None:
    kernel.run("FRAME = 'text'\nimport pyarrow as pa\nfrom fraiseql_events import SCHEMA\nempty = SCHEMA.empty_table()")
    lines = kernel.fail(cell)
    assert len(lines) == 1
    assert lines[0].startswith(says)


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
    def complete(line: str) -> list[str]:
        reply = serving.client.complete(line, reply=True, timeout=10)
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
        other = "running.url.replace('127.0.0.1', 'localhost')"
        (said,) = kernel.fail(f"EventClient({other}).entities()")
        assert said.startswith("Unauthenticated: the server at grpc://localhost:")
        assert kernel.run(f"print(EventClient({other}, token=token).entities())") == "{}\n"
        kernel.run("running")
        assert "of-this-kernel" not in kernel.html + kernel.text
        for options in ("", f" --store {uuid.uuid4().hex} {option}"):
            kernel.run(f"%fraiseql restart{options}")
            assert kernel.run("print(EventClient().status()['dead_letters'])") == "0\n"
            kernel.fail(f"EventClient({other}).entities()")
    finally:
        kernel.run("%fraiseql stop")
