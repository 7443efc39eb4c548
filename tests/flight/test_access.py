"""A token: whoever has it may ask, and nobody else, whatever the call and whatever the client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import flight

from fraiseql_events import EventClient, InvalidArgument, Service, Unauthenticated, serve
from fraiseql_events.served import withdraw
from fraiseql_events.token import TOKEN_VARIABLE
from tests.mixed import an_event
from tests.processes import Serve, run
from tests.waiting import until

TOKEN = "s3cret-of-the-test"


@pytest.fixture
def guarded(source: Any, send: Callable[..., int], tmp_path: Path) -> Any:
    send(an_event(id="1"), b"bad")
    options = {"nats": source.nats, "stream": source.stream, "subject": source.subject}
    with serve(**options, store=tmp_path / "store", listen="127.0.0.1:0", token=TOKEN) as service:
        until(lambda: service.status()["stream_seq"] == 2)
        yield service


def other_name(service: Service) -> str:
    """Its address, which this process forgets: as another process sees it."""
    assert service.url is not None
    withdraw(service.url)
    return service.url


def test_with_the_token_everything_is_as_without(guarded: Service) -> None:
    with EventClient(other_name(guarded), token=TOKEN) as client:
        assert client.read("*").height == 1
        assert client.entities()["Order"].events == 1
        assert client.status()["dead_letters"] == 1
        assert len(list(client.dead_letters())) == 1
        assert client.sql('select count(*) from "Order"').item() == 1
        with client.live("Order", start="2020-01-01") as live:
            until(lambda: live.rows == 1)


def test_a_client_in_the_process_of_the_service_has_it_by_itself(guarded: Service) -> None:
    assert EventClient().read("*").height == 1
    assert guarded.url is not None
    port = guarded.url.rpartition(":")[2]
    for url in (guarded.url, f"grpc://localhost:{port}", f"grpc+tcp://LOCALHOST:{port}", f"127.0.0.1:{port}"):
        assert EventClient(url).read("*").height == 1


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper()])
def test_without_it_every_call_is_refused_with_a_sentence(guarded: Service, token: str | None) -> None:
    client = EventClient(other_name(guarded), token=token)
    said = "wants a token" if token is None else "is not this server's token"
    calls: list[Callable[[], Any]] = [
        lambda: client.read("*"),
        lambda: client.read("*", follow=True),
        client.entities,
        client.status,
        lambda: list(client.dead_letters()),
        lambda: client.live("Order"),
    ]
    for call in calls:
        with pytest.raises(Unauthenticated, match=said) as caught:
            call()
        assert "Traceback" not in str(caught.value)
        assert token is None or token not in str(caught.value)


def test_a_plain_flight_client_sends_it_as_a_bearer(guarded: Service) -> None:
    with flight.connect(guarded.url) as client:
        ticket = flight.Ticket(b"events:Order")
        with pytest.raises(flight.FlightUnauthenticatedError, match="this server wants a token"):
            client.do_get(ticket).read_all()
        for headers in ([(b"authorization", b"Basic eA==")], [(b"authorization", f"Bearer {TOKEN}".encode())] * 2):
            with pytest.raises(flight.FlightUnauthenticatedError):
                client.do_get(ticket, flight.FlightCallOptions(headers=headers)).read_all()
        options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
        assert client.do_get(ticket, options).read_all().num_rows == 1
        for call in (client.list_flights, client.list_actions):
            with pytest.raises(flight.FlightUnauthenticatedError):
                list(call())


@pytest.mark.parametrize("token", ["", "two words", "é", "x" * 4097, 7, "line\nbreak"])
def test_what_no_header_can_carry_is_refused_and_not_repeated(token: Any) -> None:
    with pytest.raises(InvalidArgument, match="the token must be 1 to 4096 letters") as caught:
        EventClient("grpc://127.0.0.1:1", token=token)
    assert str(token) not in str(caught.value) or not token or token == 7
    with pytest.raises(InvalidArgument, match="the token must be"):
        serve(embedded=True, token=token)


def test_nothing_shows_it(guarded: Service) -> None:
    client = EventClient(other_name(guarded), token=TOKEN)
    for each in (guarded, guarded.options, client):
        assert TOKEN not in repr(each)
        html = getattr(each, "_repr_html_", str)
        assert TOKEN not in html()
    assert TOKEN not in json.dumps(client.status())


def test_the_command_line_takes_it_and_the_environment_keeps_it_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with Serve("--embedded", "--store", tmp_path) as server:
        url = server.wait_until_ready()
        assert run("stream", "*", "--url", url, "--format", "ndjson") == ""
        monkeypatch.delenv(TOKEN_VARIABLE)
        assert json.loads(run("status", "--url", url, "--json", "--token", TOKEN))["dead_letters"] == 0
        for command in (["status"], ["stream", "*"], ["dead-letters"], ["dead-letters", "--replay"]):
            said = run(*command, "--url", url, code=1)
            assert said.count("\n") == 1
            assert "this server wants a token" in said
