"""Both spellings of a ticket, against the vectors that R shares, and against anything at all."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.event import LOG_SCHEMA
from fraiseql_events.ticket import (
    MAX_INT,
    MAX_TICKET_BYTES,
    NotATicket,
    Ticket,
    UnsupportedTicket,
)
from fraiseql_events.time_range import end_micros, start_micros
from fraiseql_events.timestamps import MAX_MICROS, MIN_MICROS

VECTORS = json.loads((Path(__file__).parent / "ticket_vectors.json").read_text(encoding="utf-8"))


def of_vector(fields: dict[str, Any]) -> Ticket:
    return Ticket(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


@pytest.mark.parametrize("vector", VECTORS["right"], ids=lambda vector: vector["encoded"][:60])
def test_right_tickets(vector: dict[str, Any]) -> None:
    ticket = of_vector(vector["ticket"])
    assert ticket.encode().decode() == vector["encoded"]
    for spelling in [vector["encoded"], *vector.get("also", [])]:
        assert Ticket.decode(spelling.encode()) == ticket, spelling
        assert Ticket.decode(spelling) == ticket, spelling


@pytest.mark.parametrize("vector", VECTORS["wrong"], ids=lambda vector: vector["spelling"][:60])
def test_wrong_tickets_are_refused_with_a_sentence(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Ticket.decode(vector["spelling"].encode())
    assert vector["says"] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_ticket_and_what_is_for_others_are_told_apart() -> None:
    with pytest.raises(NotATicket):
        Ticket.decode(b"nothing")
    with pytest.raises(UnsupportedTicket):
        Ticket.decode(b'{"type": "GraphQLQuery"}')


def test_a_ticket_over_256_kib_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="262144 are the most"):
        Ticket.decode(b"events:" + b"x" * MAX_TICKET_BYTES)


def test_an_end_that_is_a_date_includes_that_day() -> None:
    day = 86_400_000_000
    assert (start_micros("1970-01-02"), end_micros("1970-01-02")) == (day, 2 * day)
    assert (start_micros(date(1970, 1, 2)), end_micros(date(1970, 1, 2))) == (day, 2 * day)
    moment = datetime(1970, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))
    assert (start_micros(moment), end_micros(moment)) == (day, day)
    assert end_micros(datetime(1970, 1, 2)) == day  # noqa: DTZ001
    assert end_micros(datetime(1970, 1, 2, tzinfo=UTC)) == day
    with pytest.raises(InvalidArgument, match="start is a int"):
        start_micros(5)  # type: ignore[arg-type]


entities = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: len(text.encode()) <= 80)
micros = st.none() | st.integers(MIN_MICROS, MAX_MICROS)
tickets = st.builds(
    lambda ends, **rest: Ticket(
        start=min(ends) if None not in ends else ends[0], end=max(ends) if None not in ends else ends[1], **rest
    ),
    ends=st.tuples(micros, micros),
    entity=st.none() | st.just("*") | entities,
    mode=st.sampled_from(["batch", "streaming"]),
    limit=st.none() | st.integers(0, MAX_INT),
    after_offset=st.none() | st.integers(-1, MAX_INT),
    event_types=st.none() | st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=3).map(tuple),
    columns=st.none() | st.lists(st.sampled_from(LOG_SCHEMA.names), min_size=1, unique=True).map(tuple),
    batch_size=st.integers(1, 1_000_000),
    compression=st.sampled_from([None, "zstd", "lz4"]),
)


@given(ticket=tickets)
@example(ticket=Ticket(entity=":", end=MIN_MICROS, mode="streaming"))
@example(ticket=Ticket(entity="%3A:", start=MAX_MICROS, end=MAX_MICROS + 1))
def test_any_ticket_survives_both_spellings(ticket: Ticket) -> None:
    path = ticket.to_path()
    if ticket.entity != "*":
        assert Ticket.decode(ticket.encode()) == ticket
        assert Ticket.decode(ticket.to_json()) == ticket
    assert path is None or Ticket.decode(path) == ticket


anything = st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
pieces = st.lists(st.sampled_from(["events", ":", "%", "2026-01-01", "T12:00:00Z", "*", "{", '"type"', "}", "é"]))


@given(raw=anything | pieces.map(lambda parts: "".join(parts).encode()) | anything.map(lambda raw: b"events:" + raw))
@example(raw=b'{"type": "ObserverEvents", "entity_type": "\\ud800"}')
@example(raw=b"{" * 2000)
@example(raw=b'{"type": ' + b"[" * 100_000)
@example(raw=b'{"type": ["ObserverEvents"], "entity_type": "x"}')
def test_arbitrary_bytes_raise_nothing_but_the_documented_error(raw: bytes) -> None:
    try:
        ticket = Ticket.decode(raw)
    except InvalidArgument as error:
        assert len(str(error)) < 500, "a sentence, not a page"
    else:
        assert Ticket.decode(ticket.encode()) == ticket


json_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from(["entity_type", "start_date", "end_date", "mode", "limit", "after_offset", "event_types"])


@given(values=st.dictionaries(keys | st.sampled_from(["columns", "batch_size", "compression"]), json_anything))
def test_arbitrary_json_raises_nothing_but_the_documented_error(values: dict[str, Any]) -> None:
    raw = json.dumps({"type": "ObserverEvents", "entity_type": "Order", **values})
    try:
        ticket = Ticket.decode(raw)
    except InvalidArgument as error:
        assert len(str(error)) < 500
    else:
        assert Ticket.decode(ticket.to_json()) == ticket
