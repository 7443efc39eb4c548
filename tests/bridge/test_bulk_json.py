"""Events in bulk: what is taken, what is left to the reading one by one, and that both say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.bridge import bulk_json
from fraiseql_events.bridge import decode as decoding
from fraiseql_events.bridge.bulk_json import BulkReader, Layout
from fraiseql_events.bridge.decode import Decoded, decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.shop import Shop
from tests.mixed import Mixer

TYPICAL = {
    "id": "e-1",
    "event_type": "Order.Created",
    "entity_type": "Order",
    "entity_id": "o-1",
    "timestamp": "2026-01-31T12:00:00.123456Z",
    "data": {"total": 19.84, "name": "Zoë 林"},
    "user_id": None,
    "org_id": "org-1",
}
#: As DuckDB spells it too.
PLAIN = [b'"text"', b"null", b"true", b"-1.5", b"[100000000000000000000]"]
#: What DuckDB takes, and JSON or the contract does not take, or not so.
ODD = [
    b"NaN", b"[NaN]", b"[-Infinity]", b"[1,inf]", b'{"a":nAn}', b"[1,]", b'{"a":1,}', b"[-0]", b"[1.50]", b"[1e5]",
    b"[0.12345678901234567890123]", b'["\\u00e9"]', b'["\\/"]', b'["\\ud800"]', b"[ 1]",
    b'"a\\"b"', b"[" * 1200 + b"]" * 1200, b'["\xff"]', b'["\x01"]', b"[01]",
]  # fmt: skip


def spell(event: dict[str, Any], data: bytes | None = None) -> bytes:
    text = msgspec.json.encode(event)
    return text if data is None else text.replace(msgspec.json.encode(event["data"]), data)


def typical(count: int) -> list[bytes]:
    return [spell(TYPICAL | {"id": f"e-{number}"}) for number in range(count)]


def messages(payloads: list[bytes]) -> Messages:
    count = len(payloads)
    return Messages.of(range(1, count + 1), [b"s"] * count, [5_000] * count, payloads)


def taken(payloads: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places of the payloads that are read in bulk."""
    monkeypatch.setattr(bulk_json, "LEAST_EVENTS", 1)
    return sorted(row for _, rows in BulkReader().read(pa.array(payloads, pa.binary())) for row in rows.tolist())


def decode_with(least: int, payloads: list[bytes]) -> Decoded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "LEAST_EVENTS", least)
        patch.setattr(bulk_json, "LEAST_EVENTS", least)
        patch.setattr(bulk_json, "_MOST_PAUSE", 0)
        return decode(messages(payloads))


def assert_both_ways_alike(payloads: list[bytes]) -> None:
    in_bulk, one_by_one = decode_with(1, payloads), decode_with(10**9, payloads)
    assert in_bulk.events.to_pylist() == one_by_one.events.to_pylist()
    assert in_bulk.dead == one_by_one.dead
    in_bulk.events.validate(full=True)


def test_a_shops_events_are_all_read_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [spell(event) for event in Shop(3).events(5_000)]
    assert taken(payloads, monkeypatch) == list(range(5_000))
    assert_both_ways_alike(payloads)


