"""`dlassign init` from the outside: what it writes, and that it never overwrites."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.drafts.template import TEMPLATES
from helpers.odd_photos import make_odd_photos


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, outside any checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def init(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["init", *arguments])
    assert done.exit_code == code, done.output
    assert code or not done.stderr or "is" in done.stderr
    return done


def test_without_arguments_it_lists_the_templates() -> None:
    lines = init().stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(TEMPLATES)
    assert not list(Path.cwd().iterdir())


def test_the_first_template_trains() -> None:
    assert init("quickstart").stdout == "wrote quickstart.yaml; now `dlassign train quickstart.yaml`\n"
    done = CliRunner().invoke(main, ["train", "quickstart.yaml", "--set", "train.epochs=1", "--json"])
    assert done.exit_code == 0, done.output


def test_the_sweep_brings_the_config_that_it_begins_with() -> None:
    assert "wrote quickstart.yaml, which sweep.yaml begins with" in init("sweep").stdout
    done = CliRunner().invoke(main, ["sweep", "sweep.yaml", "--list"])
    assert done.exit_code == 0, done.output
    Path("sweep.yaml").unlink()
    Path("quickstart.yaml").write_text("mine")
    assert "quickstart.yaml is there already and stays as it is" in init("sweep").stderr
    assert Path("quickstart.yaml").read_text() == "mine"


@pytest.mark.parametrize("what", ["quickstart", "pets", "t.csv"])
def test_nothing_is_overwritten(what: str, tmp_path: Path) -> None:
    make_odd_photos(tmp_path / "pets", 12, side=12)
    Path("t.csv").write_text("x,label\n" + "".join(f"{i * 7 % 11 * 0.3},{i % 2}\n" for i in range(20)))
    file = Path(f"{what.removesuffix('.csv')}.yaml")
    file.write_text("mine")
    assert (
        f"{file} is there already and stays as it is; move it, or write elsewhere with --out"
        in init(what, code=2).stderr
    )
    file.unlink()
    file.symlink_to("nowhere")
    init(what, code=2)
    assert file.is_symlink()
    init(what, "--out", "other.yaml")
    assert CliRunner().invoke(main, ["check", "other.yaml"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["quikstart"],
            "'quikstart' is no template, folder or table. Did you mean 'quickstart'? Templates: quickstart,",
        ),
        (["nowhere/at/all"], "is no template, folder or table"),
        (
            ["quickstart", "--out", "a.txt"],
            "a.txt: expected a name of letters, digits, `.`, `_` and `-` that ends in .yaml",
        ),
        (["quickstart", "--out", "é.yaml"], "é.yaml: expected a name of letters"),
        (["quickstart", "--out", "no/a.yaml"], "cannot write no/a.yaml: "),
        (["--out", "a.yaml"], "--out a.yaml: nothing to write is given"),
        (["empty"], "empty has no class folders; it must hold one folder for each class"),
        (["empty/../empty.csv"], "empty.csv: the file is empty"),
    ],
)
def test_what_cannot_be_drafted_is_one_message(arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("empty.csv").write_text("")
    done = CliRunner().invoke(main, ["init", *arguments])
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(Path.cwd().glob("*.yaml"))


def test_a_folder_with_the_name_of_a_template(tmp_path: Path) -> None:
    make_odd_photos(tmp_path / "mnist", 12, side=12)
    assert "mnist is taken for the template; for what lies here, write ./mnist" in init("mnist").stderr
    assert "12 images of 3 classes" in init("./mnist", "--out", "own.yaml").stdout


def test_names_that_are_no_names_of_runs(tmp_path: Path) -> None:
    make_odd_photos(tmp_path / "my photos (2024).v1", 12, side=12)
    assert "wrote my_photos_2024_.v1.yaml" in init("my photos (2024).v1").stdout
    assert CliRunner().invoke(main, ["check", "my_photos_2024_.v1.yaml"]).exit_code == 0


def test_a_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        assert not Path("quickstart.yaml").exists()  # so a process that is killed here leaves none, either
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("dlassign.store.files.os.fsync", full)
    assert "no space left" in init("quickstart", code=1).stderr
    assert not list(Path.cwd().iterdir())
