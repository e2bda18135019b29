"""The system's Chromium, driven by Playwright; tests/conftest.py gives its fixtures to all tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> Any:
    if CHROMIUM is None:
        pytest.skip("there is no chromium; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


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
        page.set_default_timeout(60_000)  # a busy machine has taken more than 10 s for one page
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