@pytest.mark.parametrize("data", ODD, ids=lambda data: repr(data)[:30])
def test_data_that_is_spelled_oddly_is_left_to_the_strict_reader(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [*typical(5), spell(TYPICAL, data), *typical(5)]
    assert taken(payloads, monkeypatch) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert_both_ways_alike(payloads)


@pytest.mark.parametrize("data", PLAIN)
def test_data_of_any_kind_is_read_in_bulk(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [*typical(5), spell(TYPICAL, data)]
    assert taken(payloads, monkeypatch) == list(range(6))
    assert_both_ways_alike(payloads)


@pytest.mark.parametrize(
    "odd",
    [
        spell(TYPICAL)[:-1] + b',"id":"another"}',
        spell(TYPICAL)[:-1] + b',"data":1}',
        spell(TYPICAL)[:-1] + b',"more":1}',
        spell(TYPICAL).replace(b'"id":"e-1"', b'"id":7'),
        spell(TYPICAL).replace(b'"id":"e-1"', b'"id":{"a":1}'),
        spell(TYPICAL).replace(b'"id":"e-1"', b'"id":null'),
        spell(TYPICAL).replace(b'"id":"e-1"', b'"id":"a\\"b"'),
        spell(TYPICAL).replace(b'"id":"e-1"', b'"id":"a\\\\"'),
        spell(TYPICAL).replace(b'"user_id":null', b'"user_id":5'),
        spell(TYPICAL).replace(b'"user_id":null', b'"user_id":"null"'),
        spell(TYPICAL).replace(b'"user_id":null', b'"user_id":["x"]'),
        spell(TYPICAL).replace(b"2026-01-31", b"2026-02-31"),
        spell(TYPICAL).replace(b'"entity_type":"Order"', b'"entity_type":""'),
        spell(TYPICAL).replace(b'"Order"', b'"' + b"x" * 81 + b'"'),
        spell(TYPICAL).replace(b'"id":"e-1",', b""),
        spell(TYPICAL).replace(b'"id"', b'"i\\u0064"'),
        json.dumps(TYPICAL).encode(),
        b"\xef\xbb\xbf" + spell(TYPICAL),
        spell(TYPICAL) + b" ",
        spell(TYPICAL) + b"\n" + spell(TYPICAL),
        spell(TYPICAL) * 2,
        b"",
        b"\x00",
        b"[1]",
    ],
    ids=lambda payload: repr(payload)[-40:],
)
def test_an_odd_event_among_usual_ones_is_read_as_if_it_were_alone(odd: bytes) -> None:
    assert_both_ways_alike([*typical(3), odd, *typical(3), odd])


def test_events_of_several_layouts_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {"event_id" if key == "id" else "tenant_id" if key == "org_id" else key: v for key, v in TYPICAL.items()}
    payloads = [
        spell(event | {key: f"e-{number}"})
        for number in range(60)
        for event, key in [(TYPICAL, "id"), (newer | {"version": 2, "note": "x"}, "event_id")]
    ]
    assert taken(payloads, monkeypatch) == list(range(120))
    decoded = decode_with(1, payloads)
    assert decoded.events["event_id"].to_pylist() == [f"e-{number // 2}" for number in range(120)]
    assert_both_ways_alike(payloads)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_mixed_payloads_are_read_alike_both_ways(seed: int, count: int) -> None:
    assert_both_ways_alike([*typical(3), *[case.payload for case in Mixer(seed).cases(count)]])


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(
    values=st.lists(st.tuples(any_json, any_json, st.text(max_size=6), st.booleans()), min_size=1, max_size=8),
    order=st.permutations(list(TYPICAL)),
)
def test_any_json_is_read_alike_both_ways(values: list[tuple[Any, Any, str, bool]], order: list[str]) -> None:
    payloads = []
    for data, user, key, compact in values:
        event = TYPICAL | {"data": data, "user_id": user, "id": key}
        separators = (",", ":") if compact else (", ", ": ")
        text = json.dumps({name: event[name] for name in order}, separators=separators, ensure_ascii=not compact)
        payloads.append(text.encode("utf-8", "surrogatepass"))
    assert_both_ways_alike([*typical(2), *payloads])


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 200), byte=st.binary(max_size=2), cut=st.integers(0, 3))
def test_a_damaged_event_is_read_alike_both_ways(place: int, byte: bytes, cut: int) -> None:
    text = spell(TYPICAL)
    place = min(place, len(text))
    assert_both_ways_alike([*typical(2), text[:place] + byte + text[place + cut :]])


def test_events_that_are_never_spelled_so_are_not_tried_each_time() -> None:
    reader = BulkReader()
    spaced = pa.array([json.dumps(TYPICAL).encode()] * bulk_json.LEAST_EVENTS, pa.binary())
    pauses = []
    for _ in range(20):
        assert reader.read(spaced) == []
        pauses.append(reader._skip)
    assert pauses[:4] == [1, 0, 3, 2]


def test_a_fault_of_duckdb_costs_speed_and_no_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(layout: Layout) -> str:
        return "SELECT error('no memory')"

    monkeypatch.setattr(Layout, "query", fail)
    reader = BulkReader()
    monkeypatch.setattr(decoding, "bulk_reader", lambda: reader)
    assert len(decode_with(1, typical(10)).events) == 10
    assert "one event at a time" in caplog.text
    assert isinstance(duckdb.Error("x"), reader._errors)


def test_few_events_do_not_load_duckdb() -> None:
    code = """
import sys
from fraiseql_events.bridge.decode import decode
from fraiseql_events.bridge.messages import Messages
decode(Messages.of([1] * 100, [b""] * 100, [1] * 100, [b"{}"] * 100))
print("duckdb" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_fork_beside_a_reader_leaves_the_child_unharmed() -> None:
    """As a notebook's `!command` and `multiprocessing` do it: the child drops what other threads hold."""
    code = f"""
import os, threading
import pyarrow as pa
from fraiseql_events.bridge.bulk_json import bulk_reader
ready, over = threading.Event(), threading.Event()
def read():
    [(table, rows)] = bulk_reader().read(pa.array([{msgspec.json.encode(TYPICAL)!r}] * 2000, pa.binary()))
    ready.set()
    over.wait()
threading.Thread(target=read).start()
ready.wait()
child = os.fork()
if child == 0:
    os._exit(0)
over.set()
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"0\n"
