"""The page that the tests of the report look at in a real browser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import report_folder as folder
from helpers.browsing import write_page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("browser") / "out"
    runs = folder.fill(out)
    folder.write_sweep(out / "slow", runs["slow"])
    folder.write_table(out, "mine", [str(runs["fast"][0].root)], [folder.figure(), folder.figure("val")])
    plots = runs["fast"][0].plots
    plots.mkdir()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(plots / "weights.png")
    Image.new("RGB", (24, 12), "white").save(plots / "errors-test-best.png")
    return SimpleNamespace(out=out, runs=runs, page=write_page(out, out.parent / "report.html"))


@pytest.fixture
def page(visit: Any, made: SimpleNamespace) -> Any:
    return visit(made.page)
