"""Texts in a draft read back as they were."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlassign.config.yamlpos import parse_yaml
from dlassign.drafts.yaml_text import comment_lines, inline

ODD = ["null", "no", "1e3", "010", "a: b", "a #b", " a", "a ", "~", "", "é", "a'b", 'a"b', "\t", "-", ".", "..", "a\nb"]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(text: str) -> None:
    assert parse_yaml(f"root: {inline(text)}  # a comment", "a.yaml").data == {"root": text}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text(text: str) -> None:
    assert yaml.safe_load(f"[{inline(text)}]") == [text]


def test_plain_names_stay_plain() -> None:
    assert inline("my photos/2024_a-b.v1") == "my photos/2024_a-b.v1"


def test_a_comment_has_one_line() -> None:
    assert comment_lines(["a\nb: 1", "é \x1b[0m"]) == ["# a?b: 1", "# é ?[0m"]
