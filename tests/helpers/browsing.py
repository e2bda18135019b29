"""Pages for a real browser, and what the tests of the report page do in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.report.data import Report
from dlassign.report.page import render_report
from dlassign.report.weights import WeightPictures
from dlassign.store.files import write_text
from dlassign.store.select import find_sources


def write_page(out: Path, target: Path, **options) -> Path:
    pictures = WeightPictures(lambda paths: pytest.fail(f"the checkpoint of {paths.root} was read"))
    write_text(target, render_report(Report(pictures).collect(find_sources([], out=out), **options)))
    return target


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
