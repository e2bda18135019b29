"""The system's Chromium, driven by Playwright, for the tests of the report page in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import report_folder as folder
from helpers.browsing import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> Any:
    if CHROMIUM is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("browser") / "out"
    runs = folder.fill(out)
    folder.write_sweep(out / "slow", runs["slow"])
    folder.write_table(out, "mine", [str(runs["fast"][0].root)], [folder.figure(), folder.figure("val")])
    plots = runs["fast"][0].plots
    plots.mkdir()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(plots / "weights.png")
    return SimpleNamespace(out=out, runs=runs, page=write_page(out, out.parent / "report.html"))


@pytest.fixture
def visit(chromium: Any) -> Any:
    """Opens pages, and holds every test to pages that report no error and ask for nothing but themselves."""
    contexts, problems = [], []

    def go(path: Path, *, width: int = 1280, dark: bool = False) -> Any:
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
def page(visit: Any, made: SimpleNamespace) -> Any:
    return visit(made.page)
