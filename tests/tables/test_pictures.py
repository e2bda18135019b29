"""Pictures of tables: drawn from the runs that are there; what is missing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from dlassign.cli.main import main
from dlassign.config.load_table import load_table
from dlassign.errors import ConfigError
from dlassign.store.files import SIGNATURE
from helpers.tiny_tables import row, write_config, write_table

pytestmark = pytest.mark.draws
ROOT = Path(__file__).parents[2]
PICTURES: dict[str, Any] = {
    "both": {"title": "Narrow and wide", "of": "Figure 1", "rows": ["narrow", "wide"], "x": "epoch"},
    "wide": {"title": "Wide", "rows": ["wide"], "shows": "loss", "log_y": True},
    "layer": {"title": "First layer", "rows": ["narrow"], "shows": "weights"},
    "none": {"title": "Printouts", "rows": [], "note": "numbers, no picture"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of two rows, of which one is trained."""
    folder = tmp_path_factory.mktemp("pictures")
    write_config(folder, "narrow")
    write_config(folder, "wide", model={"name": "mlp", "hidden": [30]})
    rows = {name: row(name, {"figure": "test last"}, seeds=2) for name in ("narrow", "wide")}
    path = write_table(folder, rows)
    path.write_text(path.read_text() + yaml.safe_dump({"pictures": PICTURES}, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert reproduce("small:narrow", "--seeds", "3").exit_code == 0
    return folder


def reproduce(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", "--executor", "serial", *arguments])


def test_pictures_and_their_page_are_drawn_from_what_is_there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    result = reproduce("small", "--no-train", "--figures", "figures")
    assert result.exit_code == 0, result.output
    assert "figures figures/README.md: 2 drawn, 1 not drawn" in result.stdout
    absent = "small:wide is not drawn: it has no finished run; leave out --no-train"
    assert f"small_wide: {absent}" in result.stderr
    page = (trained / "figures" / "README.md").read_text()
    assert "### Figure 1: Narrow and wide\n\n![Narrow and wide](small_both.png)\n\n* Net narrow: seeds 4 to 6\n" in page
    assert page.count(f"* Not here: {absent}") == 2
    assert "### Printouts\n\n* numbers, no picture" in page
    assert "* Net narrow: seed 4\n\n### Printouts" in page, "weights are of one run"
    names = {path.name for path in (trained / "figures").iterdir()}
    assert names == {"README.md", "small_both.png", "small_layer.png"}
    with Image.open(trained / "figures" / "small_both.png") as image:
        assert image.info["Software"] == SIGNATURE
        assert image.width > 1000
    first = (trained / "figures" / "small_both.png").read_bytes()
    assert reproduce("small", "--no-train", "--figures", "figures").exit_code == 0
    assert (trained / "figures" / "small_both.png").read_bytes() == first


def test_weights_without_a_checkpoint_are_told(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    kept = {path: path.read_bytes() for path in Path("out").rglob("*.pt") if not path.is_symlink()}
    for path in kept:
        path.unlink()
    result = reproduce("small:narrow", "--no-train", "--figures", str(tmp_path))
    for path, data in kept.items():
        path.write_bytes(data)
    assert result.exit_code == 0, result.output
    assert "small_layer: its weights are not drawn: out/narrow/" in result.stderr
    assert "has no checkpoint" in result.stderr


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        ({"title": "A", "rows": ["nerrow"]}, "this table has no row 'nerrow'. Did you mean 'narrow'?"),
        ({"title": "A", "rows": []}, "nothing would be drawn; name rows of this table, or say in `note:` why not"),
        ({"title": "A", "rows": ["narrow", "wide"], "shows": "weights"}, "weights are drawn of one row"),
        ({"title": "A", "rows": ["narrow"], "shows": "curve"}, "curve"),
    ],
)
def test_wrong_pictures_are_told_at_their_place(tmp_path: Path, picture: dict[str, Any], told: str) -> None:
    path = write_table(tmp_path, {name: row(name, {"figure": "test last"}) for name in ("narrow", "wide")})
    path.write_text(path.read_text() + yaml.safe_dump({"pictures": {"a": picture}}))
    with pytest.raises(ConfigError) as caught:
        load_table(path)
    assert told in str(caught.value)
    assert "pictures.a" in str(caught.value)


@pytest.mark.parametrize("report", ["eecs598", "hlcv", "uva2018", "uva2020"])
def test_the_page_has_each_picture_of_the_reports(report: str) -> None:
    folder = ROOT / "docs" / "reproduction" / "figures"
    page = (folder / "README.md").read_text()
    table = load_table(ROOT / "configs" / "tables" / f"{report}.yaml").config
    assert f"## {table.title}" in page
    for name, picture in table.pictures.items():
        assert f"{picture.title}\n" in page, f"{report}: {name}; write the page again"
        if picture.rows and name != "resnet34":
            assert (folder / f"{report}_{name}.png").is_file(), f"{report}_{name}.png"
