"""The picture of a dashboard: well-formed whatever an event holds, and everything is in it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fraiseql_events.live.picture import HEIGHT, WIDTH, Caption, picture
from tests.live.test_window import NOW, SECOND, events, window

CAPTION = Caption(title="Order", state="live", mood="live", value="total", by="status")


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter() if each.tag.endswith("text")]


def drawn(*rows: tuple[int, str | None, float | None], caption: Caption = CAPTION) -> str:
    counted = window()
    counted.add(events(*rows), now=NOW, live=True)
    return picture(counted.look(NOW), caption)


def test_it_tells_state_rate_totals_groups_and_the_newest_events() -> None:
    svg = drawn(*[(NOW - number * SECOND // 2, "paid", 10.0) for number in range(60)], (NOW, "lost", 5.5))
    said = texts(svg)
    for text in ("Order", "live", "events a second", "2", "61", "605.50", "9.93", "paid", "60, 600", "1, 5.50"):
        assert text in said, (text, said)
    assert said.count("Order.Created") == 8
    assert f"{WIDTH}" in svg
    assert "lost" in said


def test_a_server_that_is_gone_is_told_with_the_command_that_starts_one() -> None:
    state = "asking again: no server answers at grpc://127.0.0.1:50051: start one with `%fraiseql serve`, or name one"
    (said,) = (text for text in texts(drawn(caption=replace(CAPTION, state=state))) if text.startswith("asking again"))
    assert "start one with `%fraiseql serve`" in said


def test_a_group_of_the_dashboard_is_told_from_one_of_the_data_that_is_called_the_same() -> None:
    svg = drawn((NOW, "none", 1.0), (NOW, "none", 1.0), (NOW, None, 1.0))
    named = [each for each in ET.fromstring(svg).iter() if each.text == "none"]
    assert [each.get("font-style") for each in named if each.get("font-family") is None] == [None, "italic"]


def test_nothing_yet_is_a_picture_too() -> None:
    assert "no events yet" in texts(picture(window().look(NOW), CAPTION))


def test_what_an_event_holds_cannot_become_markup() -> None:
    svg = drawn((NOW, "<script>alert(1)</script>", 1.0), (NOW, "a & b \x00\x1b\ud7ff", 1.0))
    assert "<script" not in svg
    assert "<script>alert(1)</s…" in texts(svg)


def test_what_joins_or_parts_words_is_kept_and_what_turns_them_around_is_not() -> None:
    said = texts(drawn((NOW, "👩\u200d👧 می\u200cشود", 1.0), (NOW, "1\u202f000\xa0€ \u202eabc", 1.0)))
    assert "👩\u200d👧 می\u200cشود" in said
    assert "1\u202f000\xa0€ �abc" in said


def test_negative_values_hang_from_the_zero_line_and_stay_in_the_chart() -> None:
    svg = drawn((NOW, "refund", -40.0), (NOW, "paid", 100.0), (NOW - 5 * SECOND, "refund", -90.0))
    heights = [float(y) for y in re.findall(r"V([\d.]+)h", svg)]
    assert heights
    assert all(100 < y < 320 for y in heights)
    assert "-100" in texts(svg)


def test_a_caption_without_a_value_counts_events() -> None:
    caption = Caption(title="Order", state="paused", mood="still", value=None, by="status", note="2 values did not fit")
    said = texts(drawn((NOW, "paid", None), caption=caption))
    assert "2 values did not fit" in said
    assert not any(text.startswith("sum of") for text in said)


number = st.floats(allow_nan=False, width=64) | st.sampled_from([1e308, -1e308, 5e-324, 0.0])


@given(st.lists(st.tuples(st.just(NOW), st.text(max_size=30), number), max_size=12), st.text(max_size=200))
def test_any_text_and_any_number_make_a_well_formed_picture(rows: list[tuple[int, str, float]], state: str) -> None:
    caption = Caption(title=state[:20], state=state, mood="failed", value="total", by="status", note=state)
    svg = drawn(*rows, caption=caption)
    root = ET.fromstring(svg)
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    assert root.get("width") is None  # a picture that is wider than its cell would be cut off
    assert not re.search(r'[="M V h]-?(nan|inf)', svg)
