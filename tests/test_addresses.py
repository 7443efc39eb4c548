"""Addresses: several names of one server, and passwords that nobody is shown."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fraiseql_events import EventClient, EventsError, InvalidArgument, NatsUnavailable, serve
from fraiseql_events import served as serving
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.embedded import find_server
from fraiseql_events.bridge.publisher import publish
from fraiseql_events.cli import run
from fraiseql_events.served import announce, ended_here, token_of, withdraw
from fraiseql_events.wording import without_password
from tests.mixed import an_event
from tests.waiting import until

SECRET = "s3cret-of-the-test"


@pytest.fixture
def guarded_nats(tmp_path: Path) -> Iterator[str]:
    """The address of a NATS server that wants a password, with it."""
    folder = tmp_path / "nats"
    folder.mkdir()
    options = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder), "-js", "-sd", str(folder)]
    with subprocess.Popen(
        [find_server(), *options, "--user", "ada", "--pass", SECRET], stderr=subprocess.DEVNULL
    ) as server:
        until(lambda: list(folder.glob("*.ports")))
        (found,) = folder.glob("*.ports")
        until(lambda: found.read_text())
        yield json.loads(found.read_text())["nats"][0].replace("//", f"//ada:{SECRET}@")
        server.terminate()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host:4222", "nats://host:4222"),
        ("nats://ada:pw@host:4222", "nats://ada:***@host:4222"),
        ("nats://token@host", "nats://***@host"),
        ("ada:pw@host", "ada:***@host"),
        ("nats://ada:p@w/x@host", "nats://ada:***@host"),
        ("nats://a:1@one,nats://b:2@two, nats://three", "nats://a:***@one,nats://b:***@two, nats://three"),
        ("grpc://ada:pw@[::1]:50051", "grpc://ada:***@[::1]:50051"),
    ],
)
def test_what_is_shown_of_an_address_has_no_password(url: str, shown: str) -> None:
    assert without_password(url) == shown == without_password(shown)


def test_a_service_shows_no_password_and_publishes_with_it(
    guarded_nats: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(nats=guarded_nats, store=tmp_path / "store", listen="127.0.0.1:0") as service:
        shown = service.status()["nats"]
        assert shown == guarded_nats.replace(SECRET, "***")
        publish([("entity.change.order.created", an_event())], StreamOptions(nats=shown))
        until(lambda: service.status()["offset"] == 1)
        client = EventClient(service.url)
        run(["status", "--url", str(service.url)])
        told = [repr(service), repr(service.options), service._repr_html_(), client._repr_html_(), *capsys.readouterr()]
        assert not any(SECRET in text for text in told)
        assert any("ada:***@" in text for text in told)


def test_an_address_that_was_shown_elsewhere_says_what_it_lacks(
    guarded_nats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_whole", {})
    shown = without_password(guarded_nats)
    with pytest.raises(InvalidArgument, match=r"ada:\*\*\*@.* lacks its password.*: name it with --nats"):
        publish([("entity.change.order.created", an_event())], StreamOptions(nats=shown))


@pytest.mark.parametrize(
    "url", [f"nats://ada:{SECRET}@127.0.0.1:1", f"nats://ada:{SECRET}/x@host:4222", f"http://ada:{SECRET}@host:4222"]
)
def test_no_error_repeats_the_password_of_a_nats_server(url: str, tmp_path: Path) -> None:
    with pytest.raises((NatsUnavailable, InvalidArgument), match=r"ada:\*\*\*@") as caught:
        serve(nats=url, store=tmp_path / "store", listen="127.0.0.1:0")
    assert SECRET not in str(caught.value)


def test_a_refused_password_is_not_repeated(guarded_nats: str, tmp_path: Path) -> None:
    wrong = guarded_nats.replace(SECRET, "another-secret")
    with pytest.raises(NatsUnavailable, match=r"ada:\*\*\*@") as caught:
        serve(nats=wrong, store=tmp_path / "store", listen="127.0.0.1:0")
    assert "another-secret" not in str(caught.value)


@pytest.mark.parametrize("ask", [lambda c: c.status(), lambda c: c.entities(), lambda c: c.read("*")])
def test_no_error_repeats_the_password_of_a_flight_server(ask: Callable[[EventClient], object]) -> None:
    client = EventClient(f"grpc://ada:{SECRET}@127.0.0.1:1")
    with pytest.raises(EventsError, match=r"ada:\*\*\*@") as caught:
        ask(client)
    assert SECRET not in f"{caught.value} {client!r} {client._repr_html_()}"
    for wrong in (f"http://ada:{SECRET}@host:1", f"grpc://ada:{SECRET}@host"):
        with pytest.raises(InvalidArgument, match=r"ada:\*\*\*@") as refused:
            EventClient(wrong)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("served", "asked", "found"),
    [
        ("grpc://127.0.0.1:7", "grpc://localhost:7", True),
        ("grpc://0.0.0.0:7", "grpc://localhost:7", True),
        ("grpc://[::]:7", "grpc://127.0.0.1:7", True),
        ("grpc://[::1]:7", "grpc://localhost:7", True),
        ("grpc://127.0.0.1:7", "grpc://[::1]:7", False),
        ("grpc://127.0.0.1:7", "grpc://localhost:8", False),
        ("grpc://127.0.0.1:7", "grpc+tls://localhost:7", False),
        ("grpc://127.0.0.1:7", "grpc://elsewhere:7", False),
    ],
)
def test_a_server_is_known_by_each_of_its_names(
    served: str, asked: str, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_addresses", {})
    monkeypatch.setattr(serving, "_ended", set())
    announce(served, "token")
    assert token_of(asked) == ("token" if found else None)
    assert not ended_here(asked)
    withdraw(served)
    assert (token_of(asked), ended_here(asked)) == (None, found)
    announce(served, "token")
    assert not ended_here(asked)
