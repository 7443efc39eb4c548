"""What a person may write for the client's methods: each option is shown and completed, a wrong one is a sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fraiseql_events import EventClient, InvalidArgument, Service
from tests.kernels import Kernel
from tests.mixed import an_event

NOWHERE: Any = EventClient("grpc://127.0.0.1:1")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda: NOWHERE.read("Order", colums=["data"]),
            "read has no option colums (did you mean columns?); there are ",
        ),
        (
            lambda: NOWHERE.read("Order", dtype_backed="pyarrow"),
            "has no option dtype_backed (did you mean dtype_backend",
        ),
        (lambda: NOWHERE.stream("Order", folow=True), "stream has no option folow (did you mean follow?); there are "),
        (lambda: NOWHERE.scan("Order", payloads={}), "scan has no option payloads (did you mean payload?)"),
        (lambda: NOWHERE.live("Order", vale="total"), "live has no option vale (did you mean value?)"),
        (
            lambda: NOWHERE.payload_schema("Order", samples=1),
            "payload_schema has no option samples (did you mean sample",
        ),
        (
            lambda: NOWHERE.read("Order", "2026-01-01", "2026-01-02", 10),
            "read: too many positional arguments; it takes",
        ),
        (lambda: NOWHERE.read(), "read: missing a required argument: 'entity'; it takes entity, start, end, limit"),
        (lambda: NOWHERE.read("Order", entity="User"), "read: multiple values for argument 'entity'"),
    ],
)
def test_an_option_that_there_is_not_is_one_sentence(ask: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ask()
    assert says in str(caught.value)


def test_read_shows_the_options_of_stream() -> None:
    shown, of_stream = inspect.signature(EventClient.read), inspect.signature(EventClient.stream)
    assert shown.parameters == of_stream.parameters
    assert str(shown.parameters["batch_size"]) == "batch_size: 'int' = 10000"
    for method in (EventClient.read, EventClient.stream, EventClient.scan, EventClient.live):
        assert all(each.kind != inspect.Parameter.VAR_KEYWORD for each in inspect.signature(method).parameters.values())


def test_a_notebook_shows_and_completes_options_and_tells_wrong_ones_in_a_line(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("from fraiseql_events import EventClient; client = EventClient('grpc://127.0.0.1:1')")
        for code, meant in (
            ('client.read("Order", sta', "start="),
            ('client.read("Order", eve', "event_types="),
            ('client.stream("Order", fra', "frames="),
            ('client.scan("Order", pay', "payload="),
            ('client.live("Order", val', "value="),
        ):
            assert meant in kernel.client.complete(code, reply=True, timeout=20)["content"]["matches"]
        shown = kernel.client.inspect("client.read", reply=True, timeout=20)["content"]["data"]["text/plain"]
        assert "event_types" in shown
        assert "Unpack" not in shown
        said = kernel.fail("client.read('Order', colums=['data'])")
        assert len(said) == 1
        assert said[0].startswith(
            "InvalidArgument: read has no option colums (did you mean columns?); there are entity,"
        )


@pytest.mark.parametrize(
    ("first", "last", "seen"),
    [
        ("2026-01-01 12:00", None, [1, 2, 3]),
        ("2026-01-01T12:00", "2026-01-01T12:02", [1, 2]),
        ("2026-01-01T14:01+02:00", "2026-01-01 12:02Z", [2]),
        ("2026-01-01 12:01:00", "2026-01-01 12:02:00.5", [2, 3]),
        ("2026-01-01", "2026-01-01", [0, 1, 2, 3]),
    ],
)
def test_the_seconds_of_a_time_may_be_left_out(
    filled: Callable[..., Service], first: str, last: str | None, seen: list[int]
) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    moments = [noon + timedelta(minutes=number - 1) for number in range(4)]
    client = EventClient(
        filled(*[an_event(id=str(n), timestamp=each.isoformat()) for n, each in enumerate(moments)]).url
    )
    assert client.read("Order", first, last)["event_id"].to_list() == [str(number) for number in seen]


@pytest.mark.parametrize(
    "start", ["2026-01-01 12", "2026-01-01 12:00\n", "12:00", "2026-01-01T25:00", "x2026-01-01 12:00"]
)
def test_what_is_no_time_without_its_seconds_either_is_refused(start: str) -> None:
    with pytest.raises(InvalidArgument, match="start '"):
        NOWHERE.read("Order", start)
