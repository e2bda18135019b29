"""Details, looks, live pages, size and damage of the report page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from dlassign.report.runs import key_of
from dlassign.store.records import read_records
from helpers import report_folder as folder
from helpers.browsing import choose, column, names, status, write_page
from helpers.damaged import write_mutants

pytestmark = pytest.mark.extra


class TestDetails:
    def test_the_confusion_matrix_with_recall_and_precision(self, page: Any, made: SimpleNamespace) -> None:
        run = made.runs["fast"][1]
        page.select_option("#chosen", key_of(run))
        page.select_option("#matrix-split", "val")
        counts = np.array(read_records(run.log).finals["val"]["confusion"])
        rows = page.locator(".matrix tbody tr")
        shown = [row.locator("td").all_inner_texts() for row in rows.all()]
        assert [[int(text) for text in row[:-1]] for row in shown] == counts.tolist()
        recall = 100 * np.diag(counts) / counts.sum(axis=1)
        assert [row[-1] for row in shown] == [f"{share:.1f}" for share in recall]
        precision = 100 * np.diag(counts) / counts.sum(axis=0)
        below = page.locator(".matrix tfoot td").all_inner_texts()
        assert below[:-1] == [f"{share:.1f}" for share in precision]

    def test_differences(self, page: Any) -> None:
        choose(page, "slow", "fast")
        table = page.locator("#differences table")
        assert table.locator("tbody th").all_inner_texts() == ["seed", "optimizer.lr"]
        values = table.locator("tbody tr").nth(1).locator("td").all_inner_texts()
        assert sorted(values) == ["0.05"] * 3 + ["0.2"] * 3
        choose(page, "fast")
        assert "equal but for name and seed" in page.inner_text("#differences")

    def test_config_weights_and_problems(self, page: Any, made: SimpleNamespace) -> None:
        page.select_option("#chosen", key_of(made.runs["fast"][0]))
        pictures = page.locator(".picture")
        assert [picture.evaluate("one => one.naturalWidth") for picture in pictures.all()] == [24, 16]
        assert pictures.first.get_attribute("alt").startswith("Worst errors. The worst errors of the test split")
        page.click("#config-text summary")
        assert "  name: adam\n  lr: 0.2\n  betas: [0.9,0.999]" in page.inner_text("#config-text pre")
        page.select_option("#chosen", key_of(made.runs["foreign"][0]))
        assert "schema 9" in page.inner_text("#run-details")

    def test_the_config_shown_can_be_read_as_yaml(self, page: Any, made: SimpleNamespace) -> None:
        page.select_option("#chosen", key_of(made.runs["slow"][0]))
        page.click("#config-text summary")
        assert (
            yaml.safe_load(page.inner_text("#config-text pre"))
            == read_records(made.runs["slow"][0].log).start["config"]
        )


class TestLooks:
    def ground(self, page: Any) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def test_dark_mode(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page)
        light = self.ground(page)
        page.click("#theme")
        dark = self.ground(page)
        assert dark != light
        assert page.get_attribute("#theme", "aria-pressed") == "true"
        page.reload()
        assert self.ground(page) == dark
        assert self.ground(visit(made.page, dark=True)) == dark

    def test_on_a_phone_a_reproduced_row_is_a_card(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page, width=390)
        [card] = page.locator("#table-1 tbody").all()
        parts = [
            card.get_by_text("50.00", exact=True),
            card.get_by_text("−1.00"),
            *map(card.locator, (".range", ".verdict")),
        ]
        places = [part.first.bounding_box() for part in parts]
        for place in places:
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= 390
        order = [
            card.locator(part).first.bounding_box()["y"] for part in (".label", ".figure", ".range", ".wide", ".last")
        ]
        assert order == sorted(order)
        assert (
            page.evaluate("getComputedStyle(document.querySelector('#table-1 td.num'), '::before').content")
            == '"reported"'
        )

    def test_a_phone_shows_val_and_test_of_runs_first(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page, width=390)
        page.fill("#filter", "fast")
        for cell in page.locator("#run-table tbody tr").first.locator("td.num").all()[:2]:
            place = cell.bounding_box()
            assert place["x"] + place["width"] <= 390

    def test_a_box_that_scrolls_has_a_shadow_where_there_is_more(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page, width=390)
        box = page.locator("#runs .box")
        shadow = "(s => s.boxShadow)(getComputedStyle(document.querySelector('#runs .edges'), '::after'))"
        edges = page.locator("#runs .edges")
        assert "more-right" in edges.get_attribute("class")
        at_start = page.evaluate(shadow)
        box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        page.wait_for_selector("#runs .edges.more-left")
        assert "more-right" not in edges.get_attribute("class")
        assert page.evaluate(shadow) != at_start
        wide = visit(made.page, width=1280)
        assert wide.evaluate("(b => b.scrollWidth <= b.clientWidth)(document.querySelector('#runs .box'))")
        assert wide.locator("#runs .edges.more-right").count() == 0

    def test_a_phone_scrolls_tables_and_not_the_page(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page, width=360)
        choose(page, "slow", "fast")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.querySelector('#runs .box').scrollWidth") > 360
        for control in page.locator("main button:visible, main select:visible, main input[type=search]").all():
            if not control.evaluate("e => e.closest('.box') !== null"):
                place = control.bounding_box()
                assert place["x"] >= 0
                assert place["x"] + place["width"] <= 360

    def test_print_is_black_on_white_without_controls(self, visit: Any, made: SimpleNamespace) -> None:
        page = visit(made.page, dark=True)
        page.emulate_media(media="print")
        assert self.ground(page) == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert page.locator("#theme, #filter, #select-shown, #run-table input").first.is_hidden()
        assert page.locator("#run-table").is_visible()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")

    def test_focus_can_be_seen(self, page: Any) -> None:
        for _ in range(12):
            page.keyboard.press("Tab")
            style = page.evaluate("(s => s.outlineStyle + s.outlineWidth)(getComputedStyle(document.activeElement))")
            assert style == "solid2px"


def test_names_from_users_do_no_harm(visit: Any, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror='window.evil=1'><script>window.evil=1</script>"
    run = folder.make_run(tmp_path / "out", label=evil)
    start, *rest = run.log.read_text().splitlines()
    record = json.loads(start)
    record["name"] = record["config"]["name"] = evil
    record["config"][evil] = [{evil: evil}]
    record["data"]["classes"] = [evil] * 10
    record["environment"] = {"command": [evil], "packages": {evil: evil}, "platform": evil}
    run.log.write_text("\n".join([json.dumps(record), *rest]) + "\n")
    page = visit(write_page(tmp_path / "out", tmp_path / "page.html", title=evil))
    page.click("#config-text summary")
    assert page.title() == evil
    assert page.evaluate("window.evil") is None
    assert page.locator("img").count() == 0
    assert evil in page.inner_text("#run-table")


def test_a_live_page_loads_itself_again_and_keeps_what_was_chosen(
    visit: Any, made: SimpleNamespace, tmp_path: Path
) -> None:
    target = write_page(made.out, tmp_path / "live.html", every=0.5)
    page = visit(target)
    page.fill("#filter", "fast")
    page.click("[data-sort=val]")
    page.click("#select-shown")
    page.check("#log-loss")
    page.locator("#filter").focus()
    write_page(made.out, target, every=60.0, title="The second page")
    page.wait_for_selector("h1:has-text('The second page')")
    page.wait_for_selector("#run-legend button")
    assert page.input_value("#filter") == "fast"
    assert names(page) == ["fast"] * 3
    assert page.locator("th:has([data-sort=val])").get_attribute("aria-sort") == "descending"
    assert page.locator("#run-legend button").count() == 3
    assert page.is_checked("#log-loss")
    assert page.evaluate("document.activeElement.id") == "filter"


def test_a_live_page_can_be_paused(visit: Any, made: SimpleNamespace, tmp_path: Path) -> None:
    page = visit(write_page(made.out, tmp_path / "live.html", every=0.5))
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    page.evaluate("window.before = true")
    page.wait_for_timeout(3000)
    assert page.evaluate("window.before") is True


def test_five_hundred_runs(visit: Any, tmp_path: Path) -> None:
    """The bounds that the page is built for: painted in 2 s, below 10 MB, and rows in order at once."""
    out = tmp_path / "out"
    for number in range(500):
        name, day = f"sweep{number // 100}", f"2026-01-{1 + number % 28:02d}T10:00:00+00:00"
        splits = ("val", "test")
        run = folder.make_run(
            out, name=name, lr=0.01 * (1 + number % 20), seed=number % 100 // 20, steps=360, splits=splits, started=day
        )
    assert len(run.log.read_text().splitlines()) > 200
    target = write_page(out, tmp_path / "page.html")
    assert target.stat().st_size < 10_000_000
    page = visit(target)
    [paint] = page.evaluate("performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)")
    assert paint < 2000
    assert status(page).startswith("500 of 500 runs shown")
    page.click("[data-sort=val]")
    assert page.locator("#run-table tbody tr").count() == 100
    page.locator("#run-table tbody button").first.focus()
    page.keyboard.press("End")
    assert page.locator("#run-table tbody tr").count() == 500
    falling = [float(text) for text in column(page, 3)]
    assert falling == sorted(falling, reverse=True)
    page.fill("#filter", "sweep3 seed=2")
    assert page.locator("#run-table tbody tr").count() == 20
    page.click("#select-shown")
    assert page.locator("#run-legend button").count() == 20
    page.fill("#filter", "")
    page.click("#select-shown")
    assert "The first 24 of 500 lines are drawn" in page.inner_text("#curve-note")


def test_damaged_logs_do_not_stop_the_script(visit: Any, tmp_path: Path) -> None:
    good = folder.make_run(tmp_path / "good", steps=4, eval_every=2, classes=2, finals=("test",))
    runs = write_mutants(good, tmp_path / "out")
    page = visit(write_page(tmp_path / "out", tmp_path / "page.html"))
    assert status(page).startswith(f"{len(runs)} of {len(runs)} runs shown")
    page.evaluate("""() => {
        const chosen = document.getElementById("chosen");
        for (const option of chosen.options) {
            chosen.value = option.value;
            chosen.dispatchEvent(new Event("change"));
        }
    }""")
    page.click("#select-shown")
    for axis in ("seconds", "epoch", "step"):
        page.select_option("#x-axis", axis)
    page.check("#average")
    page.check("#log-loss")


@pytest.mark.parametrize(
    "losses", [[1.7e308, -1.7e308, 1.0, 2.0], [1e300, -1e300, 1.0, 2.0], [1e17, 1e17 + 16] * 2, [1e300] * 4]
)
def test_losses_near_the_largest_number_are_drawn_or_left_out(losses: Any, visit: Any, tmp_path: Path) -> None:
    for seed in range(2):
        run = folder.make_run(tmp_path / "out", steps=8, splits=(), status=None, seed=seed)
        start, *lines = run.log.read_text().splitlines()
        records = [json.loads(line) | {"loss": loss} for line, loss in zip(lines, losses, strict=True)]
        run.log.write_text("\n".join([start, *map(json.dumps, records)]) + "\n")
    page = visit(write_page(tmp_path / "out", tmp_path / "page.html"))
    assert page.locator("#loss-chart .curve").count() == 2
    page.check("#average")
    assert "NaN" not in page.inner_html("#curves")
    assert "Infinity" not in page.inner_html("#curves")


def test_one_step_far_out_is_drawn(visit: Any, tmp_path: Path) -> None:
    run = folder.make_run(tmp_path / "out", steps=2, splits=(), finals=(), status=None)
    far = "1000000000000000000"  # of a plan as long, or the log would contradict itself
    run.log.write_text(run.log.read_text().replace('"step":2', f'"step":{far}').replace('"steps":2', f'"steps":{far}'))
    page = visit(write_page(tmp_path / "out", tmp_path / "page.html"))
    assert page.locator("#loss-chart circle").count() == 1
    assert "NaN" not in page.inner_html("#curves")
