"""Bridge, log, server and embedded NATS as one thing, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fraiseql_events import (
    EventClient,
    InvalidArgument,
    LogOptions,
    NatsUnavailable,
    Service,
    ServiceError,
    StoreError,
    StoreInUse,
    serve,
)
from fraiseql_events.bridge.bridge import Bridge
from fraiseql_events.bridge.consumer import StreamOptions
from fraiseql_events.bridge.publisher import publish
from fraiseql_events.log import Log
from fraiseql_events.log.rate import Rate
from tests.mixed import an_event
from tests.waiting import until


def test_a_service_that_is_started_twice_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        with pytest.raises(StoreInUse, match="this process uses the store .* already"):
            serve(embedded=True, store=tmp_path, listen="127.0.0.1:0")
        publish([("entity.change.Order.x", an_event())], StreamOptions(nats=service.nats_url))
        until(lambda: service.status()["offset"] == 1)
        assert EventClient(service.url).read("Order").height == 1
        assert service.status()["last_error"] is None


def test_an_embedded_server_that_dies_does_not_end_the_service(tmp_path: Path) -> None:
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        assert service._embedded is not None
        psutil.Process(service._embedded.pid).kill()
        until(lambda: service.status()["last_error"] is not None)
        until(lambda: service.status()["last_error"] is None)
        publish([("entity.change.Order.x", an_event())], StreamOptions(nats=service.nats_url))
        until(lambda: service.status()["offset"] == 1)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (lambda: serve(embedded=True, listen=50051), "write HOST:PORT"),  # type: ignore[arg-type]
        (lambda: serve(embedded=True, log={"commit_events": 1}), "it must be LogOptions"),  # type: ignore[arg-type]
        (lambda: serve(embedded=True, store=5), "it must be a path or a URL"),  # type: ignore[arg-type]
        (lambda: serve(nats="grpc://x:1"), "write nats://HOST:PORT"),
        (lambda: serve(nats="nats://x:1", embedded=True), "not both"),
        (lambda: serve(embedded=True, stream="a.b"), "'a.b' is no name of a stream"),
        (lambda: serve(embedded=True, subject="entity..x"), "'entity..x' is no filter of subjects"),
        (lambda: serve(embedded=True, subject="a b"), "is no filter of subjects"),
        (lambda: serve(embedded=True, subject="a.>.b"), "is no filter of subjects"),
        (lambda: LogOptions(commit_events="5"), "commit_events is '5': it must be a whole number from 1"),  # type: ignore[arg-type]
    ],
)
def test_wrong_options_are_one_sentence(start: Callable[[], Service], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        start()
    assert says in str(caught.value)


def test_a_rate_is_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rate = Rate(0)
    for _ in range(100):
        now += 0.1
        rate.note(int((now - 1000) * 50))
    assert 45 <= rate.per_second(500) <= 55
    now += 4
    assert rate.per_second(500) > 0
    now += 2
    assert rate.per_second(500) == 0


def test_the_state_is_a_word_and_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        status = service.status()
        assert (status["state"], status["reason"]) == ("quiet", "no message yet")
        assert status["last_message_age_seconds"] is None
        publish([("entity.change.Order.x", an_event())], StreamOptions(nats=service.nats_url))
        until(lambda: service.status()["offset"] == 1)
        until(lambda: service.status()["state"] == "live")
        assert 0 <= service.status()["last_message_age_seconds"] < 10
        monkeypatch.setattr("fraiseql_events.health.QUIET_SECONDS", 0.0)
        assert service.status()["state"] == "quiet"
        assert service._embedded is not None
        psutil.Process(service._embedded.pid).kill()
        until(lambda: service.status()["state"] == "stalled")
        assert "does not answer" in service.status()["last_error"]
        until(lambda: service.status()["state"] == "quiet")
        error = StoreInUse("another process writes")
        service.bridge._fail(error)
        assert (service.status()["state"], service.status()["reason"]) == ("failed", "another process writes")


def test_a_service_that_was_closed_says_that_it_is_stopped(tmp_path: Path) -> None:
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as service:
        publish([("entity.change.Order.x", an_event())], StreamOptions(nats=service.nats_url))
        until(lambda: service.status()["offset"] == 1)
    status = service.status()
    assert (status["state"], status["reason"], status["last_error"]) == ("stopped", "it was closed", None)
    assert (status["offset"], status["committed"]) == (1, 1)
    assert "stopped (it was closed)" in service._repr_html_()


def test_a_start_that_fails_leaves_no_folder_that_it_made(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "own").touch()
    for store in (tmp_path / "new", there):
        with pytest.raises(NatsUnavailable, match="no NATS server answers"):
            serve(nats="nats://127.0.0.1:1", store=store, listen="127.0.0.1:0")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (there / "own").exists()
    with serve(embedded=True, store=tmp_path / "new", listen="127.0.0.1:0") as service:
        publish([("entity.change.Order.x", an_event())], StreamOptions(nats=service.nats_url))
        until(lambda: service.status()["offset"] == 1)
    with pytest.raises(NatsUnavailable, match="no NATS server answers"):
        serve(nats="nats://127.0.0.1:1", store=tmp_path / "new", listen="127.0.0.1:0")
    with serve(embedded=True, store=tmp_path / "new", listen="127.0.0.1:0") as service:
        assert service.status()["offset"] == 1


def test_a_store_that_was_filled_while_a_start_failed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(log: Log, *rest: object, **more: object) -> None:
        until(lambda: log.offset == 1)
        raise ServiceError("the address was taken meanwhile")

    start = Bridge.start

    def start_and_publish(bridge: Bridge, **options: Any) -> None:
        start(bridge, **options)
        publish([("entity.change.Order.x", an_event())], bridge._options)

    monkeypatch.setattr(Bridge, "start", start_and_publish)
    monkeypatch.setattr("fraiseql_events.service.EventServer", fail)
    with pytest.raises(ServiceError, match="taken meanwhile"):
        serve(embedded=True, store=tmp_path / "new", listen="127.0.0.1:0")
    monkeypatch.undo()
    with serve(embedded=True, store=tmp_path / "new", listen="127.0.0.1:0") as service:
        assert service.status()["offset"] == 1


def test_a_bridge_that_is_behind_is_catching_up() -> None:
    from fraiseql_events.bridge.bridge import BridgeStatus
    from fraiseql_events.health import assess
    from fraiseql_events.log.status import LogStatus

    log = LogStatus(10, 0, 0, 0, None, {}, 500.0, None)
    bridge = BridgeStatus(sequence=0, last_sequence=9000, lag=9000, missed=0, trouble=None, waiting=0.0, failure=None)
    assert assess(log, bridge, None) == ("catching-up", "9000 messages behind the stream")


def test_a_store_that_cannot_be_written_does_not_keep_a_service_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(
        embedded=True, store=tmp_path, listen="127.0.0.1:0", log=LogOptions(commit_events=100, commit_seconds=0.1)
    )

    def full(*arguments: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("fraiseql_events.log.history.History.commit", full)
    publish([("entity.change.Order.x", an_event())] * 50_000, StreamOptions(nats=service.nats_url))
    until(lambda: service.status()["state"] == "stalled")
    assert service.status()["reason"] == "the disk is full"
    started = time.monotonic()
    with pytest.raises(StoreError, match="the disk is full"):
        service.close()
    assert time.monotonic() - started < 10
    monkeypatch.undo()
    with serve(embedded=True, store=tmp_path, listen="127.0.0.1:0") as again:
        until(lambda: again.status()["offset"] == 50_000)
