"""Frames on their way into the stream: what their columns may be, and what is said of those that are none."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraiseql_events import InvalidArgument
from fraiseql_events.json_text import json_text
from fraiseql_events.publishing import frame_messages

EVENT = {
    "id": "1", "event_type": "Order.Created", "entity_type": "Order", "entity_id": "o-1",
    "timestamp": datetime(2026, 1, 31, tzinfo=UTC),
}  # fmt: skip
#: What JSON has words for, numbers of any size among them.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


def rows(*data: Any) -> list[dict[str, Any]]:
    return [EVENT | {"data": each} for each in data]


def published(frame: Any) -> list[Any]:
    return [json.loads(payload)["data"] for _, payload in frame_messages(frame)]


def refused(frame: Any) -> str:
    with pytest.raises(InvalidArgument) as error:
        frame_messages(frame)
    return str(error.value)


def test_dictionaries_of_any_shape_are_published_as_they_are() -> None:
    data = [{"a": 1}, {"b": [1, {"c": None}]}, {}, {"total": Decimal("1.10"), "n": 2**70}, [1, "x"]]
    frame = pd.DataFrame({**EVENT, "data": data})
    _, payload = list(frame_messages(frame))[3]
    assert b'"data":{"total":1.10,"n":1180591620717411303424},' in payload
    assert published(frame)[:3] == data[:3]
    objects = pl.DataFrame({**EVENT, "data": pl.Series(data, dtype=pl.Object)})
    assert published(objects) == published(frame)


def test_structs_of_polars_and_arrow_are_published_as_they_are() -> None:
    data = [{"total": 9.5, "items": [{"sku": "a", "paid": Decimal("0.30")}]}, {"total": None, "items": []}]
    frame = pl.DataFrame(rows(*data))
    assert isinstance(frame.schema["data"], pl.Struct)
    assert published(frame) == [{"total": 9.5, "items": [{"sku": "a", "paid": 0.3}]}, data[1]]
    assert published(frame.to_arrow()) == published(frame)
    maps = pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))
    assert published(pa.table({**{name: [value] for name, value in EVENT.items()}, "data": maps})) == [{"k": 1}]


def test_text_is_json_already_also_beside_dictionaries() -> None:
    assert published(pd.DataFrame(rows('{"a": 1}', {"a": 1}))) == [{"a": 1}, {"a": 1}]
    assert refused(pl.DataFrame(rows("text"))).startswith("the frame, row 1: data is not JSON text")


@given(VALUES)
def test_a_value_is_the_same_when_it_is_read_again(value: Any) -> None:
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.5), "0.5"), (np.int64(7), "7"), (np.array([[1, 2]]), "[[1,2]]"), (np.bool_(True), "true"),
        (Decimal("1E+2"), "1E+2"), (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'), ((1, 2), "[1,2]"),
        (np.datetime64("2026-01-02T03:04:05", "ns"), '"2026-01-02T03:04:05.000000000"'),
    ],
)  # fmt: skip
def test_numbers_and_times_of_libraries_are_taken(value: Any, text: str) -> None:
    assert json_text(value) == text


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, Decimal("NaN"), pd.NaT, b"x", {1: 2}, "\ud800", np.timedelta64(1), {1}]
)
def test_what_json_has_no_word_for_is_refused_with_its_row(value: Any) -> None:
    said = refused(pd.DataFrame({**EVENT, "data": [{}, {"x": [value]}]}))
    assert said.startswith("the frame, row 2: data: ")


def test_all_missing_columns_are_named_with_what_each_is() -> None:
    frame = pl.DataFrame({"time": ["2026-01-01"], "type": ["x"], "entity_id": ["1"], "data": ["1"], "uuid": ["1"]})
    assert refused(frame) == (
        "the frame: there is no column id (a text that is this event's alone), event_type (what happened, such as "
        "'Order.Created'), entity_type (what it happened to, such as 'Order'), timestamp (when: a time, UTC where it "
        "has no zone); if these are there by another name, rename them: {'uuid': 'id', 'type': 'event_type', 'time': "
        "'timestamp'}"
    )
    mended = frame.rename({"uuid": "id", "type": "event_type", "time": "timestamp"}).with_columns(
        entity_type=pl.lit("Order")
    )
    assert published(mended.with_columns(timestamp=pl.lit("2026-01-01T00:00:00Z"))) == [1]


def test_a_name_that_two_columns_may_mean_is_not_guessed() -> None:
    frame = pl.DataFrame(rows("1")).rename({"timestamp": "time"}).with_columns(date=pl.lit("2026-01-01"))
    assert refused(frame) == "the frame: there is no column timestamp (when: a time, UTC where it has no zone)"


def test_a_frame_without_rows_is_looked_at_too() -> None:
    assert published(pl.DataFrame(rows("1")).clear()) == []
    assert refused(pl.DataFrame({"id": []})).startswith("the frame: there is no column event_type")


def test_a_frame_that_arrow_cannot_read_is_one_sentence() -> None:
    frame = pd.DataFrame(rows("1", "2")).assign(user_id=[1, "x"])
    assert refused(frame).startswith("the frame cannot be read as Arrow: ")
