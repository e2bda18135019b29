"""The report page in a real browser: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from dlassign.plots.panel import DASHES
from dlassign.plots.report import Report
from dlassign.plots.report_page import render_report
from dlassign.plots.report_runs import key_of
from dlassign.plots.report_sources import find_sources
from dlassign.plots.report_weights import WeightPictures
from dlassign.plots.series import average, series
from dlassign.runlog.files import write_text
from dlassign.runlog.records import read_records

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
folder = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "report_folder.py")))


def write_page(out: Path, target: Path, **options) -> Path:
    pictures = WeightPictures(lambda paths: pytest.fail(f"the checkpoint of {paths.root} was read"))
    write_text(target, render_report(Report(pictures).collect(find_sources([], out=out), **options)))
    return target


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("browser") / "out"
    runs = folder.fill(out)
    folder.write_sweep(out / "slow", runs["slow"])
    folder.write_table(out, "mine", [str(runs["fast"][0].root)], [folder.figure(), folder.figure("val")])
    plots = runs["fast"][0].plots
    plots.mkdir()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(plots / "weights.png")
    return SimpleNamespace(out=out, runs=runs, page=write_page(out, out.parent / "report.html"))


@pytest.fixture
def visit(chromium):
    """Opens pages, and holds every test to pages that report no error and ask for nothing but themselves."""
    contexts, problems = [], []

    def go(path: Path, *, width: int = 1280, dark: bool = False):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        address = path.as_uri()
        page.on("request", lambda request: request.url.startswith((address, "data:")) or problems.append(request.url))
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(visit, made):
    return visit(made.page)


def names(page) -> list[str]:
    return [text.split("\n")[0] for text in page.locator("#run-table tbody th").all_inner_texts()]


def column(page, number: int) -> list[str]:
    cells = page.locator(f"#run-table tbody tr:not(:has(.reason)) td:nth-child({number})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


def status(page) -> str:
    return page.inner_text("#filter-status")


def choose(page, *shown: str) -> None:
    """Select the runs of these names alone."""
    page.click("#select-none")
    for name in shown:
        page.fill("#filter", f"name={name}")
        for box in page.locator("#run-table tbody input").all():
            box.check()
    page.fill("#filter", "")


class TestTable:
    def test_sorting(self, page):
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
    def test_filter(self, page, query, expected):
        page.fill("#filter", query)
        assert names(page) == expected
        assert status(page).startswith(f"{len(expected)} of 9 runs shown")

    def test_a_number_in_a_condition_is_that_of_the_table(self, page):
        values = sorted(float(text) for text in column(page, 3) if text != "–")
        page.fill("#filter", f"val>{(values[2] + values[3]) / 2}")
        assert sorted(float(text) for text in column(page, 3)) == values[3:]

    def test_an_unknown_key_is_told(self, page):
        page.fill("#filter", "optimzer.lr=1")
        assert status(page).endswith("no run has the key optimzer.lr")

    def test_keys(self, page):
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

    def test_links_lead_to_the_run(self, page, made):
        page.click("#sweep-1 .run-link >> nth=1")
        assert page.input_value("#chosen") == key_of(made.runs["slow"][1])
        assert str(made.runs["slow"][1].root) in page.inner_text("#run-details")


class TestCurves:
    def at(self, page, made, number: int) -> None:
        """Move the pointer over the loss to the step of the number-th evaluation of the first slow run."""
        grid = page.locator("#loss-chart svg").bounding_box()
        steps = [record["step"] for record in read_records(made.runs["slow"][0].log).evaluations("val")]
        # The plot goes from the first to the last training record; its margins are those of chart.js.
        place = grid["x"] + 52 + (steps[number] - 2) / (100 - 2) * (grid["width"] - 52 - 14)
        page.mouse.move(place, grid["y"] + 60)

    def test_the_selected_runs_are_drawn(self, page):
        choose(page, "slow", "tested")
        assert page.locator("#run-legend button").count() == 4
        assert page.locator("#loss-chart .curve").count() == 3 * 2 + 2  # train with val, or with test
        assert page.locator("#accuracy-chart .curve").count() == 8
        page.click("#select-none")
        assert "Select runs" in page.inner_text("#curve-note")
        assert page.locator(".curve").count() == 0

    def test_hovering_shows_the_values_of_the_log(self, page, made):
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

    def test_arrow_keys_read_values(self, page, made):
        choose(page, "tested")
        page.locator("#loss-chart svg").focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        record = read_records(made.runs["tested"][0].log).train[-2]
        assert f"step {record['step']}" in page.inner_text("#reading")
        assert f"tested, train {record['loss']:.4g}" in page.inner_text("#reading")

    def test_the_legend_toggles(self, page):
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

    def test_every_line_style_has_its_own_entry_and_is_that_of_the_pictures(self, visit, tmp_path):
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

    def test_a_run_keeps_its_colour(self, page):
        choose(page, "slow")
        colours = page.locator("#run-legend line").evaluate_all("lines => lines.map((l) => l.getAttribute('stroke'))")
        assert len(set(colours)) == 3
        page.locator("#run-table tr.selected input").first.uncheck()
        left = page.locator("#run-legend line").evaluate_all("lines => lines.map((l) => l.getAttribute('stroke'))")
        assert set(left) < set(colours)

    def test_mean_and_range_over_seeds(self, page, made):
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

    def test_axes(self, page):
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


class TestDetails:
    def test_the_confusion_matrix_with_recall_and_precision(self, page, made):
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

    def test_differences(self, page):
        choose(page, "slow", "fast")
        table = page.locator("#differences table")
        assert table.locator("tbody th").all_inner_texts() == ["seed", "optimizer.lr"]
        values = table.locator("tbody tr").nth(1).locator("td").all_inner_texts()
        assert sorted(values) == ["0.05"] * 3 + ["0.2"] * 3
        choose(page, "fast")
        assert "equal but for name and seed" in page.inner_text("#differences")

    def test_config_weights_and_problems(self, page, made):
        page.select_option("#chosen", key_of(made.runs["fast"][0]))
        assert page.evaluate("document.querySelector('.weights').naturalWidth") == 16
        page.click("#config-text summary")
        assert "  name: adam\n  lr: 0.2\n  betas: [0.9,0.999]" in page.inner_text("#config-text pre")
        page.select_option("#chosen", key_of(made.runs["foreign"][0]))
        assert "schema 9" in page.inner_text("#run-details")

    def test_the_config_shown_can_be_read_as_yaml(self, page, made):
        page.select_option("#chosen", key_of(made.runs["slow"][0]))
        page.click("#config-text summary")
        assert (
            yaml.safe_load(page.inner_text("#config-text pre"))
            == read_records(made.runs["slow"][0].log).start["config"]
        )


class TestLooks:
    def ground(self, page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def test_dark_mode(self, visit, made):
        page = visit(made.page)
        light = self.ground(page)
        page.click("#theme")
        dark = self.ground(page)
        assert dark != light
        assert page.get_attribute("#theme", "aria-pressed") == "true"
        page.reload()
        assert self.ground(page) == dark
        assert self.ground(visit(made.page, dark=True)) == dark

    def test_on_a_phone_a_reproduced_row_is_a_card(self, visit, made):
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

    def test_a_phone_shows_val_and_test_of_runs_first(self, visit, made):
        page = visit(made.page, width=390)
        page.fill("#filter", "fast")
        for cell in page.locator("#run-table tbody tr").first.locator("td.num").all()[:2]:
            place = cell.bounding_box()
            assert place["x"] + place["width"] <= 390

    def test_a_box_that_scrolls_has_a_shadow_where_there_is_more(self, visit, made):
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

    def test_a_phone_scrolls_tables_and_not_the_page(self, visit, made):
        page = visit(made.page, width=360)
        choose(page, "slow", "fast")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.querySelector('#runs .box').scrollWidth") > 360
        for control in page.locator("main button:visible, main select:visible, main input[type=search]").all():
            if not control.evaluate("e => e.closest('.box') !== null"):
                place = control.bounding_box()
                assert place["x"] >= 0
                assert place["x"] + place["width"] <= 360

    def test_print_is_black_on_white_without_controls(self, visit, made):
        page = visit(made.page, dark=True)
        page.emulate_media(media="print")
        assert self.ground(page) == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert page.locator("#theme, #filter, #select-shown, #run-table input").first.is_hidden()
        assert page.locator("#run-table").is_visible()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")

    def test_focus_can_be_seen(self, page):
        for _ in range(12):
            page.keyboard.press("Tab")
            style = page.evaluate("(s => s.outlineStyle + s.outlineWidth)(getComputedStyle(document.activeElement))")
            assert style == "solid2px"


def test_names_from_users_do_no_harm(visit, tmp_path):
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


def test_a_live_page_loads_itself_again_and_keeps_what_was_chosen(visit, made, tmp_path):
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


def test_a_live_page_can_be_paused(visit, made, tmp_path):
    page = visit(write_page(made.out, tmp_path / "live.html", every=0.5))
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    page.evaluate("window.before = true")
    page.wait_for_timeout(3000)
    assert page.evaluate("window.before") is True


def test_five_hundred_runs(visit, tmp_path):
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
