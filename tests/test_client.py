"""The client: frames in every form, one pass, errors in one sentence, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import flight

from fraiseql_events import (
    SCHEMA,
    EventClient,
    EventsError,
    InvalidArgument,
    ServerError,
    ServerUnavailable,
    Service,
    StreamConsumed,
    StreamCut,
    UnknownName,
)
from fraiseql_events import served as serving
from fraiseql_events.event import OFFSET
from fraiseql_events.ticket import Compression
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS, format_time
from tests.mixed import Mixer, an_event, as_read, dumps
from tests.proxy import Proxy
from tests.waiting import until

Fill = Callable[..., Service]
COUNT = 2_000


@pytest.fixture(scope="module")
def shared(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two thousand events of every shape, one half in the history."""
    from fraiseql_events import LogOptions, serve
    from fraiseql_events.bridge.consumer import StreamOptions
    from fraiseql_events.bridge.publisher import publish

    cases = list(Mixer(5).cases(COUNT))
    half = len(cases) // 2
    source = StreamOptions(nats_url, "client", "client.>")
    publish([("client.x", case.payload) for case in cases[:half]], source)
    with serve(
        nats=nats_url,
        stream="client",
        subject="client.>",
        store=tmp_path_factory.mktemp("store"),
        listen="127.0.0.1:0",
        log=LogOptions(tail_bytes=0, commit_seconds=1000),
    ) as service:
        until(lambda: service.status()["stream_seq"] == half)
        service.log.flush()
        publish([("client.x", case.payload) for case in cases[half:]], source)
        until(lambda: service.status()["stream_seq"] == len(cases))
        yield service


@pytest.fixture
def client(shared: Service) -> Iterator[EventClient]:
    with EventClient(shared.url) as client:
        yield client


def events() -> list[dict[str, Any]]:
    return [event for case in Mixer(5).cases(COUNT) for event in case.events]


def test_a_stream_gives_polars_frames_batch_by_batch(client: EventClient) -> None:
    frames = list(client.stream("*", batch_size=300))
    assert all(isinstance(frame, pl.DataFrame) and 0 < frame.height <= 300 for frame in frames)
    assert as_read(pl.concat(frames).to_arrow().cast(SCHEMA)) == events()


def test_other_frames_come_when_asked_for(client: EventClient) -> None:
    assert all(isinstance(frame, pd.DataFrame) for frame in client.stream("*", frames="pandas"))
    batches = list(client.stream("*", frames="arrow"))
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    assert as_read(pa.Table.from_batches(batches)) == events()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_stream_is_compressed_on_its_way_when_asked_for(shared: Service, compression: Compression) -> None:
    assert shared.url is not None
    carried = []
    for wanted in (None, compression):
        with (
            Proxy(int(shared.url.rpartition(":")[2])) as proxy,
            EventClient(f"grpc://127.0.0.1:{proxy.port}") as client,
        ):
            assert as_read(client.read("*", frames="arrow", compression=wanted)) == events()
            carried.append(proxy.carried)
    assert carried[1] < 0.8 * carried[0]


def test_an_unknown_compression_is_refused_at_once(client: EventClient) -> None:
    with pytest.raises(InvalidArgument, match="compression 'gzip' is unknown: zstd or lz4"):
        client.stream("*", compression="gzip")  # type: ignore[call-overload]


def test_an_empty_stream_is_a_frame_of_its_columns(client: EventClient) -> None:
    with pytest.warns(UnknownName):
        frame = client.read("Nobody", columns=["timestamp", "data"])
    assert frame.schema == {"timestamp": pl.Datetime("us", "UTC"), "data": pl.String}
    assert frame.height == 0


def test_a_stream_is_one_frame_of_each_kind(client: EventClient) -> None:
    rows = len(events())
    assert client.stream("*").to_polars().height == rows
    assert client.stream("*").to_pandas().shape == (rows, 8)
    assert client.stream("*").to_arrow().schema == SCHEMA
    assert client.stream("*").to_reader().read_all().num_rows == rows
    assert client.read("*").height == rows
    assert len(client.read("*", frames="pandas")) == rows
    assert client.read("*", frames="arrow").num_rows == rows


