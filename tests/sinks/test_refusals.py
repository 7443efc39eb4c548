"""What ends a sink over HTTP, in a sentence: a wrong password, a table that is gone, a server that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from fraiseql_events import ClickHouseSink, Service, SinkError
from tests.sinks.exact import assert_exact
from tests.sinks.server import HTML, Answer, ClickHouseServer, exception, plain
from tests.sinks.statements import BLOCK, COUNTS, MISSING
from tests.tls import TlsProxy
from tests.waiting import until

Ask = Callable[[str], list[tuple[Any, ...]]]
Run = Callable[[str], object]


def test_a_wrong_password_ends_it_and_is_shown_nowhere(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with ClickHouseServer(tmp_path / "clickhouse", users={"ada": "Kubla"}) as server:
        wrong, right = (server.url.replace("//", f"//ada:{word}@") for word in ("Xanadu", "Kubla"))
        with ClickHouseSink(wrong, source=service.url) as sink, pytest.raises(SinkError) as error:
            sink.load()
        shown = server.url.replace("//", "//ada:***@")
        assert str(error.value) == (
            f"ClickHouse at {shown} does not take this user and password: write CLICKHOUSE_USER and "
            "CLICKHOUSE_PASSWORD, or http://USER:PASSWORD@HOST:PORT"
        )
        told = [*map(str, caplog.messages), repr(sink), str(sink.status), str(service.status())]
        assert not [each for each in told if "Xanadu" in each]
        with ClickHouseSink(right, source=service.url) as sink:
            assert sink.load().events == 3_000
        assert not [each for each in (*caplog.messages, repr(sink), str(service.status())) if "Kubla" in each]


def test_a_table_that_is_dropped_ends_it(
    sink: ClickHouseSink, service: Service, server: ClickHouseServer, publish: Callable[[int], int], run: Run
) -> None:
    sink.start()
    until(lambda: sink.status.offset == 2_999)
    run("DROP TABLE fraiseql_events")
    publish(10)
    until(lambda: sink.failure)
    assert str(sink.failure) == (
        f"ClickHouse at {server.url} refuses: Table default.fraiseql_events does not exist; start the sink again, "
        "which says what is gone or makes it"
    )
    with ClickHouseSink(server.url, source=service.url) as again, pytest.raises(SinkError, match="drop that, too"):
        again.load()


def test_a_database_that_may_not_be_made_ends_it(service: Service, server: ClickHouseServer) -> None:
    said = (
        "ada: Not enough privileges. To execute this query, it's necessary to have the grant CREATE DATABASE ON shop.*"
    )
    server.fault(matching="CREATE DATABASE", instead=exception(497, "ACCESS_DENIED", said))
    with ClickHouseSink(server.url, source=service.url, database="shop") as sink, pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == (
        f"ClickHouse at {server.url} refuses: {said}; a sink's user makes its tables, selects and inserts, and reads "
        "system.tables, system.columns and system.processes"
    )


def test_tables_that_somebody_else_has_made_are_filled_by_who_may_make_none(
    service: Service, server: ClickHouseServer, publish: Callable[[int], int], ask: Ask
) -> None:
    with ClickHouseSink(server.url, source=service.url) as sink:
        sink.load()
    publish(10)
    server.fault(matching="CREATE", times=1_000, instead=exception(497, "ACCESS_DENIED", "Not enough privileges"))
    with ClickHouseSink(server.url, source=service.url) as sink:
        until(lambda: service.status()["offset"] == 3_010)
        assert sink.load().events == 10
    assert_exact(ask, 3_010)


def test_a_table_of_another_shape_ends_it(service: Service, server: ClickHouseServer, run: Run) -> None:
    run("CREATE TABLE fraiseql_events (offset UInt8) ENGINE = MergeTree ORDER BY offset")
    with (
        ClickHouseSink(server.url, source=service.url) as sink,
        pytest.raises(SinkError, match="offset is UInt8 instead of UInt64, event_id"),
    ):
        sink.follow()


PORTS = "; ClickHouse speaks HTTP at port 8123, and HTTPS at 8443"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, HTML, kind="text/html"), "what it says is not understood" + PORTS),
        (Answer(404, HTML, kind="text/html"), "HTTP status 404" + PORTS),
        (Answer(200, b""), "what it says is not understood" + PORTS),
        (Answer(200, b"1\t2\n"), "what it says is not understood" + PORTS),
    ],
)
def test_a_server_that_is_no_clickhouse_ends_it(answer: Answer, said: str) -> None:
    with plain(lambda _: answer) as url, ClickHouseSink(url, source="grpc://127.0.0.1:1") as sink:
        with pytest.raises(SinkError) as error:
            sink.follow()
        assert str(error.value) == f"{url} answers, but as no ClickHouse does: {said}"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (413, "a proxy before ClickHouse at {url} takes no block of this size (HTTP status 413): let it take 256 MB"),
        (401, "ClickHouse at {url} does not take this user and password: HTTP status 401, of a proxy before it"),
    ],
)
def test_a_proxy_that_does_not_let_it_through_ends_it(
    status: int, said: str, sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.fault(matching=BLOCK, instead=Answer(status, HTML, kind="text/html"))
    with pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == said.format(url=server.url)


def test_a_page_in_the_place_of_an_answer_is_not_taken_for_a_block(
    sink: ClickHouseSink, service: Service, server: ClickHouseServer, ask: Ask
) -> None:
    server.fault(matching=BLOCK, instead=Answer(200, HTML, kind="text/html"))
    with pytest.raises(SinkError, match="it does not say that it has taken a block"):
        sink.load()
    with ClickHouseSink(server.url, source=service.url) as again:
        again.load()
    assert_exact(ask, 3_000)


@pytest.mark.parametrize("moment", [MISSING, COUNTS])
def test_a_page_in_the_place_of_rows_is_not_taken_for_them(
    moment: str, sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.fault(matching=BLOCK, behind=True)
    server.fault(matching=moment, instead=Answer(200, HTML, kind="text/html"))
    with pytest.raises(SinkError, match="answers, but as no ClickHouse does: what it says is not understood"):
        sink.load()


def test_https_at_a_port_of_http_ends_it(server: ClickHouseServer) -> None:
    url = server.url.replace("http", "https")
    with ClickHouseSink(url, source="grpc://127.0.0.1:1") as sink, pytest.raises(SinkError) as error:
        sink.follow()
    assert str(error.value) == f"{url} speaks no TLS: write http:// for a ClickHouse without"


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(
    service: Service, server: ClickHouseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    proxy = TlsProxy(int(server.url.rpartition(":")[2]), authority)
    url = f"https://localhost:{proxy.port}"
    with ClickHouseSink(url, source=service.url) as sink, pytest.raises(SinkError) as error:
        sink.load()
    assert str(error.value).startswith(f"the certificate of {url} is not trusted: ")
    assert str(error.value).endswith("name the file of its certificates (PEM) in SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    with ClickHouseSink(url, source=service.url) as sink:
        assert sink.load().events == 3_000
    other = f"https://127.0.0.1:{proxy.port}"
    with ClickHouseSink(other, source=service.url) as sink, pytest.raises(SinkError, match="IP address mismatch"):
        sink.load()
    proxy.close()


def test_an_empty_answer_is_not_taken_for_no_rows(service: Service, server: ClickHouseServer, ask: Ask) -> None:
    server.fault(matching=BLOCK, behind=True)
    empty = server.fault(matching=MISSING, times=2, instead=Answer(200, b""))
    with ClickHouseSink(server.url, source=service.url) as sink, pytest.raises(SinkError, match="which question"):
        sink.load()
    assert empty.met
    server.faults.clear()
    with ClickHouseSink(server.url, source=service.url) as sink:
        sink.load()
    assert_exact(ask, 3_000)
