"""The event contract, rule by rule, and against a plain `json.loads` reading of it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.bridge import arrow_payload, bulk_json
from fraiseql_events.bridge import decode as decoding
from fraiseql_events.bridge.decode import Decoded, decode
from fraiseql_events.bridge.messages import Messages
from fraiseql_events.event import SCHEMA
from tests.mixed import Mixer, an_event, as_read, dumps, to_ipc


@pytest.fixture(scope="module", params=["one by one", "in bulk"], autouse=True)
def how_events_are_read(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every rule holds for the few that are read one by one, and for the many that are tried in bulk first."""
    with pytest.MonkeyPatch.context() as patch:
        least = 1 if request.param == "in bulk" else 10**9
        patch.setattr(decoding, "LEAST_EVENTS", least)
        patch.setattr(bulk_json, "LEAST_EVENTS", least)
        patch.setattr(bulk_json, "_MOST_PAUSE", 0)
        yield


def read(*payloads: bytes) -> Decoded:
    count = len(payloads)
    return decode(Messages.of(list(range(1, count + 1)), [b"s"] * count, [5_000] * count, list(payloads)))


def event(payload: bytes) -> dict[str, Any]:
    """The one event of a payload."""
    decoded = read(payload)
    assert not decoded.dead, decoded.dead
    (row,) = decoded.events.to_pylist()
    return row


def reason(payload: bytes) -> str:
    """Why a payload holds no event."""
    decoded = read(payload)
    assert decoded.events.num_rows == 0
    (letter,) = decoded.dead
    assert letter.payload == payload
    return letter.reason


def test_an_event_has_the_schema_of_the_design_page() -> None:
    assert read(an_event()).events.schema == SCHEMA
    assert event(an_event()) == {
        "event_id": "e-1",
        "event_type": "Order.Created",
        "entity_type": "Order",
        "entity_id": "o-1",
        "timestamp": datetime(2026, 1, 31, 12, 0, 0, 123456, UTC),
        "data": '{"total":1}',
        "user_id": None,
        "org_id": None,
    }


@pytest.mark.parametrize(
    ("field", "raw", "text"),
    [
        ("entity_id", b"42", "42"),
        ("entity_id", b"-0.50", "-0.50"),
        ("entity_id", b"123456789012345678901234567890", "123456789012345678901234567890"),
        ("user_id", b"true", "true"),
        ("org_id", b"1e3", "1e3"),
        ("event_type", b"false", "false"),
        ("user_id", b'"\\u00e9\\ud83c\\udf53"', "é🍓"),
        ("org_id", b"null", None),
    ],
)
def test_a_number_or_a_boolean_is_taken_as_its_text(field: str, raw: bytes, text: str | None) -> None:
    assert event(an_event(**{field: "@"}).replace(b'"@"', raw))[field] == text


def test_older_and_newer_names_of_the_identifiers_are_read() -> None:
    assert event(an_event(id=..., event_id="e-9"))["event_id"] == "e-9"
    assert event(an_event(id=None, event_id="e-9"))["event_id"] == "e-9"
    assert event(an_event(event_id="e-9"))["event_id"] == "e-1"
    assert event(an_event(org_id=..., tenant_id="t"))["org_id"] == "t"
    assert event(an_event(tenant_id="t"))["org_id"] == "t"
    assert event(an_event(org_id="o", tenant_id="t"))["org_id"] == "o"
    assert event(an_event(org_id=..., tenant_id=7))["org_id"] == "7"


