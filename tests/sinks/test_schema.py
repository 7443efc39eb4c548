"""The tables' SQL is that of the documentation, and what is otherwise in a table is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import fraiseql_events
from fraiseql_events.sinks.schema import COLUMNS, Tables, days_kept, difference

DOCS = Path(fraiseql_events.__file__).parent.parent / "docs"


def test_the_documentation_has_the_statements_that_are_run() -> None:
    text = (DOCS / "clickhouse.md").read_text(encoding="utf-8")
    tables = Tables(database="default", table="fraiseql_events")
    for statement in [*tables.migration(), tables.position_table()]:
        assert f"{statement};" in text


def test_a_column_of_another_kind_is_a_difference_and_low_cardinality_is_none() -> None:
    assert difference(COLUMNS, COLUMNS) == ""
    assert difference(COLUMNS | {"event_type": "String", "more": "UInt8"}, COLUMNS) == ""
    assert difference(COLUMNS | {"data": "JSON"}, COLUMNS) == "data is JSON instead of String"
    assert difference(COLUMNS | {"user_id": "String"}, COLUMNS) == "user_id is String instead of Nullable(String)"


@pytest.mark.parametrize(
    ("statement", "days"),
    [
        ("… ORDER BY offset TTL timestamp + toIntervalDay(90) SETTINGS …", 90),
        ("… TTL timestamp + INTERVAL 7 DAY", 7),
        ("… TTL toDateTime(timestamp) + toIntervalMonth(3)", None),
        ("… ORDER BY offset", None),
    ],
)
def test_the_days_that_a_table_keeps_are_read_out_of_its_statement(statement: str, days: int | None) -> None:
    assert days_kept(statement) == days
