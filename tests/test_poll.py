"""`EventStream.poll`: the next frame, for loops that do other things beside."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from fraiseql_events import EventClient, Service, StreamConsumed
from fraiseql_events.resuming import SILENCE_SECONDS
from tests.mixed import an_event
from tests.waiting import until

Send = Callable[..., int]


@pytest.fixture
def client(start: Callable[..., Service], send: Send) -> EventClient:
    service = start()
    send(*[an_event() for _ in range(3)])
    until(lambda: service.status()["offset"] == 3)
    return EventClient(service.url)


def test_a_poll_gives_each_frame_once_and_then_none(client: EventClient) -> None:
    seen = 0
    with client, client.stream("*", batch_size=1) as stream:
        while not stream.ended:
            frame = stream.poll(1.0)
            seen += 0 if frame is None else frame.height
        assert stream.poll(0.1) is None
    assert seen == 3


def test_a_poll_of_a_follow_waits_no_longer_than_it_may(client: EventClient, send: Send) -> None:
    with client, client.stream("*", follow=True, after_offset=2, progress=False) as stream:
        assert stream.poll() is None
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            assert stream.poll(0.1) is None
        send(an_event())
        frames = (stream.poll(0.1) for _ in range(100))
        assert next(frame.height for frame in frames if frame is not None) == 1
        assert not stream.ended


def test_a_loop_that_is_long_at_other_work_does_not_take_the_server_for_silent(client: EventClient) -> None:
    with client, client.stream("*", follow=True, progress=False) as stream:
        until(lambda: stream.poll(0.1) is not None)
        assert stream._prefetch is not None
        until(lambda: stream.poll(0.01) is None)
        stream._polled -= 2 * SILENCE_SECONDS  # so long ago the loop was here last
        stream._heard -= 2 * SILENCE_SECONDS
        stream.poll(0.0)
        assert stream.reconnects == 0
        assert stream.state == "open"


def test_a_stream_that_is_closed_is_not_polled(client: EventClient) -> None:
    with client:
        stream = client.stream("*")
        stream.close()
        with pytest.raises(StreamConsumed):
            stream.poll()