def test_anything_that_takes_the_arrow_c_stream_takes_a_stream(client: EventClient) -> None:
    stream = client.stream("*")
    assert duckdb.sql("select count(*) from stream").fetchall() == [(len(events()),)]
    assert stream.offset == len(events()) - 1
    assert pl.DataFrame(client.stream("Order")).height == sum(event["entity_type"] == "Order" for event in events())
    assert pa.table(client.stream("*", limit=3)).num_rows == 3
    assert len(pd.DataFrame.from_arrow(client.stream("*"))) == len(events())
    assert len(nanoarrow.ArrayStream(client.stream("*")).read_all()) == len(events())


def test_a_stream_can_be_read_asynchronously(client: EventClient) -> None:
    async def read() -> int:
        return sum([frame.height async for frame in client.stream("*", batch_size=100)])

    assert asyncio.run(read()) == len(events())


def test_an_asynchronous_reader_can_be_cancelled(client: EventClient) -> None:
    async def read() -> None:
        async for _ in client.stream("*", batch_size=1):
            await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    until(lambda: not readers())


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fraiseql-events-read"]


def test_a_reader_that_stops_early_leaves_no_thread(client: EventClient) -> None:
    with client.stream("*", batch_size=1) as stream:
        for _ in stream:
            break
    for _ in client.stream("*", batch_size=1):
        break
    gc.collect()
    until(lambda: not readers())


def test_a_stream_that_is_left_open_is_warned_about(client: EventClient) -> None:
    iterator = iter(stream := client.stream("*", batch_size=1))
    next(iterator)
    frames = [iterator]
    with pytest.warns(ResourceWarning, match="left open"):
        stream.__del__()
    frames.clear()
    until(lambda: not readers())


@pytest.mark.parametrize(
    "read", [list, lambda stream: stream.to_polars(), lambda stream: stream.to_reader().read_all()]
)
def test_a_second_pass_is_refused(client: EventClient, read: Callable[[Any], Any]) -> None:
    stream = client.stream("*")
    read(stream)
    with pytest.raises(StreamConsumed, match="ask the client for another"):
        read(stream)


def test_an_answer_without_events_has_its_columns(client: EventClient) -> None:
    with pytest.warns(UnknownName):
        assert list(client.stream("Nobody")) == []
    with pytest.warns(UnknownName):
        assert client.read("Nobody").columns == SCHEMA.names
    with pytest.warns(UnknownName):
        assert client.read("Nobody", columns=["data"], frames="pandas").columns.tolist() == ["data"]


def test_days_are_strings_dates_or_datetimes(client: EventClient) -> None:
    day = date(2026, 1, 1)
    rows = client.read("*", "2026-01-01T00:10:00Z", day).height
    assert rows == client.read("*", datetime(2026, 1, 1, 0, 10, tzinfo=UTC), "2026-01-01").height
    micros = [event["timestamp"] for event in events()]
    low = 1767225600_000000 + 600_000000
    assert rows == sum(low <= micro < 1767225600_000000 + 86_400_000000 for micro in micros)


def test_a_stream_can_be_gone_on_with(client: EventClient) -> None:
    stream = client.stream("*", limit=700)
    first = stream.to_arrow()
    assert stream.offset == 699
    rest = client.stream("*", after_offset=stream.offset).to_arrow()
    assert as_read(pa.concat_tables([first, rest])) == events()


def test_offsets_can_be_a_column(client: EventClient) -> None:
    assert client.read("*", columns=["offset"])["offset"].to_list() == list(range(len(events())))


