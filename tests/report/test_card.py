"""The card of a run: small, the same each time, escaped, and there whatever the folder holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlassign.report.card import MOST_BYTES, run_card
from dlassign.store.files import hold_lock
from dlassign.store.paths import RunPaths
from helpers.damaged import write_mutants
from helpers.synthetic import make_run

EVIL = "<script>alert(1)<b>\"'&amp;"


def test_a_card_holds_result_settings_and_curves(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=100, splits=("train", "val", "test"))
    html = run_card(paths)
    assert html == run_card(paths)
    for text in ("✓ finished", "seed 0", "7,510 parameters", "adam, lr 0.1", str(paths.root), "final test"):
        assert text in html
    assert re.search(r"<b>58\.10 %</b><span>\[44\.3, 70\.7\]</span>", html)
    assert html.count('<svg viewBox="0 0 360 200"') == 2
    for look in ("train", "again", "val", "test"):
        assert html.count(f'<path class="c-{look}" d="M') == 3  # the legend and two charts


def test_nothing_runs_nothing_is_fetched_and_no_style_leaves_the_card(tmp_path: Path) -> None:
    html = run_card(make_run(tmp_path, steps=20))
    assert not re.search(r"<script|https?:|url\(|@import|\bid=|\bon\w+=|href|src=", html)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    rules = re.sub(r"@media [^{]*\{", "", style)
    selectors = [selector for selector in re.findall(r"([^{}]+)\{", rules) if selector.strip()]
    assert len(selectors) > 20
    for selector in selectors:
        for part in re.split(r",(?![^()]*\))", selector):
            assert ".dlassign-card" in part, part


def test_names_are_escaped(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=20, label=EVIL, optimizer__name=EVIL)
    html = run_card(paths)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2


@pytest.mark.parametrize("name", ["'" * 5000, "𐍈" * 5000], ids=["escaped", "wide"])
def test_long_texts_and_long_logs_fit(name: str, tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=2000, every=1, eval_every=1, splits=("train", "val", "test"), label=name)
    assert 10_000 < len(run_card(paths).encode()) <= MOST_BYTES


@pytest.mark.parametrize(("status", "sign"), [(None, "‖ interrupted"), ("diverged", "✕ diverged")])
def test_runs_that_have_not_finished(status: str | None, sign: str, tmp_path: Path) -> None:
    html = run_card(make_run(tmp_path, steps=60, nan_from=40, status=status))
    assert sign in html
    assert "results so far" in html
    assert "nan" not in "".join(re.findall(r' d="[^"]*"', html)).lower()


def test_a_run_that_goes_on_has_not_begun_or_is_damaged(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=20, status=None)
    with hold_lock(paths.lock, taken=""):
        assert "▶ running" in run_card(paths)
    nothing = RunPaths(tmp_path / "toy" / "0a0a0a0a-s0")
    assert "○ not begun" in run_card(nothing)
    nothing.root.mkdir()
    nothing.log.write_text("rubbish\n")
    assert "✕ unreadable" in run_card(nothing)


@pytest.mark.slow  # some 400 damaged logs, each with a card
def test_there_is_a_card_whatever_a_log_holds(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", steps=4, eval_every=2, classes=2, finals=("test",))
    for changed in write_mutants(good, tmp_path / "out"):
        assert len(run_card(changed if isinstance(changed, RunPaths) else RunPaths(changed)).encode()) <= MOST_BYTES
