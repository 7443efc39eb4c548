"""`kill -9` at any moment loses nothing and doubles nothing."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fraiseql_events import Service
from fraiseql_events.bridge.consumer import StreamOptions
from tests.mixed import Mixer
from tests.processes import Serve
from tests.test_mixed import assert_exact
from tests.waiting import until

KILLS_IN_AN_INGEST = 20
KILLS_AT_THE_START = 5
SLICES = 40


@pytest.mark.timeout(300)
def test_twenty_kills_in_the_midst_of_an_ingest_lose_and_double_nothing(
    tmp_path: Path, source: StreamOptions, send: Callable[..., int], start: Callable[..., Service]
) -> None:
    cases = list(Mixer(3).cases(120_000))
    chance = random.Random(3)
    arguments = ["--nats", source.nats, "--stream", source.stream, "--subject", source.subject]
    arguments += ["--store", str(tmp_path / "store"), "--commit-events", "1500", "--commit-seconds", "0.2"]
    rounds = KILLS_IN_AN_INGEST + KILLS_AT_THE_START
    each = len(cases) // rounds + 1
    for round_ in range(rounds):
        serve = Serve(*arguments)
        if round_ >= KILLS_AT_THE_START:
            serve.wait_until_ready()
        payloads = [case.payload for case in cases[round_ * each : (round_ + 1) * each]]
        sending = threading.Thread(target=send_slowly, args=(send, payloads))
        sending.start()
        time.sleep(chance.uniform(0.05, 0.5))
        assert sending.is_alive(), "the kill came after the ingest"
        serve.kill()
        sending.join()
    service = start(tmp_path / "store")
    assert 0 < service.status()["committed"] < sum(len(case.events) for case in cases), "the kills came too late"
    until(lambda: service.status()["stream_seq"] == len(cases))
    service.log.flush()
    assert_exact(service, cases)


def send_slowly(send: Callable[..., int], payloads: list[bytes]) -> None:
    """Sends over half a second and more, so that a kill meets events on their way."""
    size = len(payloads) // SLICES + 1
    for first in range(0, len(payloads), size):
        send(*payloads[first : first + size])
        time.sleep(0.02)