def test_entities_and_status_tell_what_there_is(client: EventClient) -> None:
    found = client.entities()
    assert found.keys() == {event["entity_type"] for event in events()}
    times = [event["timestamp"] for event in events() if event["entity_type"] == "Order"]
    assert found["Order"].events == len(times)
    assert format_time(min(times)) == found["Order"].first.isoformat().replace("+00:00", "Z")
    status = client.status()
    assert status["offset"] == len(events())
    assert status["lag"] == 0
    assert 0 < status["committed"] < status["offset"]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda c: c.stream(""), "the entity type is missing"),
        (lambda c: c.stream(7), "entity is a int"),
        (lambda c: c.stream("Order", "yesterday"), "start 'yesterday' is neither a date nor an RFC 3339 time"),
        (lambda c: c.stream("Order", "2026-02-01", "2026-01-01"), "is after end"),
        (lambda c: c.stream("Order", end=5), "end is a int: it must be a date"),
        (lambda c: c.stream("Order", limit=-1), "limit is -1"),
        (lambda c: c.stream("Order", limit="3"), "limit is '3'"),
        (lambda c: c.stream("Order", columns="data"), "write columns=['data']"),
        (lambda c: c.stream("Order", columns=["dat"]), "did you mean data?"),
        (lambda c: c.stream("Order", event_types=[]), "event_types is empty"),
        (lambda c: c.stream("Order", batch_size=0), "batch_size is 0"),
        (lambda c: c.stream("Order", frames="polar"), "did you mean polars?"),
        (lambda c: c.read("Order", frames="spark"), "frames='spark' is unknown"),
        (lambda c: EventClient("http://localhost:50051"), "write grpc://HOST:PORT"),
        (lambda c: EventClient(5), "write grpc://HOST:PORT"),
        (lambda c: EventClient("grpc://localhost:99999"), "has the port 99999: there are those from 1 to 65535"),
        (lambda c: EventClient("localhost:0"), "has the port 0: there are those from 1 to 65535"),
        (lambda c: EventClient("grpc://localhost:\u0665"), "has no port"),
        (lambda c: c.stream("Order", columns=5), "it must be a list of strings"),
        (lambda c: c.stream("Order", pd.NaT), "start is NaT"),
        (lambda c: c.stream("Order", limit=True), "limit is True"),
        (lambda c: c.stream(None), "entity is None"),
    ],
)
def test_wrong_arguments_fail_before_the_network(ask: Callable[[EventClient], Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ask(EventClient("grpc://127.0.0.1:1"))
    assert says in str(caught.value)


def test_an_unreachable_server_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_addresses", {})  # other tests' services in this process
    monkeypatch.setenv("FRAISEQL_EVENTS_URL", "grpc://127.0.0.1:1")
    client = EventClient()
    for ask in (client.status, client.entities, lambda: list(client.stream("*")), lambda: client.read("*")):
        with pytest.raises(ServerUnavailable, match="127.0.0.1:1: start one with `fraiseql-events serve --embedded`"):
            ask()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("backend", "offset", "text"),
    [("numpy_nullable", "Int64", "string"), ("pyarrow", "int64[pyarrow]", "string[pyarrow]")],
)
def test_pandas_columns_are_of_the_kind_that_is_wanted(filled: Fill, backend: Any, offset: str, text: str) -> None:
    client = EventClient(filled(an_event(data={"n": 1}), an_event(data={})).url)
    wanted: Any = {
        "columns": ["offset", "event_id"],
        "payload": {"n": int},
        "frames": "pandas",
        "dtype_backend": backend,
    }
    for frame in (client.read("Order", **wanted), next(iter(client.stream("Order", **wanted)))):
        assert frame["offset"].dtype == frame["n"].dtype == offset
        assert frame["event_id"].dtype == text
        assert frame["n"].isna().tolist() == [False, True]
    assert client.stream("Order", columns=["offset"]).to_pandas(dtype_backend=backend)["offset"].dtype == offset
    with pytest.raises(InvalidArgument, match=r"dtype_backend='numpy' is unknown: numpy_nullable or pyarrow"):
        client.read("Order", frames="pandas", dtype_backend="numpy")  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument, match="is for frames='pandas', not 'polars'"):
        client.read("Order", dtype_backend=backend)


def test_an_address_needs_no_scheme() -> None:
    assert EventClient("localhost:50051").url == "grpc://localhost:50051"
    assert EventClient("[::1]:50051").url == "grpc://[::1]:50051"