@pytest.mark.parametrize(
    "raw", [b'{"b": 1, "a": 1, "b": 2}', b"12345678901234567890123", b'"text"', b"null", b"[]", b"0.10"]
)
def test_data_keeps_key_order_duplicate_keys_and_every_digit(raw: bytes) -> None:
    assert event(an_event(data="@").replace(b'"@"', raw))["data"].encode() == raw


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+02:30", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31T12:00:00.1234569", datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)),
        ("1969-12-31T23:59:59.9999999Z", datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    ],
)
def test_timestamps_are_rfc_3339(timestamp: str, expected: datetime) -> None:
    assert event(an_event(timestamp=timestamp))["timestamp"] == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "the payload is empty"),
        (b" \n ", "the payload is empty"),
        (b"nothing", "not valid JSON"),
        (b"[1]", "the JSON is an array; an event is an object"),
        (b"17", "the JSON is a number; an event is an object"),
        (an_event()[:-5], "it ends too early"),
        (an_event() + b"}", "trailing characters"),
        (an_event(data="@").replace(b"@", b"\xc3\x28"), "invalid UTF-8 at byte 131"),
        (an_event(unknown="@").replace(b"@", b"\xff"), "invalid UTF-8"),
        (an_event(data="@").replace(b"@", b"\\ud800"), "half of a surrogate pair"),
        (an_event(data="@").replace(b'"@"', b"[" * 5000 + b"]" * 5000), "nested too deeply"),
        (an_event(id=...), "the field id (or event_id) is"),
        (an_event(id=None), "the field id (or event_id) is"),
        (an_event(data=...), "the field data is missing"),
        (an_event(timestamp=...), "the field timestamp is missing"),
        (an_event(entity_id=None), "the field entity_id is null"),
        (an_event(entity_id=None, data=...), "the fields entity_id, data are missing or null"),
        (an_event(entity_id=[1]), "the field entity_id is an array; a string is expected"),
        (an_event(user_id={}), "the field user_id is an object; a string is expected"),
        (an_event(event_type=""), "event_type is empty"),
        (an_event(entity_type=""), "entity_type is empty"),
        (an_event(entity_type="é" * 41), "entity_type has 82 bytes; 80 are the most"),
        (an_event(timestamp="2026-01-31"), "timestamp '2026-01-31' is not an RFC 3339 time"),
        (an_event(timestamp="2026-02-30T00:00:00Z"), "is not a time that exists"),
        (an_event(timestamp="2026-01-31T24:00:00Z"), "is not a time that exists"),
        (an_event(timestamp="2026-01-31T12:00:60Z"), "a leap second ends a day"),
        (an_event(timestamp="2026-01-31T12:00:00+24:00"), "has an offset past 23:59"),
        (an_event(timestamp="0001-01-01T00:00:00+01:00"), "is outside the years 0001 to 9999"),
        (b"\xff\xff\xff\xffjunk", "not a readable Arrow IPC stream"),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_a_reason(payload: bytes, expected: str) -> None:
    assert expected in reason(payload)


def test_a_dead_letter_has_its_message() -> None:
    (letter,) = decode(Messages.of([7], [b"entity.change.x"], [1_700_000_000_000_000_999], [b"?"])).dead
    assert (letter.sequence, letter.line, letter.subject) == (7, None, "entity.change.x")
    assert letter.published == 1_700_000_000_000_000


def test_each_line_of_a_payload_of_many_stands_for_itself() -> None:
    payload = b"\n".join([an_event(id="1"), b"", b"bad", an_event(id=2), an_event(event_type="") + b"\r"])
    decoded = read(an_event(id="0"), payload, an_event(id="3"))
    assert decoded.events.column("event_id").to_pylist() == ["0", "1", "2", "3"]
    assert [(letter.sequence, letter.line) for letter in decoded.dead] == [(2, 3), (2, 5)]
    assert decoded.dead[0].payload == b"bad"


def test_an_object_written_over_several_lines_is_one_event_or_one_dead_letter() -> None:
    written = json.dumps(json.loads(an_event()), indent=2).encode()
    assert event(written)["event_id"] == "e-1"
    assert reason(written[:-3])
    assert reason(b"first\nsecond")


