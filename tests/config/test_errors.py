"""Every broken config gives the exact text in tests/golden/config_errors; UPDATE_GOLDEN=1 writes it anew."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.errors import ConfigError
from helpers.catalogue import Case, read_catalogue, update_message

FOLDER = Path(__file__).parents[1] / "golden" / "config_errors"
FILES = {path: read_catalogue(path) for path in sorted(FOLDER.glob("*.txt"))}
ASKED = [(path, name) for path, cases in FILES.items() for name, case in cases.items() if case.message is not None]
BROKEN = [(path, name) for path, name in ASKED if name.endswith(".yaml")]
OVERRIDES = [(path, name) for path, name in ASKED if not name.endswith(".yaml")]
CURE = re.compile(r"expected|Known:|Did you mean|belongs|give |remove|use |write |add |needs |missing|save ")


def name_of(value: object) -> str:
    """Return the id of a parameter: the case's name alone."""
    return value if isinstance(value, str) else ""


def message(name: str | Path, overrides: Sequence[str] = (), **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(name, overrides, **options)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that cases read."""
    monkeypatch.chdir(tmp_path)
    for cases in FILES.values():
        for case in cases.values():
            if case.message is None:
                (tmp_path / case.name).write_bytes(case.given.encode())
    return tmp_path


def check(path: Path, case: Case, error: ConfigError) -> None:
    """Compare a message with the one in the catalogue; UPDATE_GOLDEN=1 writes it into the catalogue first."""
    if os.environ.get("UPDATE_GOLDEN"):
        update_message(path, case.name, f"{error}\n")
        case = read_catalogue(path)[case.name]
    assert f"{error}\n" == case.message


@pytest.mark.parametrize(("path", "name"), BROKEN, ids=name_of)
def test_golden(path: Path, name: str) -> None:
    Path(name).write_bytes(FILES[path][name].given.encode())
    error = message(name)
    check(path, FILES[path][name], error)
    assert "Traceback" not in str(error)
    for problem in error.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert re.match(r"\w+\.yaml:\d+:\d+: ", problem.render())
        assert len(problem.message) > 15
        assert CURE.search(problem.message), problem.message
        assert "\n" not in problem.message
        if problem.source:
            assert problem.column - 1 + problem.width <= max(1, len(problem.source) + 1)
    lines = [problem.line for problem in error.problems if problem.file == name]
    assert lines == sorted(lines)


def test_there_are_many() -> None:
    assert len(BROKEN) >= 140
    assert len(OVERRIDES) >= 21
    names = [name for cases in FILES.values() for name in cases]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("path", "name"), OVERRIDES, ids=name_of)
def test_override(path: Path, name: str) -> None:
    case = FILES[path][name]
    given = [json.loads(line.removeprefix("--set ")) for line in case.given.splitlines()]
    error = message("right.yaml", given)
    check(path, case, error)
    (problem,) = error.problems
    assert problem.line >= 1
    assert problem.column >= 1
    assert CURE.search(problem.message), problem.message
    if problem.file == "--set":
        assert problem.source in (text := given[problem.line - 1], ascii(text))


def test_every_override_is_reported() -> None:
    error = message("right.yaml", ["seed=-1", "x", "optimizer.lr=0", "train.epochs=0"])
    assert [(problem.file, problem.line) for problem in error.problems] == [("--set", n) for n in (1, 2, 3, 4)]


def test_options() -> None:
    error = message("right.yaml", seed=-1, device="gpu")
    assert str(error).splitlines() == [
        "--device: device: expected auto, cpu, cuda or cuda:N, such as cuda:0, got the text 'gpu'",
        "--seed: seed: expected a whole number, 0 or more and below 2^63, got -1",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"data: \xff", "a.yaml:1:1: not UTF-8 text (byte 0xff at 6 of the file); save the file as UTF-8"),
        (b"\xff\xfed\0", "a.yaml:1:1: not UTF-8 text (byte 0xff at 0 of the file); save the file as UTF-8"),
        (
            b"a: 1\n" * 300_000,
            "a.yaml:1:1: larger than 100 kB, so hardly a config; give the YAML file of a run",
        ),
    ],
)
def test_not_text(content: bytes, expected: str) -> None:
    Path("a.yaml").write_bytes(content)
    assert str(message("a.yaml")) == expected


def test_no_file() -> None:
    Path("folder").mkdir()
    cure = "give the path of a YAML file"
    assert str(message("none.yaml")) == f"none.yaml: no such file; {cure} that exists"
    assert str(message("folder")) == f"folder: is a folder; {cure} in it"
    assert "a YAML file" in str(message("nul\0.yaml"))
    assert "a YAML file" in str(message("x" * 300))


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("model.name=resnet", "resnet18, resnet34, resnet50"),
        ("train.amp=true", "Mixed precision is train.precision."),
        ("train.tta=true", "That is train.test_time_augmentation."),
        ("model.pretrained=true", "That is init: {name: pretrained"),
        ("augmentation=[]", "That is data.augment."),
    ],
)
def test_names_of_other_frameworks(override: str, part: str) -> None:
    assert part in str(message("right.yaml", [override]))


@pytest.mark.parametrize("override", ["train.precision=16", "train.freeze=true"])
def test_quotes_are_no_cure_where_they_would_not_help(override: str) -> None:
    assert "quotes" not in str(message("right.yaml", [override]))


@pytest.mark.parametrize(("given", "meant"), [("true", "write on"), ("false", "write off"), ("yes", "'on'")])
def test_switches_are_on_and_off(given: str, meant: str) -> None:
    assert meant in str(message("right.yaml", [f"train.channels_last={given}"]))


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("device=cuda:99999999999999999999", "expected auto, cpu, cuda or cuda:N"),
        ("device=cuda:128", "expected auto, cpu, cuda or cuda:N"),
        ("model={name: preact_resnet, blocks: [1, 3, 2147483648]}", "at most 1000, got 2147483648"),
        ("model={name: whitened_cnn, depths: [2, 2, 2147483648]}", "at most 1000, got 2147483648"),
        ("model={name: vgg, stages: [[2147483648]]}", "got 2147483648; use less than 2^31"),
        ("model={name: resnet18, resize: 100000}", "at most 1024"),
        ("optimizer={name: muon, ns_steps: 1000000, rest: {name: sgd, lr: 0.1}}", "at most 100"),
        ("data.augment=[{name: crop, pixels: 2147483648}]", "at most 16384"),
        ("data.augment=[{name: rand_augment, n_ops: 2147483648}]", "at most 100"),
        ("train.test_time_augmentation.shift=2147483648", "at most 16384"),
        (f"model.hidden={[1] * 1001}", "got a list of 1001 items; use at most 1000"),
        (f"model={{name: vgg, stages: {[[1]] * 33}}}", "got a list of 33 items; use at most 32"),
        ("data={name: image_folder, root: x, shuffle_seed: 9223372036854775808}", "below 2^63"),
    ],
)
def test_no_size_is_without_end(override: str, part: str) -> None:
    assert part in str(message("right.yaml", [override]))


@pytest.mark.parametrize("key", ["train", "val", "test"])
def test_a_null_character_in_a_folders_name_is_told(key: str) -> None:
    text = f'data={{name: image_folder, root: x, {key}: "a\\0b"}}'
    assert f"data.{key}: a path cannot hold a null character" in str(message("right.yaml", [text]))


@pytest.mark.parametrize("line", ['notes: "\\uD800"', '"\\uDFFF": 1', 'data: {name: csv_table, path: "a\\uD800b"}'])
def test_half_a_character_is_told(line: str) -> None:
    Path("a.yaml").write_text(f"{line}\n")
    assert "half a character, \\uD800 to \\uDFFF, which cannot be stored; remove it" in str(message("a.yaml"))


def test_thousands_of_problems_are_told_in_part() -> None:
    Path("a.yaml").write_text("extends: right.yaml\n" + "".join(f"k{number}: 1\n" for number in range(500)))
    assert len((error := message("a.yaml")).problems) == 101
    assert str(error).startswith("a.yaml: 400 more problems; mend the first 100, then give the command again\n")
    Path("b.yaml").write_text("extends: right.yaml\n" + "seed: -1\n" * 500)
    assert len(message("b.yaml").problems) == 102


def test_of_a_long_line_the_part_with_the_problem_is_shown() -> None:
    Path("a.yaml").write_text(f"extends: right.yaml\nmodel: {{hidden: [{'10, ' * 300}0, {'10, ' * 300}]}}\n")
    head, source, marks = str(message("a.yaml")).splitlines()
    assert head.startswith("a.yaml:2:1218: model.hidden.300: expected a count")
    assert len(source) < 220
    assert source[marks.index("^")] == "0"
    assert marks.count("^") == 1
