"""Whatever runs, classes, keys and pages are called, the report page shows it and runs none of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import report_folder as folder
from helpers.browsing import write_page

PARTS = (
    "</script>",
    "<script>window.evil=1</script>",
    "<img src=x onerror=window.evil=1>",
    "<svg onload=window.evil=1>",
    "</style><style>*{display:none}</style>",
    "javascript:window.evil=1",
    "${window.evil=1}",
    "{{7*7}}",
    "<!--",
    "-->",
    "]]>",
    '"',
    "'",
    "`",
    "\\",
    "\\u003c",
    "&lt;",
    "\u2028",
    "\u202e",
    "\x1b[31m",
    "\x07",
    "__proto__",
    "constructor",
    "toString",
    "漢",
    "\U0001f600",
    "e\u0301",
    " ",
    "\n",
    "=",
)
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join)


@pytest.mark.extra
def test_hostile_names_in_the_report_page(visit: Callable[[Path], Any]) -> None:
    @settings(settings.get_profile("campaign"))
    @given(names=st.lists(NAMES, min_size=6, max_size=6))
    def shown_and_not_run(names: list[str]) -> None:
        name, label, key, a_class, package, title = names
        with tempfile.TemporaryDirectory() as place:
            run = folder.make_run(Path(place, "out"), label=label)
            start, *rest = run.log.read_text().splitlines()
            record = json.loads(start)
            record["name"] = record["config"]["name"] = name
            record["config"][key] = [{key: name}]
            record["data"]["classes"] = [f"{a_class}{number}" for number in range(10)]
            record["environment"] = {"command": [package], "packages": {package: title}, "platform": package}
            run.log.write_text("\n".join([json.dumps(record), *rest]) + "\n")
            page = visit(write_page(Path(place, "out"), Path(place, "page.html"), title=title))
            page.click("#config-text summary")
            assert page.evaluate("window.evil") is None
            assert page.locator("img").count() == 0
            assert page.locator("#run-table").is_visible()
            assert name.split("\n")[0].strip() in page.locator("#run-table").text_content()
            page.context.close()

    shown_and_not_run()