def arrow_event(**columns: pa.Array) -> pa.RecordBatch:
    first = read(an_event()).events
    arrays = {name: first.column(name) for name in SCHEMA.names} | columns
    return pa.RecordBatch.from_pydict({name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("entity_id", pa.array(["x"], pa.large_string()), "x"),
        ("entity_id", pa.array(["x"], pa.string_view()), "x"),
        ("entity_id", pa.array(["x"]).dictionary_encode(), "x"),
        ("entity_id", pa.array([7]), "7"),
        ("user_id", pa.array([True]), "true"),
        ("user_id", None, None),
        ("timestamp", pa.array([-1], pa.timestamp("ns")), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
        ("timestamp", pa.array([1], pa.timestamp("s", "Europe/Zurich")), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        ("timestamp", pa.array(["2026-01-31T00:00:00Z"]), datetime(2026, 1, 31, tzinfo=UTC)),
        ("data", pa.array(['{"a":\n 1}']), '{"a":\n 1}'),
    ],
)
def test_arrow_columns_of_other_types_are_cast(name: str, array: pa.Array | None, expected: object) -> None:
    assert event(to_ipc(arrow_event(**{name: array})))[name] == expected


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("data", pa.array(["{}", "{bad", "{}"]), "data is not JSON text"),
        ("data", pa.array(["{}", "1\n2", "{}"]), "data is not JSON text"),
        ("data", pa.array(["{}", "1 2", "{}"]), "data is not JSON text"),
        ("data", pa.array(["{}", "", "{}"]), "data is not JSON text"),
        ("event_id", pa.array(["a", None, "c"]), "the field event_id is null"),
        ("entity_type", pa.array(["a", "x" * 81, "c"]), "entity_type has over 80 bytes"),
        ("event_type", pa.array(["a", "", "c"]), "event_type is empty"),
        ("timestamp", pa.array([0, 2**60, 0], pa.timestamp("us")), "outside the years 0001 to 9999"),
        ("timestamp", pa.array(["2026-01-31T00:00:00Z", "soon", "2026-01-31T00:00:00Z"]), "is not an RFC 3339 time"),
    ],
)
def test_a_bad_arrow_row_is_one_dead_letter(name: str, array: pa.Array, expected: str) -> None:
    three = pa.concat_batches([arrow_event()] * 3)
    columns = {key: three.column(key) for key in SCHEMA.names} | {name: array}
    decoded = read(to_ipc(pa.RecordBatch.from_pydict(columns)))
    (letter,) = decoded.dead
    assert expected in letter.reason
    assert (letter.line, decoded.events.num_rows) == (2, 2)
    with pa.ipc.open_stream(letter.payload) as reader:
        assert list(reader.read_all()[name]) == [array[1]]


def test_an_arrow_payload_without_a_column_is_one_dead_letter() -> None:
    assert reason(to_ipc(arrow_event(entity_id=None))) == "there is no column entity_id"
    assert "is binary" in reason(to_ipc(arrow_event(entity_id=pa.array([b"x"]))))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda values: st.lists(values, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), values, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = (
    "id",
    "event_id",
    "event_type",
    "entity_type",
    "entity_id",
    "timestamp",
    "data",
    "user_id",
    "org_id",
    "tenant_id",
)
some_fields = st.dictionaries(st.sampled_from(NAMES), json_values, max_size=4)


def plain_reading(payload: bytes) -> dict[str, Any] | None:
    """The contract in the simplest words; None is a dead letter. Timestamps are left to other tests."""
    raw = json.loads(payload, parse_float=str, parse_int=str)

    def text(name: str) -> str | None:
        value = raw.get(name)
        if isinstance(value, dict | list):
            raise TypeError
        return str(value).lower() if isinstance(value, bool) else value

    try:
        read = {name: text(name) for name in ("event_type", "entity_type", "entity_id", "timestamp", "user_id")}
        read["event_id"] = text("event_id") if text("id") is None else text("id")
        read["org_id"] = text("tenant_id") if text("org_id") is None else text("org_id")
    except TypeError:
        return None
    if None in [value for name, value in read.items() if name not in ("user_id", "org_id")] or "data" not in raw:
        return None
    if not read["event_type"] or not 1 <= len(str(read["entity_type"]).encode()) <= 80:
        return None
    del read["timestamp"]
    return read | {"data": json.loads(payload)["data"]}


@settings(max_examples=400, deadline=None)
@given(changes=some_fields, left_out=st.sets(st.sampled_from(NAMES), max_size=1))
def test_reading_agrees_with_json_loads(changes: dict[str, Any], left_out: set[str]) -> None:
    changes.pop("timestamp", None)
    payload = an_event(**changes | dict.fromkeys(left_out, ...))
    decoded, expected = read(payload), plain_reading(payload)
    rows = as_read(decoded.events)
    for row in rows:
        del row["timestamp"]
    assert rows == ([] if expected is None else [expected])
    assert len(decoded.dead) == (expected is None)


