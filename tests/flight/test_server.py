"""The server as a bare Flight client sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import flight

from fraiseql_events import SCHEMA, EventClient, InvalidArgument, Service, ServiceError
from fraiseql_events.flight.server import EventServer, parse_listen
from tests.mixed import Mixer, an_event, as_read
from tests.places import place_of
from tests.waiting import until

Fill = Callable[..., Service]


@pytest.fixture
def connect() -> Iterator[Callable[[Service], flight.FlightClient]]:
    clients: list[flight.FlightClient] = []

    def connect(service: Service) -> flight.FlightClient:
        clients.append(flight.connect(service.url))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


Connect = Callable[[Service], flight.FlightClient]


def rows(client: flight.FlightClient, ticket: bytes) -> list[str]:
    return client.do_get(flight.Ticket(ticket)).read_all()["event_id"].to_pylist()


DAYS = [an_event(id=str(n), timestamp=f"2026-01-{n:02d}T12:00:00Z", entity_type="Order" if n % 2 else "User")
        for n in range(1, 11)]  # fmt: skip


def test_the_lines_that_fraiseql_users_know_work(filled: Fill, connect: Connect) -> None:
    service = filled(*DAYS)
    reader = connect(service).do_get(flight.Ticket(b"events:Order:2026-01-01:2026-01-31:streaming"))
    assert reader.schema == SCHEMA
    frames = [pl.from_arrow(chunk.data) for chunk in reader]
    assert sum(len(frame) for frame in frames) == 5


@pytest.mark.parametrize(
    ("ticket", "expected"),
    [
        (b"events:*", "1 2 3 4 5 6 7 8 9 10"),
        (b"events:User", "2 4 6 8 10"),
        (b"events:Nobody", ""),
        (b"events:*:2026-01-04:2026-01-06", "4 5 6"),
        (b"events:*:2026-01-04T12:00:00Z:2026-01-06T12:00:00Z", "4 5"),
        (b"events:*::2026-01-02", "1 2"),
        (b"events:Order:2026-01-08", "9"),
        (b'{"type":"ObserverEvents","entity_type":"*","limit":3}', "1 2 3"),
        (b'{"type":"ObserverEvents","entity_type":"*","limit":0}', ""),
        (b'{"type":"ObserverEvents","entity_type":"Order","after_offset":4,"limit":2}', "7 9"),
        (b'{"type":"ObserverEvents","entity_type":"*","event_types":["None"]}', ""),
    ],
)
def test_tickets_are_answered(filled: Fill, connect: Connect, ticket: bytes, expected: str) -> None:
    client = connect(filled(*DAYS))
    assert rows(client, ticket) == expected.split()
    for descriptor in (flight.FlightDescriptor.for_command(ticket), flight.FlightDescriptor.for_path(ticket)):
        info = client.get_flight_info(descriptor)
        assert info.total_records == len(expected.split())
        (endpoint,) = info.endpoints
        assert client.do_get(endpoint.ticket).read_all()["event_id"].to_pylist() == expected.split()
        assert info.schema == client.get_schema(descriptor).schema == SCHEMA


def test_committed_events_are_answered_like_those_in_memory(filled: Fill, connect: Connect) -> None:
    service = filled(*DAYS, commit_events=1, tail_bytes=0)
    service.log.flush()
    client = connect(service)
    assert rows(client, b"events:*:2026-01-04:2026-01-06") == ["4", "5", "6"]
    assert client.get_flight_info(flight.FlightDescriptor.for_path("events:User::2026-01-04")).total_records == 2


def test_fewer_columns_come_when_the_ticket_asks_for_them(filled: Fill, connect: Connect) -> None:
    client = connect(filled(*DAYS))
    ticket = b'{"type":"ObserverEvents","entity_type":"User","columns":["offset","event_id"]}'
    table = client.do_get(flight.Ticket(ticket)).read_all()
    assert table.to_pydict() == {"offset": [1, 3, 5, 7, 9], "event_id": ["2", "4", "6", "8", "10"]}
    assert client.get_schema(flight.FlightDescriptor.for_command(ticket)).schema == table.schema


def test_each_batch_has_its_offsets_and_the_last_one_says_so(filled: Fill, connect: Connect) -> None:
    client = connect(filled(*DAYS))
    ticket = b'{"type":"ObserverEvents","entity_type":"User","batch_size":2}'
    chunks = list(client.do_get(flight.Ticket(ticket)))
    assert [chunk.data.num_rows for chunk in chunks] == [2, 2, 1]
    assert [place_of(chunk) for chunk in chunks] == [
        {"first_offset": 1, "last_offset": 3, "until": 10},
        {"first_offset": 5, "last_offset": 7, "until": 10},
        {"first_offset": 9, "last_offset": 9, "end": True, "next_offset": 10},
    ]


def test_an_empty_answer_is_one_batch_without_rows(filled: Fill, connect: Connect) -> None:
    client = connect(filled(*DAYS))
    (chunk,) = client.do_get(flight.Ticket(b"events:Nobody"))
    assert chunk.data.num_rows == 0
    end = {"first_offset": None, "last_offset": None, "end": True, "next_offset": 10}
    assert place_of(chunk) == end


@pytest.mark.parametrize("limit", [0, 3, 10, 11])
def test_a_limited_answer_can_be_gone_on_with(filled: Fill, connect: Connect, limit: int) -> None:
    client = connect(filled(*DAYS))
    ticket = {"type": "ObserverEvents", "entity_type": "*", "limit": limit}
    *_, chunk = client.do_get(flight.Ticket(json.dumps(ticket).encode()))
    place = json.loads(chunk.app_metadata.to_pybytes())["next_offset"]
    more = {"type": "ObserverEvents", "entity_type": "*", "after_offset": place - 1}
    first = rows(client, json.dumps(ticket).encode())
    assert first + rows(client, json.dumps(more).encode()) == [str(n) for n in range(1, 11)]


def test_messages_stay_small_however_large_the_events_are(filled: Fill, connect: Connect) -> None:
    service = filled(*[an_event(data="x" * 300_000) for _ in range(40)], an_event(data="y" * 5_000_000))
    chunks = list(connect(service).do_get(flight.Ticket(b"events:*")))
    sizes = [chunk.data.nbytes for chunk in chunks]
    assert sum(chunk.data.num_rows for chunk in chunks) == 41
    assert max(sizes[:-1]) <= 2 << 20
    assert chunks[-1].data.num_rows == 1


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """The kind of a refusal, and its sentence."""
    with pytest.raises((pa.ArrowException, flight.FlightError)) as caught:
        call()
    text = str(caught.value)
    assert "Traceback" not in text
    assert len(text) < 1500
    return type(caught.value).__name__, text


def test_what_is_wrong_with_a_ticket_is_said_without_a_traceback(filled: Fill, connect: Connect) -> None:
    client = connect(filled(*DAYS))
    path = flight.FlightDescriptor.for_path
    kind, text = refusal(lambda: client.do_get(flight.Ticket(b"events:Order:soon")))
    assert (kind, "start 'soon' is neither a date" in text) == ("ArrowInvalid", True)
    assert refusal(lambda: client.do_get(flight.Ticket(b"nothing")))[0] == "ArrowInvalid"
    assert refusal(lambda: client.do_get(flight.Ticket(b"events:" + b"x" * 262_144)))[0] == "ArrowInvalid"
    other = b'{"type":"GraphQLQuery","query":"{ orders { id } }"}'
    assert refusal(lambda: client.do_get(flight.Ticket(other)))[0] == "ArrowNotImplementedError"
    assert refusal(lambda: client.get_flight_info(path("nothing")))[0] == "ArrowKeyError"
    assert refusal(lambda: client.get_flight_info(path("events", "Order")))[0] == "ArrowKeyError"
    assert refusal(lambda: client.get_flight_info(path("events:Order:soon")))[0] == "ArrowInvalid"
    command = flight.FlightDescriptor.for_command(b"nothing")
    assert refusal(lambda: client.get_schema(command))[0] == "ArrowInvalid"
    assert refusal(lambda: list(client.do_action("other")))[0] == "ArrowNotImplementedError"
    writer, _ = client.do_put(path("events:Order"), SCHEMA)
    assert refusal(writer.close)[0] == "ArrowNotImplementedError"


def test_every_entity_type_is_a_flight_that_can_be_asked_for(filled: Fill, connect: Connect) -> None:
    cases = list(Mixer(4).cases(500))
    client = connect(filled(*[case.payload for case in cases]))
    events = [event for case in cases for event in case.events]
    infos = list(client.list_flights())
    assert [json.loads(info.app_metadata)["entity_type"] for info in infos] == sorted(
        {event["entity_type"] for event in events}
    )
    for info in infos:
        about = json.loads(info.app_metadata)
        mine = [event for event in events if event["entity_type"] == about["entity_type"]]
        assert info.total_records == about["events"] == len(mine)
        assert info.schema == SCHEMA
        asked = client.get_flight_info(flight.FlightDescriptor.for_path(*info.descriptor.path))
        assert as_read(client.do_get(asked.endpoints[0].ticket).read_all()) == mine


def test_the_actions_answer_with_json(filled: Fill, connect: Connect) -> None:
    client = connect(filled(an_event(), b"bad", b"\xff\x00"))
    assert [action.type for action in client.list_actions()] == ["status", "dead-letters", "sink"]
    (status,) = [json.loads(result.body.to_pybytes()) for result in client.do_action("status")]
    assert status["offset"] == 1
    assert status["dead_letters"] == 2
    assert status["entities"]["Order"]["first"] == status["entities"]["Order"]["last"] == "2026-01-31T12:00:00.123456Z"
    letters = [json.loads(result.body.to_pybytes()) for result in client.do_action("dead-letters")]
    assert [letter["sequence"] for letter in letters] == [2, 3]
    assert letters[0]["payload"] == "bad"
    assert letters[1]["payload_base64"] == "/wA="
    assert letters[0]["reason"].startswith("not valid JSON")


def test_a_server_that_closes_ends_its_streams(filled: Fill, connect: Connect) -> None:
    service = filled(*[an_event(data="x" * 200_000)] * 200)
    reader = connect(service).do_get(flight.Ticket(b"events:*"))
    reader.read_chunk()
    assert service._server is not None
    service._server.close()
    with pytest.raises(flight.FlightUnavailableError, match="the server is stopping"):
        reader.read_all()


def test_a_taken_port_is_one_sentence(filled: Fill) -> None:
    service = filled(an_event())
    assert service.url is not None
    address = service.url.removeprefix("grpc://")
    with pytest.raises(ServiceError, match=f"cannot listen on {address} .*--listen"):
        EventServer(service.log, address, status=dict)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        (":0", ("127.0.0.1", 0)),
        ("[::1]:7", ("::1", 7)),
        ("grpc://0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_addresses_to_listen_on(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["", "localhost", "host:", "host:x", "host:70000", "host:²"])
def test_wrong_addresses_to_listen_on(listen: str) -> None:
    with pytest.raises(InvalidArgument, match="write HOST:PORT"):
        parse_listen(listen)


def test_the_entity_type_named_star_is_not_all(filled: Fill, connect: Connect) -> None:
    client = connect(filled(an_event(id="1"), an_event(id="2", entity_type="*")))
    found = {info.descriptor.path[0]: info.total_records for info in client.list_flights()}
    assert found == {b"events:%2A": 1, b"events:Order": 1}
    assert rows(client, b"events:%2A") == ["2"]
    assert rows(client, b"events:*") == ["1", "2"]


def test_a_file_that_is_gone_is_one_sentence_without_its_path(filled: Fill, connect: Connect, tmp_path: Path) -> None:
    service = filled(*DAYS, commit_events=1, tail_bytes=0)
    service.log.flush()
    for path in (tmp_path / "store" / "events").rglob("*.parquet"):
        path.unlink()
    _, text = refusal(lambda: rows(connect(service), b"events:*"))
    assert "a file of the history cannot be read" in text
    assert str(tmp_path) not in text


def test_more_streams_than_the_server_serves_are_refused_with_a_sentence(filled: Fill) -> None:
    service = filled(*DAYS)
    server = EventServer(service.log, "127.0.0.1:0", status=dict, max_streams=2)
    with flight.connect(server.url) as client:
        follow = flight.Ticket(b"events:*:::streaming")
        readers = [client.do_get(follow) for _ in range(2)]
        for reader in readers:
            reader.read_chunk()
        with pytest.raises(flight.FlightUnavailableError, match="resource exhausted: 2 streams are open"):
            client.do_get(follow).read_chunk()
        readers[0].cancel()
        until(lambda: server.streams == 1)
        assert client.do_get(follow).read_chunk().data.num_rows == 10
    server.close()


def test_a_filter_that_finds_little_gives_signs_of_life_and_holds_nothing_back(
    filled: Fill, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraiseql_events.log.reading.LOOK_OFFSETS", 10)
    monkeypatch.setattr("fraiseql_events.log.reading.DENSE", 5)  # one in ten is little here
    monkeypatch.setattr("fraiseql_events.flight.wire.HEARTBEAT_SECONDS", 0.0)
    service = filled(*[an_event(id=str(n), entity_type="Rare" if n in (0, 95) else "Order") for n in range(100)])
    chunks = list(connect(service).do_get(flight.Ticket(b"events:Rare")))
    places = [place_of(chunk) for chunk in chunks]
    assert [place["first_offset"] for place in places if place["first_offset"] is not None] == [0, 95]
    assert places[0]["first_offset"] == 0
    beats = [place["next_offset"] for place in places if place.get("heartbeat")]
    assert beats == list(range(10, 110, 10))
    assert places[-1] == {"first_offset": None, "last_offset": None, "end": True, "next_offset": 100}
    assert EventClient(service.url).read("*").height == 100


def test_where_much_is_found_a_look_is_longer(filled: Fill, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraiseql_events.log.reading.LOOK_OFFSETS", 10)
    monkeypatch.setattr("fraiseql_events.log.reading.LONG_LOOK_OFFSETS", 70)
    monkeypatch.setattr("fraiseql_events.flight.wire.HEARTBEAT_SECONDS", 0.0)
    service = filled(*[an_event(id=str(n), entity_type="Rare" if n < 5 else "Order") for n in range(100)])
    places = map(place_of, connect(service).do_get(flight.Ticket(b"events:Rare")))
    looked = [place["next_offset"] for place in places if place.get("heartbeat")]
    assert looked == [10, 80, 90, 100]
