"""What `dlassign reproduce` writes never takes the place of something else, and a page never loses runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from dlassign.cli.main import main
from dlassign.config.load_table import load_table
from dlassign.tables.content import RowRuns, table_content
from helpers.tiny_tables import row, write_config, write_table

MINE = b"mine\n"
PICTURES = {"one": {"title": "Narrow", "rows": ["narrow"]}}


def add_table(folder: Path, name: str) -> None:
    path = write_table(
        folder, {one: row(one, {"figure": "test last", "value": 0.8}) for one in ("narrow", "wide")}, name
    )
    path.write_text(path.read_text() + yaml.safe_dump({"pictures": PICTURES}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, of which one row has two runs, and with all that the command writes of it."""
    folder = tmp_path_factory.mktemp("targets")
    write_config(folder, "narrow")
    write_config(folder, "wide", model={"name": "mlp", "hidden": [30]})
    add_table(folder, "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = reproduce("small:narrow", "--seeds", "2", "--page", "docs/page.md", "--figures", "drawn")
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which to work."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def reproduce(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", "--executor", "serial", *arguments])


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, *arguments: str) -> str:
    """Return the message of a command that has to stop before it writes or trains anything."""
    before = everything(folder)
    result = reproduce(*arguments)
    assert result.exit_code == 1, result.output
    assert everything(folder) == before
    assert result.stderr.count("\n") == 1, "one line, and so nothing was trained"
    return result.stderr


@pytest.mark.draws
def test_what_the_command_wrote_it_writes_again(folder: Path) -> None:
    for path in [*Path("docs").rglob("*.md"), Path("drawn/README.md")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as an editor may leave it
    result = reproduce("small", "--no-train", "--page", "docs/page.md", "--figures", "drawn")
    assert result.exit_code == 0, result.output


@pytest.mark.draws
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("docs/page.md", "text"),
        ("docs/page/small.csv", "text"),
        ("docs/page", "file"),
        ("docs", "file"),
        ("drawn/README.md", "text"),
        ("drawn/small_one.png", "text"),
        ("drawn/small_one.png", "picture"),
        ("drawn/small_one.png", "folder"),
        ("drawn", "file"),
        ("out/tables", "file"),
        ("out/tables/small.json", "text"),
        ("out/tables/small.csv", "alone"),
        ("out/tables/small.md", "alone"),
        ("out/tables/small.md", "folder alone"),
    ],
)
def test_something_of_the_users_own_is_kept(folder: Path, place: str, kind: str) -> None:
    path = folder / place
    if kind.endswith("alone"):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "picture":
        Image.new("RGB", (4, 4)).save(path)
    elif kind.startswith("folder"):
        path.mkdir()
    else:
        path.write_bytes(MINE)
    told = refused(folder, "small", "--page", "docs/page.md", "--figures", "drawn")
    assert place in told
    assert "is there already" in told or "is a file" in told or "holds something else" in told


def test_folders_that_pictures_do_not_belong_in(folder: Path) -> None:
    [run] = folder.glob("out/narrow/*-s4")
    assert "this folder holds a run" in refused(folder, "small", "--figures", str(run))
    assert "this folder holds the tables themselves" in refused(folder, "small", "--figures", "out/tables")


def test_a_page_does_not_lose_runs(folder: Path) -> None:
    told = refused(folder, "small", "--no-train", "--out", "other", "--page", "docs/page.md")
    expected = "the new page would lack runs of 1 row that this one has (small:narrow 0 of 2)"
    assert f"--page docs/page.md: {expected}; give --data, --out and --seeds as for this one" in told
    assert "small:narrow 1 of 2" in refused(
        folder, "small:narrow", "--seeds", "1", "--out", "other", "--page", "docs/page.md"
    )
    add_table(folder, "large")
    told = refused(folder, "large", "--no-train", "--page", "docs/page.md")
    assert "docs/page/small.csv is of a table that is not asked for; ask for small too" in told


def test_a_page_does_not_lose_runs_that_fail(folder: Path) -> None:
    for log in folder.glob("out/narrow/*-s5/log.jsonl"):
        log.write_text("damaged\n" + log.read_text().replace('"schema":1', '"schema":99'))
    before = Path("docs/page.md").read_bytes()
    result = reproduce("small:narrow", "--seeds", "2", "--page", "docs/page.md")
    assert result.exit_code == 1
    assert "small:narrow 1 of 2" in result.stderr
    assert Path("docs/page.md").read_bytes() == before


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"problem": "train.batch_size: expected at most 200"}, "train.batch_size: expected at most 200"),
        ({"obstacle": "imgs/train/truck: no images"}, "imgs/train/truck: no images"),
        ({"obstacle": "data missing: no folder x; give --data"}, "data missing"),
    ],
)
def test_a_reason_is_told_whole_where_no_note_has_it(folder: Path, known: dict[str, Any], told: str) -> None:
    content = table_content(load_table(folder / "configs/tables/small.yaml"), [RowRuns(name="wide", **known)])
    assert content["rows"][0]["figures"][0]["why"] == told


@pytest.mark.parametrize("name", ["--quick.yaml", "-x.yaml"])
def test_a_table_whose_name_looks_like_an_option(folder: Path, name: str) -> None:
    text = Path("configs/tables/small.yaml").read_text().replace("../", "configs/")
    Path(name).write_text(text)
    result = reproduce("--seeds", "2", "--no-train", "--page", "odd.md", "--", name)
    assert result.exit_code == 0, result.output
    assert f"`dlassign reproduce --seeds 2 -- {name}`" in Path("odd.md").read_text()
    result = CliRunner().invoke(main, ["reproduce", "--check", "odd.md"])
    assert result.exit_code == 0, result.output