@settings(max_examples=400, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=60) | st.sampled_from([an_event(), b"\xff\xff\xff\xff", b"{}"]), max_size=4)
)
def test_arbitrary_bytes_raise_nothing(payloads: list[bytes]) -> None:
    decoded = read(*payloads)
    assert decoded.events.num_rows >= payloads.count(an_event())
    read(b"\n".join(payloads), b"\xff\xff\xff\xff" + b"".join(payloads))


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_arrow_raises_nothing(at: int, byte: int, cut: bool) -> None:
    payload = bytearray(to_ipc(arrow_event()))
    at %= len(payload)
    payload[at:] = b"" if cut else bytes([byte]) + payload[at + 1 :]
    decoded = read(bytes(payload))
    decoded.events.validate(full=True)
    assert decoded.events.num_rows + len(decoded.dead) <= 1 or not cut


def test_pieces_are_decoded_alike_together_and_alone() -> None:
    payloads = [case.payload for case in Mixer(9).cases(400)]
    together = read(*payloads)
    alone = [read(payload) for payload in payloads]
    assert as_read(together.events) == [row for each in alone for row in as_read(each.events)]
    assert len(together.dead) == sum(len(each.dead) for each in alone)


def test_nothing_at_all_is_an_empty_batch() -> None:
    assert read().events.num_rows == 0
    assert read().events.schema == SCHEMA
    assert dumps({}) == b"{}"


@pytest.mark.parametrize("first", [b"null", b"1", b"[1]", b'"x"', b"true", b"[" * 5000 + b"]" * 5000])
def test_a_first_line_of_any_other_json_costs_only_itself(first: bytes) -> None:
    decoded = read(b"\n".join([first, an_event(id="1"), an_event(id="2")]))
    assert decoded.events.column("event_id").to_pylist() == ["1", "2"]
    assert [(letter.line, letter.payload) for letter in decoded.dead] == [(1, first)]


def test_a_broken_object_with_objects_in_it_is_one_dead_letter() -> None:
    written = json.dumps(json.loads(an_event(data=[{}, {"a": 1}])), indent=1).encode()
    assert reason(written.replace(b'{\n   "a": 1\n  }', an_event())[:-2])


@pytest.mark.parametrize("texts", [["1 2", ""], ['{"a":', "1}", "3 4"], [" ", "{}"]])
def test_arrow_rows_are_json_each_for_itself(texts: list[str]) -> None:
    rows = pa.concat_batches([arrow_event()] * len(texts))
    columns = {name: rows.column(name) for name in SCHEMA.names} | {"data": pa.array(texts)}
    decoded = read(to_ipc(pa.RecordBatch.from_pydict(columns)))
    good = [text for text in texts if text == "{}"]
    assert decoded.events.column("data").to_pylist() == good
    assert len(decoded.dead) == len(texts) - len(good)


def test_one_damaged_arrow_row_costs_only_itself() -> None:
    three = pa.concat_batches([arrow_event()] * 3)
    payload = to_ipc(three.set_column(7, "org_id", pa.array(["good", "b@d!", "good"])))
    decoded = read(payload.replace(b"b@d!", b"b\xffd!"))
    assert decoded.events.column("org_id").to_pylist() == ["good", "good"]
    assert decoded.dead[0].line == 2
    assert "not readable Arrow data" in decoded.dead[0].reason


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_one_arrow_time_out_of_range_costs_only_itself(unit: str) -> None:
    three = pa.concat_batches([arrow_event()] * 3)
    columns = {name: three.column(name) for name in SCHEMA.names}
    columns["timestamp"] = pa.array([0, 2**62, 1], pa.timestamp(unit))
    decoded = read(to_ipc(pa.RecordBatch.from_pydict(columns)))
    assert decoded.events.num_rows == 2
    assert [letter.line for letter in decoded.dead] == [2]


def test_an_hour_that_comes_twice_is_no_trouble() -> None:
    twice = pa.array([1_792_891_800_000_000_123], pa.timestamp("ns", "Europe/Berlin"))
    expected = datetime.fromtimestamp(1_792_891_800, UTC)
    assert event(to_ipc(arrow_event(timestamp=twice)))["timestamp"] == expected


