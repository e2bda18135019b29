"""The table of runs and the curves of the report page in a real browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dlassign.plots.panel import DASHES
from dlassign.plots.series import average, series
from dlassign.report.runs import key_of
from dlassign.store.records import read_records
from helpers import report_folder as folder
from helpers.browsing import choose, column, names, status, write_page

pytestmark = pytest.mark.extra


class TestTable:
    def test_sorting(self, page: Any) -> None:
        head = page.locator("th:has([data-sort=val])")
        assert page.locator("th:has([data-sort=started])").get_attribute("aria-sort") == "descending"
        page.click("[data-sort=val]")
        assert head.get_attribute("aria-sort") == "descending"
        falling = [float(text) for text in column(page, 3) if text != "–"]
        assert falling == sorted(falling, reverse=True)
        assert len(falling) == 6
        page.click("[data-sort=val]")
        assert head.get_attribute("aria-sort") == "ascending"
        assert [float(text) for text in column(page, 3)[:6]] == falling[::-1]
        assert set(names(page)[-3:]) == {"tested", "broken", "foreign"}  # without a value: last in either direction
        page.click("[data-sort=name]")
        assert names(page) == sorted(names(page))

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("slow", ["slow"] * 3),
            ("optimizer.lr=0.2", ["fast"] * 3),
            ("optimizer.lr>=0.1 seed!=1", ["tested", "fast", "fast"]),
            ("mlp seed=1 status=finished", ["fast", "slow"]),
            ("optimizer=adam model=mlp name=tested", ["tested"]),
            ("model.hidden=[100] digits test<1", []),
            ("status=unreadable", ["broken", "foreign"]),
            ('"schema 9"', ["foreign"]),
        ],
    )
    def test_filter(self, page: Any, query: Any, expected: Any) -> None:
        page.fill("#filter", query)
        assert names(page) == expected
        assert status(page).startswith(f"{len(expected)} of 9 runs shown")

    def test_a_number_in_a_condition_is_that_of_the_table(self, page: Any) -> None:
        values = sorted(float(text) for text in column(page, 3) if text != "–")
        page.fill("#filter", f"val>{(values[2] + values[3]) / 2}")
        assert sorted(float(text) for text in column(page, 3)) == values[3:]

    def test_an_unknown_key_is_told(self, page: Any) -> None:
        page.fill("#filter", "optimzer.lr=1")
        assert status(page).endswith("no run has the key optimzer.lr")

    def test_keys(self, page: Any) -> None:
        page.locator("#filter").focus()
        page.click("#select-none")
        page.locator("#run-table [data-sort=started]").focus()
        page.keyboard.press("Tab")
        focused = "document.activeElement.closest('tr').rowIndex + ' ' + document.activeElement.tagName"
        assert page.evaluate(focused) == "1 INPUT"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == "3 INPUT"
        assert "2 selected" in status(page)
        assert page.locator("#run-table tr.selected").count() == 2
        page.keyboard.press("ArrowRight")
        assert page.evaluate(focused) == "3 BUTTON"
        page.keyboard.press("Home")
        assert page.evaluate(focused) == "1 BUTTON"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "run-title"
        assert page.input_value("#chosen") == page.locator("#run-table tbody tr").first.get_attribute("data-key")

    def test_links_lead_to_the_run(self, page: Any, made: SimpleNamespace) -> None:
        page.click("#sweep-1 .run-link >> nth=1")
        assert page.input_value("#chosen") == key_of(made.runs["slow"][1])
        assert str(made.runs["slow"][1].root) in page.inner_text("#run-details")


class TestCurves:
    def at(self, page: Any, made: SimpleNamespace, number: int) -> None:
        """Move the pointer over the loss to the step of the number-th evaluation of the first slow run."""
        grid = page.locator("#loss-chart svg").bounding_box()
        steps = [record["step"] for record in read_records(made.runs["slow"][0].log).evaluations("val")]
        # The plot goes from the first to the last training record; its margins are those of chart.js.
        place = grid["x"] + 52 + (steps[number] - 2) / (100 - 2) * (grid["width"] - 52 - 14)
        page.mouse.move(place, grid["y"] + 60)

    def test_the_selected_runs_are_drawn(self, page: Any) -> None:
        choose(page, "slow", "tested")
        assert page.locator("#run-legend button").count() == 4
        assert page.locator("#loss-chart .curve").count() == 3 * 2 + 2  # train with val, or with test
        assert page.locator("#accuracy-chart .curve").count() == 8
        page.click("#select-none")
        assert "Select runs" in page.inner_text("#curve-note")
        assert page.locator(".curve").count() == 0

    def test_hovering_shows_the_values_of_the_log(self, page: Any, made: SimpleNamespace) -> None:
        choose(page, "slow")
        page.locator("#loss-chart").scroll_into_view_if_needed()
        self.at(page, made, 4)
        box = page.locator("#loss-chart .readout")
        assert "step 50" in box.inner_text()
        for run in made.runs["slow"]:
            loss = read_records(run.log).evaluations("val")[4]["loss"]
            assert f"{loss:.4g}" in box.inner_text()
        page.mouse.move(5, 5)
        assert box.is_hidden()

    def test_arrow_keys_read_values(self, page: Any, made: SimpleNamespace) -> None:
        choose(page, "tested")
        page.locator("#loss-chart svg").focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        record = read_records(made.runs["tested"][0].log).train[-2]
        assert f"step {record['step']}" in page.inner_text("#reading")
        assert f"tested, train {record['loss']:.4g}" in page.inner_text("#reading")

    def test_the_legend_toggles(self, page: Any) -> None:
        choose(page, "slow")
        button = page.locator("#run-legend button").first
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        assert page.locator("#run-legend button").first.get_attribute("aria-pressed") == "false"
        assert page.locator("#loss-chart .curve").count() == 4
        page.locator("#split-legend button", has_text="train").press("Enter")
        assert page.locator("#loss-chart .curve").count() == 2
        assert page.evaluate("document.activeElement.id") == "split:train"
        page.locator("#run-legend button").first.click()
        assert page.locator("#loss-chart .curve").count() == 3

    def test_every_line_style_has_its_own_entry_and_is_that_of_the_pictures(self, visit: Any, tmp_path: Path) -> None:
        run = folder.make_run(tmp_path / "out", splits=("train", "val", "test"))
        page = visit(write_page(tmp_path / "out", tmp_path / "page.html"))
        entries = page.locator("#split-legend button")
        dashes = {
            button.inner_text(): button.locator("line").get_attribute("stroke-dasharray") for button in entries.all()
        }
        assert list(dashes) == list(DASHES)
        for curve, dash in dashes.items():
            lengths = [float(length) for length in dash.split()] if dash else []
            kinds = {0: "-", 4: "-."}
            assert kinds.get(len(lengths), "--" if lengths and lengths[0] > 3 else ":") == DASHES[curve]
        assert page.locator("#loss-chart .curve").count() == 4, run
        for left, curve in zip((3, 2, 1, 0), ("train, evaluated", "val", "train", "test"), strict=True):
            entries.get_by_text(curve, exact=True).click()
            assert page.locator("#loss-chart .curve").count() == left

    def test_a_run_keeps_its_colour(self, page: Any) -> None:
        choose(page, "slow")
        colours = page.locator("#run-legend line").evaluate_all("lines => lines.map((l) => l.getAttribute('stroke'))")
        assert len(set(colours)) == 3
        page.locator("#run-table tr.selected input").first.uncheck()
        left = page.locator("#run-legend line").evaluate_all("lines => lines.map((l) => l.getAttribute('stroke'))")
        assert set(left) < set(colours)

    def test_mean_and_range_over_seeds(self, page: Any, made: SimpleNamespace) -> None:
        choose(page, "slow", "fast")
        page.check("#average")
        assert page.locator("#run-legend button").all_inner_texts() == ["slow (3 seeds)", "fast (3 seeds)"]
        assert page.locator("#loss-chart .band").count() == 4
        page.locator("#loss-chart").scroll_into_view_if_needed()
        self.at(page, made, 4)
        curves = [series(read_records(run.log), "val", metric="loss", x="step") for run in made.runs["slow"]]
        mean = average(curves)
        place = int(np.flatnonzero(mean.x == 50)[0])
        text = page.inner_text("#loss-chart .readout")
        for value in (mean.mean[place], mean.low[place], mean.high[place]):
            assert f"{value:.4g}" in text

    def test_axes(self, page: Any) -> None:
        choose(page, "fast")
        for axis, name in (("epoch", "epoch"), ("seconds", "seconds of training")):
            page.select_option("#x-axis", axis)
            assert page.text_content("#loss-chart .name") == name
        before = page.get_attribute("#loss-chart .curve >> nth=0", "d")
        page.check("#log-loss")
        assert page.get_attribute("#loss-chart .curve >> nth=0", "d") != before
        page.select_option("#x-axis", "epoch")
        page.locator("#accuracy-chart svg").focus()
        page.keyboard.press("End")
        assert page.inner_text("#reading").startswith("epoch 2:")
