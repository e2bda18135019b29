"""docs/api.md is what the code says, and docs/howto/python.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import dlassign
from dlassign.api import reference
from helpers.notebook import run_cell

ROOT = Path(__file__).parents[2]
HOWTO = (ROOT / "docs" / "howto" / "python.md").read_text()


def masked(text: str) -> str:
    return re.sub(r"0\.\d+", "N", text)


def test_the_page_is_current_and_names_all_that_is_public() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == reference.reference_text()
    assert {*reference.FUNCTIONS, "Run"} == set(dlassign.__all__)


def test_every_public_name_is_typed_and_documented() -> None:
    page = reference.reference_text()
    assert "_empty" not in page, "an argument or a result without a type"
    for block in re.split(r"^#+ ", page, flags=re.MULTILINE)[1:]:
        title, _, text = block.partition("\n")
        assert text.strip() or title == "What these return", title
        signature = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        for name in re.findall(r"^    \*?(\w+): ", signature[1], re.MULTILINE) if signature else ():
            assert f"- `{name}`: " in text, f"{title}: {name}"


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg")
def test_the_how_to_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", HOWTO, flags=re.DOTALL):
        run_cell(names, block)
    printed = masked(capsys.readouterr().out)
    shown = re.findall(r"```text\n(.*?)```", HOWTO, flags=re.DOTALL)
    assert len(shown) == 2
    assert all(masked(text) in printed for text in shown)
    assert len(names["runs"]) == 3
    assert names["swept"].status == "finished"
    assert (tmp_path / "loss.png").is_file()
