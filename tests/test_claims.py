"""Each claim of the five reports says where it is shown, or why it is not; every place that is named is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import read_yaml
from dlassign.config.load_table import load_table

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docs" / "reproduction" / "claims").glob("*.yaml"))
QUESTIONS = {
    "uva2018": ("1.1", "1.2", "2,", "3.1", "3.2", "4"),
    "uva2020": ("1.1", "1.2", "2.1", "2.2", "3.1", "3.2", "4"),
    "eecs598": (
        *("Q1.1", "Q1.2", "Q1.3", "Q1.4", "Q1.5", "Q2.3", "Q2.4", "Q3.3", "Q3.4", "Q4.3", "Q4.4", "Q5.3", "Q5.4"),
        *("Q6.2", "Q6.3", "Q7.1", "Q7.2", "Q7.3"),
    ),
    "hlcv003": ("Q1", "Q2 a", "Q2 b", "Q2 c", "Q2 d", "Q3", "Q4"),
    "hlcv004": ("Q1 a", "Q1 b", "Q1 c", "Q2 a", "Q2 b", "Q2 c", "Q2 d", "Q3 a", "Q3 b", "Q4 a", "Q4 c"),
}
"""What each report answers, from reading it: the reports are no part of the repository."""
LEAST = {"uva2018": 36, "uva2020": 35, "eecs598": 30, "hlcv003": 39, "hlcv004": 50}
"""How many claims each was read to have."""
REASON = 40
"""Letters that a reason has at least: "not measured" is none."""


def claims(file: Path) -> list[dict[str, Any]]:
    data = read_yaml(file).data
    assert set(data) == {"claims"}
    found: list[dict[str, Any]] = data["claims"]
    return found


@cache
def rows(table: str) -> frozenset[str]:
    return frozenset(load_table(ROOT / "configs" / "tables" / f"{table}.yaml").config.rows)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return what a heading of a page is linked by: its words in small letters, without marks."""
    heads = re.findall(r"^#+ +(.*)", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads)


def is_there(target: str) -> bool:
    """Return whether a row of a table, a file, or a heading of a page is there."""
    path, _, anchor = target.partition("#")
    if (ROOT / path).is_file():
        return not anchor or anchor in anchors(ROOT / path)
    table, colon, row = target.partition(":")
    return bool(colon) and (ROOT / "configs" / "tables" / f"{table}.yaml").is_file() and row in rows(table)


def test_there_is_a_list_for_each_report() -> None:
    assert {file.stem for file in FILES} == {"uva2018", "uva2020", "eecs598", "hlcv003", "hlcv004"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestEveryList:
    def test_each_claim_is_shown_or_says_why_not(self, file: Path) -> None:
        for one in claims(file):
            assert set(one) in ({"claim", "where", "shown_by"}, {"claim", "where", "why_not"}), one
            assert all(one.values()), one

    def test_what_shows_it_is_there(self, file: Path) -> None:
        missing = [target for one in claims(file) for target in one.get("shown_by", ()) if not is_there(target)]
        assert missing == []

    def test_a_reason_has_substance(self, file: Path) -> None:
        assert all(len(one["why_not"]) >= REASON for one in claims(file) if "why_not" in one)

    def test_no_claim_is_lost_and_each_question_has_one(self, file: Path) -> None:
        assert len(claims(file)) >= LEAST[file.stem]
        places = [str(one["where"]) for one in claims(file)]
        missing = [question for question in QUESTIONS[file.stem] if not any(at.startswith(question) for at in places)]
        assert missing == []

    def test_each_claim_stands_once(self, file: Path) -> None:
        said = [one["claim"] for one in claims(file)]
        assert len(said) == len(set(said))


@pytest.mark.parametrize("table", ["eecs598", "hlcv", "uva2018", "uva2020"])
def test_every_row_shows_a_claim(table: str) -> None:
    named = {target for file in FILES for one in claims(file) for target in one.get("shown_by", ())}
    assert {f"{table}:{row}" for row in rows(table)} <= named
