"""Typed columns of `data`: each value as it is, or null and counted."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraiseql_events.errors import InvalidArgument
from fraiseql_events.payload import TypedPayload, describe, fields_of, infer, path_of


def typed(payload: dict[str, Any], *values: object) -> tuple[dict[str, list[Any]], dict[str, int]]:
    reader = TypedPayload(fields_of(payload), drop=True)
    batch = pa.record_batch({"data": pa.array([json.dumps(value) for value in values])})
    found, misfits = reader.add(batch)
    return found.to_pydict(), misfits


def test_values_of_every_type_are_taken_as_they_are() -> None:
    payload = {
        "text": pl.String, "number": pl.Float64, "whole": pl.Int64, "small": pl.Int8, "sure": pl.Boolean,
        "day": pl.Date, "moment": pl.Datetime("us", "UTC"), "price": pl.Decimal(10, 2), "inner.deep": str,
        "'odd' name": int,
    }  # fmt: skip
    value = {
        "text": "Zoë 🍓", "number": 1.5, "whole": 2**53 + 1, "small": -7, "sure": True, "day": "2026-01-31",
        "moment": "2026-01-31T12:00:00.123456+01:00", "price": 9.99, "inner": {"deep": "x"}, "'odd' name": 3,
    }  # fmt: skip
    found, misfits = typed(payload, value)
    assert found["whole"] == [2**53 + 1]
    assert found["day"] == [date(2026, 1, 31)]
    assert found["moment"] == [datetime(2026, 1, 31, 11, 0, 0, 123456, UTC)]
    assert [str(each) for each in found["price"]] == ["9.99"]
    assert (found["text"], found["inner.deep"], found["'odd' name"]) == (["Zoë 🍓"], ["x"], [3])
    assert (found["number"], found["small"], found["sure"]) == ([1.5], [-7], [True])
    assert set(misfits.values()) == {0}


def test_a_list_takes_each_element_and_what_does_not_fit_is_null_and_counted() -> None:
    items = [{"sku": "a", "n": 1}, {"sku": "b", "n": "many"}, {"n": 2.5}]
    found, misfits = typed({"items[].sku": pl.List(pl.String), "items[].n": pl.List(pl.Int64)}, {"items": items}, {})
    assert found == {"items[].sku": [["a", "b"], []], "items[].n": [[1, None, None], []]}
    assert misfits == {"items[].sku": 0, "items[].n": 2}


@pytest.mark.parametrize("value", ["many", 10.5, 1e3, 2**64, [1], {"a": 1}, "10.5"])
def test_what_is_no_whole_number_of_that_size_is_null_and_counted(value: object) -> None:
    assert typed({"n": pl.Int64}, {"n": value}, {"n": 1}) == ({"n": [None, 1]}, {"n": 1})


def test_what_is_not_there_is_null_and_not_counted() -> None:
    assert typed({"n": pl.Int64, "a.b": float}, {}, {"n": None}, [1], 5, "n", {"a": 1}) == (
        {"n": [None] * 6, "a.b": [None] * 6},
        {"n": 0, "a.b": 0},
    )


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({}, "it must be 'infer', or name fields"),
        ("guess", "it must be 'infer', or name fields"),
        ({"a..b": str}, "'a..b' is no path"),
        ({3: str}, "3 is no path"),
        ({"a": dict}, "a cannot be a <class 'dict'>"),
        ({"a": pl.Struct({"b": pl.Int64})}, "a cannot be a Struct"),
        ({"a": pl.List(pl.Int64)}, "the type of a must be no list, for its path takes one value; write"),
        ({"a[]": pl.Int64}, r"the type of a\[\] must be pl.List\(…\), for its path takes each element"),
    ],
)
def test_a_wrong_payload_is_one_sentence(payload: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        fields_of(payload)


def sample(*values: object) -> pa.Table:
    return pa.table({"data": [json.dumps(value) for value in values]})


def test_fields_are_found_with_their_types_in_the_order_they_are_met() -> None:
    found = infer(
        sample(
            {"status": "paid", "total": 1, "items": [{"sku": "a", "price": 2}], "address": {"zip": "8001"}, "tags": []},
            {"status": "new", "total": 2.5, "items": [], "vip": True, "note": None, "tags": ["x"], "odd.name": 1},
        )
    )
    assert {field.path: str(field.type) for field in found} == {
        "status": "string",
        "total": "double",
        "items[].sku": "list<item: string>",
        "items[].price": "list<item: int64>",
        "address.zip": "string",
        "tags[]": "list<item: string>",
        "vip": "bool",
        '"odd.name"': "int64",
    }


@pytest.mark.parametrize("values", [[], [1], ["x"], [{}]])
def test_nothing_to_look_at_is_one_sentence(values: list[object]) -> None:
    with pytest.raises(InvalidArgument, match="the data of these [01] events are no objects with any"):
        infer(sample(*values) if values else pa.table({"data": pa.array([], pa.string())}))


def test_a_description_says_how_often_a_field_is_there_and_gives_examples() -> None:
    there = sample({"a": 1, "b": [{"c": "x"}]}, {"a": 2}, {"a": 1}, {"b": []})
    frame = describe(there, infer(there))
    assert frame.rows() == [("a", "Int64", 0.75, "1, 2"), ("b[].c", "List(String)", 0.25, "x")]


def test_brackets_within_quotes_are_part_of_a_name() -> None:
    found, _ = typed({'"a[]"': int, '"a[]".b[]': pl.List(pl.Int64)}, {"a[]": 1}, {"a[]": {"b": [1, 2]}})
    assert found == {'"a[]"': [1, None], '"a[]".b[]': [[], [1, 2]]}
    there = sample({"tags[]": "x", "b": 1})
    assert [field.path for field in infer(there)] == ['"tags[]"', "b"]
    assert describe(there, infer(there))["examples"].to_list() == ["x", "1"]


def test_no_two_fields_have_one_name_and_each_name_leads_back_to_its_path() -> None:
    there = sample({"event_id": 1, "data": {"event_id": 2, "x": 3, "data": {"event_id": 4}}})
    fields = infer(there)
    assert [field.name for field in fields] == [
        "data.event_id",
        "data.data.event_id",
        "data.x",
        "data.data.data.event_id",
    ]
    assert [path_of(field.name) for field in fields] == [field.path for field in fields]
    assert describe(there, fields)["examples"].to_list() == ["1", "2", "3", "4"]


@pytest.mark.parametrize("value", ["infinity", "-infinity", "99999-01-01", "0000-12-31", "0044-03-15 (BC)"])
def test_a_time_outside_the_years_that_python_has_is_null_and_counted(value: str) -> None:
    found, misfits = typed(
        {"day": pl.Date, "moment": pl.Datetime("us", "UTC")},
        *({"day": v, "moment": v} for v in (value, "9999-12-31", "0001-01-01")),
    )
    assert found["day"] == [None, date(9999, 12, 31), date(1, 1, 1)]
    assert found["moment"] == [None, datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
    assert misfits == {"day": 1, "moment": 1}


def test_whole_numbers_that_are_too_large_are_found_as_text() -> None:
    there = sample({"id": 2**64 - 1, "ids": [2**63], "n": 2**63 - 1})
    assert {field.path: str(field.type) for field in infer(there)} == {
        "id": "string", "ids[]": "list<item: string>", "n": "int64",
    }  # fmt: skip


def test_whole_numbers_of_both_signs_are_found_as_such() -> None:
    there = sample({"change": -3, "large": -(2**63)}, {"change": 5, "large": 2**63 - 1}, {"change": 7, "large": 2**63})
    assert {field.path: str(field.type) for field in infer(there)} == {"change": "int64", "large": "string"}


scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=8) | st.floats(-1e6, 1e6)
names = st.text(st.characters(exclude_characters='."[]\\', exclude_categories=("Cs", "Cc")), min_size=1, max_size=5)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.dictionaries(names, scalars, max_size=4), min_size=1, max_size=6), names)
def test_text_and_whole_numbers_are_what_a_plain_reading_gives(values: list[dict[str, Any]], name: str) -> None:
    column = fields_of({name: pl.Int64})[0].name
    found, _ = typed({name: pl.Int64}, *values)
    whole = [value.get(name) for value in values]
    expected = [each if isinstance(each, int) and not isinstance(each, bool) else None for each in whole]
    for given_value, got, plain in zip(whole, found[column], expected, strict=True):
        assert got == plain or isinstance(given_value, str | float | bool)
    texts, misfits = typed({name: pl.String}, *values)
    for given_value, got in zip(whole, texts[column], strict=True):
        assert got == given_value if isinstance(given_value, str) else got is None or not isinstance(got, dict)
    assert misfits == {column: 0}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((pl.Float64, value) for value in ("1_000", " 12 ", "+5", "007", "1.", ".5", "0x1F", "NaN", "inf", "")),
        *((pl.Int64, value) for value in ("1_000", " 12 ", "+5", "007", "0x1F", "1e3")),
        *((pl.Decimal(10, 2), value) for value in ("1_000", " 12 ")),
        *((pl.Boolean, value) for value in ("yes", "t", 1, "TRUE")),
        *((pl.Date, value) for value in ("2026/1/5", "2026-1-5", " 2026-01-05 ", "epoch")),
        (pl.Datetime("us", "UTC"), "2026/01/05 12:00"),
    ],
)
def test_what_is_written_as_neither_json_nor_iso_8601_does_not_fit(kind: Any, value: object) -> None:
    assert typed({"n": kind}, {"n": value}) == ({"n": [None]}, {"n": 1})


def test_what_is_written_as_json_and_iso_8601_fits() -> None:
    numbers = ["-12.50", 0, -0.5, 1e3, "1E-2"]
    assert typed({"n": pl.Float64}, *({"n": each} for each in numbers))[0] == {"n": [-12.5, 0, -0.5, 1000, 0.01]}
    moments = ["2026-01-05", "2026-01-05T12:00Z", "2026-01-05 12:00:00.5", "2026-01-05T13:00:00+01:00"]
    found, misfits = typed({"n": pl.Datetime("us", "UTC")}, *({"n": each} for each in moments))
    day = datetime(2026, 1, 5, tzinfo=UTC)
    noon = day.replace(hour=12)
    assert found == {"n": [day, noon, noon.replace(microsecond=500_000), noon]}
    assert misfits == {"n": 0}


@pytest.mark.parametrize("kind", ["float", "Float64", "number", np.float64])
def test_a_type_that_cannot_be_named_so_says_what_to_write(kind: Any) -> None:
    with pytest.raises(InvalidArgument, match="total cannot be a .*: write str, int, float, bool, or a type of Polars"):
        fields_of({"total": kind})


def test_fields_that_no_path_can_name_are_told() -> None:
    with pytest.warns(UserWarning, match=r"left out, for no path can name them: the fields '', 'a\.' of data") as said:
        found = infer(sample({"": 1, "a": {"": 2, "b": 3}}))
    assert [field.path for field in found] == ["a.b"]
    assert said[0].filename == __file__