def test_arrow_streams_one_behind_the_other_are_all_read() -> None:
    payload = to_ipc(arrow_event())
    assert read(payload + payload).events.num_rows == 2
    decoded = read(payload + b"junk")
    assert decoded.events.num_rows == 1
    assert [(letter.line, letter.payload) for letter in decoded.dead] == [(2, b"junk")]


def test_bad_arrow_rows_do_not_carry_the_others_with_them() -> None:
    rows = 2000
    many = pa.concat_batches([arrow_event()] * rows)
    columns = {name: many.column(name) for name in SCHEMA.names if name not in ("event_id", "user_id", "org_id")}
    columns["event_id"] = pa.nulls(rows, pa.string())
    columns["user_id"] = pa.array([f"user {n}" for n in range(rows)]).dictionary_encode()
    columns["org_id"] = pa.array([f"an organisation with a long name {n}" for n in range(rows)], pa.string_view())
    dead = read(to_ipc(pa.RecordBatch.from_pydict(columns))).dead
    assert len(dead) == rows
    assert max(len(letter.payload) for letter in dead) < 3000


def test_a_payload_that_grows_without_bounds_is_a_dead_letter() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 10_000]))
    many = {name: pa.array([value] * 100_000) for name, value in arrow_event().to_pylist()[0].items()}
    batch = pa.RecordBatch.from_pydict(many | {"entity_id": text, "data": pa.array(["1"] * 100_000)})
    assert "grow to more than 256 MiB" in reason(to_ipc(batch))


def test_a_small_payload_that_grows_out_of_proportion_is_a_dead_letter() -> None:
    batch = arrow_event(data=pa.array([json.dumps("a" * 10_000_000)]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for _ in range(5):
            writer.write_batch(batch)
    payload = sink.getvalue().to_pybytes()
    assert len(payload) < 200_000
    assert "it grows to more than 64 times its size" in reason(payload)


def test_a_large_payload_that_grows_to_more_than_a_column_has_room_for_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrow_payload, "MAX_PAYLOAD_BYTES", 2 << 20)
    one = to_ipc(arrow_event(data=pa.array([json.dumps("a" * 800_000)])))
    assert len(read(one + one).events) == 2
    decoded = read(one * 3)
    assert len(decoded.events) == 2  # of streams one behind the other, each stands for itself
    assert [(letter.line, letter.payload) for letter in decoded.dead] == [(3, one)]
    assert "or 2 MiB" in decoded.dead[0].reason


@pytest.mark.parametrize("values", [pa.string_view(), pa.binary_view(), pa.struct([("s", pa.string_view())])])
def test_a_bad_row_beside_a_column_that_pyarrow_cannot_cut_is_a_dead_letter_all_the_same(values: pa.DataType) -> None:
    """pyarrow cannot decode a dictionary of these; Polars writes one for a Categorical column."""
    two = pa.concat_batches([arrow_event(), arrow_event(data=pa.array(["{bad"]))])
    kinds = {"s": "x"} if pa.types.is_struct(values) else "x"
    extra = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), pa.array([kinds], values))
    decoded = read(to_ipc(pa.RecordBatch.from_arrays([*two.columns, extra], names=[*two.schema.names, "extra"])))
    (letter,) = decoded.dead
    assert (len(decoded.events), letter.line) == (1, 2)
    assert pa.ipc.open_stream(letter.payload).read_all().num_rows == 1


def test_a_column_may_be_a_dictionary_of_views() -> None:
    views = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["Order.Created"], pa.string_view()))
    assert len(read(to_ipc(arrow_event(event_type=views))).events) == 1
    (letter,) = read(to_ipc(arrow_event(event_type=views, data=pa.array(["{"])))).dead
    assert pa.ipc.open_stream(letter.payload).read_all()["event_type"].to_pylist() == ["Order.Created"]


def test_bad_rows_do_not_each_carry_what_all_of_them_share() -> None:
    rows = 500
    many = pa.concat_batches([arrow_event(data=pa.array(["{"]))] * rows)
    shared = pa.array([f"a value {n}" * 100 for n in range(rows)])
    extra = pa.StructArray.from_arrays([shared.dictionary_encode(), shared.cast(pa.string_view())], names=["d", "v"])
    payload = to_ipc(pa.RecordBatch.from_arrays([*many.columns, extra], names=[*many.schema.names, "extra"]))
    dead = read(payload).dead
    assert len(dead) == rows
    assert sum(len(letter.payload) for letter in dead) < 3 * len(payload)


