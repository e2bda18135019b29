"""Every command that the header of a config names is one that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.config.load_sweep import load_sweep

ROOT = Path(__file__).parents[1]


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Return the file and the words behind `dlassign` of each command in the headers."""
    found = []
    for file in sorted(ROOT.glob("configs/**/*.yaml")):
        header = re.findall(r"^#(.*)$", file.read_text(), re.MULTILINE)
        for line in header:
            for text in re.findall(r"(?:^|[`\s])dlassign ([a-z].*)", line):
                words = shlex.split(re.split(r"`|  | \(", text)[0], comments=True)
                found.append((str(file.relative_to(ROOT)), tuple(words)))
    return found


ALL = commands()
DIFFERENT = list(dict.fromkeys(words for _, words in ALL))


def test_the_headers_of_all_configs_name_a_command() -> None:
    named = {file for file, _ in ALL}
    assert {str(file.relative_to(ROOT)) for file in ROOT.glob("configs/**/*.yaml")} - named == {
        str(file.relative_to(ROOT)) for file in ROOT.glob("configs/tables/*.yaml")
    }


@pytest.mark.parametrize("words", DIFFERENT, ids=" ".join)
def test_it_is_a_command_with_options_that_exist(words: tuple[str, ...]) -> None:
    """Click parses it whole, and the file that it names loads."""
    command: click.Command = main
    rest = list(words)
    context = click.Context(main)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    parsed = command.make_context(words[0], [word.replace("configs/", f"{ROOT}/configs/") for word in rest])
    config = parsed.params.get("config")
    if config is not None and words[0] == "sweep":
        load_sweep(Path(config))
    elif config is not None:
        load_config(Path(config))


@pytest.mark.parametrize(("file", "words"), [one for one in ALL if one[1][0] in ("train", "sweep")])
def test_it_trains_the_file_in_which_it_stands(file: str, words: tuple[str, ...]) -> None:
    assert words[1:3] == ("--config", file)


@pytest.mark.parametrize("words", [words for words in DIFFERENT if words[0] == "gradcheck"], ids=" ".join)
def test_what_is_cheap_runs(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("configs/lessons/*.yaml")), ids=lambda file: file.stem if isinstance(file, Path) else ""
)
def test_the_commands_of_lessons_begin_to_train(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of each: what comes after is the same again."""
    monkeypatch.chdir(ROOT)
    [words] = [words for name, words in ALL if name == str(file.relative_to(ROOT))]
    short = ["--set", "train.steps=2", "--set", "train.epochs=null", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, [*words, *short])
    assert done.exit_code == 0, done.output
