"""Tables and sentences as text, and how they fit a terminal."""

from __future__ import annotations

import pytest

from dlassign.stats.text import columns_text, terminal_width, wrapped

COLUMNS = {"name": ["a", "bb"], "first": ["1.5", "12"], "second": ["x y", "-"], "third": ["0.25", "3"]}


def test_columns_stand_in_one_table_where_there_is_room() -> None:
    assert columns_text(COLUMNS) == columns_text(COLUMNS, width=80)
    assert columns_text(COLUMNS).splitlines() == [
        "name  first  second  third",
        "a       1.5  x y      0.25",
        "bb       12  -           3",
    ]


def test_columns_beyond_the_width_stand_below_after_the_first_one() -> None:
    text = columns_text(COLUMNS, width=20)
    assert text.split("\n\n")[0].splitlines() == ["name  first  second", "a       1.5  x y", "bb       12  -"]
    assert text.split("\n\n")[1].splitlines() == ["name  third", "a      0.25", "bb        3"]


@pytest.mark.parametrize("width", [1, 5, 9])
def test_every_column_is_there_however_narrow_it_is(width: int) -> None:
    blocks = columns_text(COLUMNS, width=width).split("\n\n")
    assert [block.split()[:2] for block in blocks] == [["name", head] for head in ("first", "second", "third")]


def test_a_sentence_is_broken_between_words_alone() -> None:
    text = "  such as photos/test/circle/new.jpg and another"
    assert wrapped(text, after="    ", width=24).splitlines() == [
        "  such as",
        "    photos/test/circle/new.jpg",
        "    and another",
    ]
    assert wrapped(text) == wrapped(text, width=len(text)) == text


def test_a_pipe_has_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal_width() is None
