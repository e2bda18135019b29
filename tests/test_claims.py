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

    def test_each_claim_stands_once(self, file: Path) -> None:
        said = [one["claim"] for one in claims(file)]
        assert len(said) == len(set(said))


@pytest.mark.parametrize("table", ["uva2018", "uva2020"])
def test_every_row_shows_a_claim(table: str) -> None:
    named = {target for file in FILES for one in claims(file) for target in one.get("shown_by", ())}
    assert {f"{table}:{row}" for row in rows(table)} <= named
