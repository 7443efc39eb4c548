"""The whole path, on every shape that the contract allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from pyarrow import flight

from fraiseql_events import EventClient, Service
from tests.mixed import Case, Mixer, as_read
from tests.waiting import until


def read_bare(url: str, ticket: bytes) -> pa.Table:
    """What any Flight client would read."""
    with flight.connect(url) as client:
        return client.do_get(flight.Ticket(ticket)).read_all()


def assert_exact(service: Service, cases: list[Case]) -> None:
    """Each readable event once, in order, field by field; each bad one a dead letter once."""
    assert service.url is not None
    found = as_read(read_bare(service.url, b"events:*"))
    assert found == [event for case in cases for event in case.events]
    expected = [(seq, line, payload) for seq, case in enumerate(cases, 1) for line, payload in case.dead]
    assert list(dead(service.url)) == expected


def dead(url: str) -> Iterator[tuple[int, int | None, bytes]]:
    """Sequence, line and bytes of the dead letters."""
    from fraiseql_events.commands import letter_row

    with EventClient(url) as client:
        for values in client.dead_letters():
            letter = letter_row(values)
            yield letter["sequence"], letter["line"], letter["payload"]


@pytest.mark.timeout(300)
def test_200_000_mixed_events_arrive_once_in_order_and_bad_ones_are_dead_letters(
    send: Callable[..., int], start: Callable[..., Service]
) -> None:
    cases = list(Mixer().cases(200_000))
    send(*[case.payload for case in cases])
    service = start(commit_events=20_000)
    until(lambda: service.status()["stream_seq"] == len(cases), 100)
    assert_exact(service, cases)
    service.log.flush()
    assert service.status()["committed"] == sum(len(case.events) for case in cases)
    assert_exact(service, cases)


def test_a_restart_goes_on_after_the_last_message(send: Callable[..., int], start: Callable[..., Service]) -> None:
    cases = list(Mixer(2).cases(3_000))
    half = len(cases) // 2
    send(*[case.payload for case in cases[:half]])
    service = start()
    until(lambda: service.status()["stream_seq"] == half)
    service.close()
    send(*[case.payload for case in cases[half:]])
    service = start()
    until(lambda: service.status()["stream_seq"] == len(cases))
    assert_exact(service, cases)