def test_views_of_the_same_bytes_may_not_grow_without_bounds() -> None:
    text = json.dumps("a" * 400_000).encode()
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)  # length, the first bytes, which buffer, where in it
    buffers = [None, pa.py_buffer(view * 1000), pa.py_buffer(text)]
    views = pa.Array.from_buffers(pa.string_view(), 1000, buffers)
    many = pa.concat_batches([arrow_event()] * 1000)
    columns = {name: many.column(name) for name in SCHEMA.names} | {"data": views}
    assert "grow to more than 256 MiB" in reason(to_ipc(pa.RecordBatch.from_pydict(columns)))


def test_rows_of_several_arrow_payloads_keep_their_places() -> None:
    good = arrow_event().to_pylist()[0]
    batch = pa.RecordBatch.from_pylist([good, good | {"data": "{"}, good | {"entity_id": None}, good])
    late = pa.RecordBatch.from_pylist([good, good])
    payloads = [to_ipc(batch), an_event(), to_ipc(late) + to_ipc(batch), b"[", to_ipc(batch)]
    decoded = decode(Messages.of([7, 8, 9, 10, 11], [b"s"] * 5, [1] * 5, payloads))
    assert len(decoded.events) == 2 + 1 + 4 + 2
    found = [(letter.sequence, letter.line) for letter in decoded.dead]
    assert found == [(7, 2), (7, 3), (9, 4), (9, 5), (10, None), (11, 2), (11, 3)]
    assert decoded.dead[3].payload == decoded.dead[1].payload
    assert [letter.reason.split(":")[0] for letter in decoded.dead[:2]] == [
        "data is not JSON text",
        "the field entity_id is null",
    ]


@pytest.mark.parametrize("kind", [pa.list_view(pa.int64()), pa.struct([("a", pa.large_list_view(pa.string()))])])
def test_types_of_which_damage_ends_the_process_are_not_followed(kind: pa.DataType) -> None:
    batch = arrow_event().append_column("extra", pa.array([None], kind))
    assert "which is not read here" in reason(to_ipc(batch))
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    assert "which is not read here" in reason(to_ipc(arrow_event().append_column("extra", union)))


def test_columns_that_come_twice_or_in_several_types_are_read() -> None:
    first = arrow_event()
    both = first.append_column("id", pa.array([5]))
    assert event(to_ipc(both))["event_id"] == "5"
    assert event(to_ipc(first.append_column("entity_id", pa.array(["second"]))))["entity_id"] == "o-1"


FUZZ = """
import random, sys
import pyarrow as pa
from tests.bridge.test_decode import arrow_event, read
from tests.mixed import to_ipc
chance = random.Random(5)
batch = arrow_event(event_type=pa.array(["x"]).dictionary_encode(), entity_id=pa.array(["y"], pa.string_view()))
whole = to_ipc(pa.concat_batches([batch] * 3))
for _ in range(6000):
    payload = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(payload))
        payload[at : at + 1] = bytes([chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])])
    decoded = read(bytes(payload))
    decoded.events.validate(full=True)
"""


def test_damaged_dictionaries_and_views_do_not_end_the_process() -> None:
    result = subprocess.run([sys.executable, "-c", FUZZ], capture_output=True, timeout=100, check=False, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_later_stream_that_breaks_off_is_a_dead_letter_as_a_whole() -> None:
    good = to_ipc(arrow_event())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow_event().schema) as writer:
        writer.write_batch(arrow_event())
        writer.write_batch(arrow_event())
    broken = sink.getvalue().to_pybytes()[:-60]
    decoded = read(good + broken)
    assert decoded.events.num_rows == 1
    assert [letter.payload for letter in decoded.dead] == [broken]


def test_a_later_stream_without_a_column_costs_only_itself() -> None:
    good, bad = to_ipc(arrow_event()), to_ipc(arrow_event(entity_id=None))
    decoded = read(good + bad)
    assert decoded.events.num_rows == 1
    assert [(letter.reason, letter.payload) for letter in decoded.dead] == [("there is no column entity_id", bad)]