def test_a_client_without_an_address_finds_the_newest_service_of_its_process(
    start: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_addresses", {})
    monkeypatch.setenv("FRAISEQL_EVENTS_URL", "grpc://127.0.0.1:1")
    first, second = start(tmp_path / "one"), start(tmp_path / "two")
    assert EventClient().url == second.url
    second.close()
    assert EventClient().url == first.url
    first.close()
    assert EventClient().url == "grpc://127.0.0.1:1"


def test_objects_show_themselves_in_a_notebook(filled: Fill) -> None:
    service = filled(an_event(entity_type="<Order>"))
    client = EventClient(service.url)
    for shown in (client._repr_html_(), service._repr_html_()):
        assert "&lt;Order&gt;" in shown
        assert str(service.url) in shown
        assert "1 event (" in shown
    stream = client.stream("Order", limit=5)
    assert "not yet asked for" in stream._repr_html_()
    assert "timestamp[us, tz=UTC]" in stream._repr_html_()
    service.close()
    assert "no server answers at" in client._repr_html_()


def test_an_end_that_is_not_marked_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow's shutdown ends a stream as if it were complete; only the marker tells."""
    monkeypatch.setattr("fraiseql_events.resuming.GIVE_UP_SECONDS", 0.5)

    class Cutting(flight.FlightServerBase):  # type: ignore[misc]
        def do_get(self, context: Any, ticket: Any) -> Any:
            batch = pa.RecordBatch.from_pylist([], schema=SCHEMA)
            place = json.dumps({"first_offset": 3, "last_offset": 4}).encode()
            return flight.GeneratorStream(SCHEMA, iter([(batch, pa.py_buffer(place))]))

    with Cutting("grpc://127.0.0.1:0") as server:
        stream = EventClient(f"grpc://127.0.0.1:{server.port}").stream("*")
        with pytest.raises(StreamCut, match="ended the stream after offset 4, before its end"):
            list(stream)
        assert stream.reconnects > 0


def test_what_a_server_answers_is_one_sentence() -> None:
    class Failing(flight.FlightServerBase):  # type: ignore[misc]
        def do_get(self, context: Any, ticket: Any) -> Any:
            raise ValueError("no\nthing")

    with Failing("grpc://127.0.0.1:0") as server, pytest.raises(EventsError) as caught:
        EventClient(f"grpc://127.0.0.1:{server.port}").read("*")
    assert str(caught.value) == "no"


class Breaking(flight.FlightServerBase):  # type: ignore[misc]
    """Answers with two events, and then with an error."""

    error: Exception = flight.FlightServerError("the history cannot be read")

    def do_get(self, context: Any, ticket: Any) -> Any:
        return flight.GeneratorStream(pa.schema([OFFSET]), self.answer())

    def answer(self) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        batch = pa.record_batch([pa.array([3, 4], pa.int64())], schema=pa.schema([OFFSET]))
        yield batch, json.dumps({"first_offset": 3, "last_offset": 4}).encode()
        raise self.error


@pytest.mark.parametrize("follow", [False, True])
def test_an_error_after_events_says_where_to_go_on(*, follow: bool) -> None:
    with Breaking("grpc://127.0.0.1:0") as server:
        client = EventClient(f"grpc://127.0.0.1:{server.port}")
        with pytest.raises(ServerError) as caught:
            client.read("*", columns=["offset"], follow=follow)
    assert str(caught.value).endswith("be read; 2 events had come before: after_offset=4 goes on behind them")


def test_so_does_one_that_asking_again_did_not_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraiseql_events.resuming.GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(Breaking, "error", flight.FlightUnavailableError("no more"))
    with Breaking("grpc://127.0.0.1:0") as server:
        stream = EventClient(f"grpc://127.0.0.1:{server.port}").stream("*", columns=["offset"])
        with pytest.raises(StreamCut, match=r"events had come before: after_offset=4 goes on behind them$"):
            stream.to_arrow()


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
any_event = st.fixed_dictionaries(
    {
        "event_id": texts, "event_type": texts, "entity_type": texts.filter(lambda text: len(text.encode()) <= 80),
        "entity_id": texts, "timestamp": st.integers(MIN_MICROS, MAX_MICROS), "data": values,
        "user_id": st.none() | texts, "org_id": st.none() | texts,
    }
)  # fmt: skip


@pytest.fixture
def quick(start: Callable[..., Service]) -> Service:
    """A service that commits every few events and keeps none in memory."""
    return start(commit_events=2, commit_seconds=0.05, tail_bytes=0, compact_files=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(any_event, min_size=1, max_size=4))
def test_any_event_survives_from_json_to_a_frame(
    quick: Service, send: Callable[..., int], some: list[dict[str, Any]]
) -> None:
    before = quick.status()["offset"]
    send(*[dumps(event | {"timestamp": format_time(event["timestamp"])}) for event in some])
    until(lambda: quick.status()["committed"] == before + len(some))
    client = EventClient(quick.url)
    assert as_read(client.stream("*", after_offset=before - 1).to_arrow()) == some
    frame = client.read("*", after_offset=before - 1)
    assert as_read(frame.to_arrow().cast(SCHEMA)) == some
    client.close()


def test_a_client_can_be_closed_and_used_again(client: EventClient) -> None:
    client.close()
    client.close()
    assert client.status()["dead_letters"] > 0
    assert repr(client).startswith("EventClient('grpc://127.0.0.1:")
    assert "not yet asked for" in repr(client.stream("Order"))


def test_one_client_serves_many_threads(client: EventClient) -> None:
    heights: list[int] = []
    threads = [threading.Thread(target=lambda: heights.append(client.read("*").height)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heights == [len(events())] * 8


def test_dead_letters_are_listed(filled: Fill) -> None:
    service = filled(b"bad", an_event(), b"worse")
    client = EventClient(service.url)
    assert [letter["payload"] for letter in client.dead_letters()] == ["bad", "worse"]
    client.close()


def test_numbers_of_numpy_are_numbers(client: EventClient) -> None:
    offset = client.read("*", frames="pandas", columns=["offset"], limit=5)["offset"].max()
    assert client.read("*", limit=np.int64(3), after_offset=offset)["event_id"].len() == 3


def test_an_answer_from_beyond_the_end_does_not_go_back(client: EventClient) -> None:
    stream = client.stream("*", after_offset=10**9)
    assert stream.to_arrow().num_rows == 0
    assert stream.offset == 10**9


def test_a_closed_stream_says_so(client: EventClient) -> None:
    stream = client.stream("*", batch_size=1)
    iterator = iter(stream)
    next(iterator)
    stream.close()
    with pytest.raises(StreamConsumed, match="closed before its end"):
        list(iterator)
    unread = client.stream("*")
    unread.close()
    with pytest.raises(StreamConsumed):
        unread.to_arrow()


@pytest.mark.parametrize("ask", ["status", "entities", "live", "sql", "dead_letters"])
def test_an_interrupt_ends_the_wait_for_a_server_that_hangs(ask: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # connections are made, and never answered
        client = EventClient(f"127.0.0.1:{hanging.getsockname()[1]}")
        calls: dict[str, Callable[[], object]] = {
            "status": client.status,
            "entities": client.entities,
            "live": lambda: client.live("Order"),
            "sql": lambda: client.sql('select 1 from "Order"'),
            "dead_letters": lambda: list(client.dead_letters()),
        }
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            calls[ask]()
        client.close()
        assert time.monotonic() - began < 5


def test_arrow_computes_with_what_was_read_without_a_warning(filled: Fill) -> None:
    """It warns of numbers that do not lie as they are computed with, on standard error."""
    service = filled(*[an_event(id=f"e-{number}" + number % 7 * "x") for number in range(3_000)])
    code = f"""
from fraiseql_events import EventClient
columns = ["event_id", "timestamp", "offset"]
table = EventClient({service.url!r}).read("*", columns=columns, batch_size=100, frames="arrow")
print(table.group_by("timestamp").aggregate([("offset", "sum")]).num_rows)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
