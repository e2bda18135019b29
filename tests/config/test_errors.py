"""Every broken config gives the exact text in tests/golden/config_errors; UPDATE_GOLDEN=1 writes it anew."""

import os
import re
from pathlib import Path

import pytest

from dlassign.config.load import load_config
from dlassign.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "golden" / "config_errors"
BROKEN = sorted(path.stem for path in FOLDER.glob("[0-9]*.yaml"))
CURE = re.compile(r"expected|Known:|Did you mean|belongs|give |remove|use |write |add |needs |missing|save ")


def message(name, overrides=(), **options):
    with pytest.raises(ConfigError) as caught:
        load_config(name, overrides, **options)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("name", BROKEN)
def test_golden(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    error = message(f"{name}.yaml")
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(f"{error}\n", encoding="utf-8")
    assert f"{error}\n" == golden.read_text(encoding="utf-8")
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
    assert [p.line for p in error.problems if p.file == f"{name}.yaml"] == sorted(
        p.line for p in error.problems if p.file == f"{name}.yaml"
    )


def test_there_are_many():
    assert len(BROKEN) >= 70
    assert sorted(path.stem for path in FOLDER.glob("[0-9]*.txt")) == BROKEN


OVERRIDES = {
    "no_equals": ["optimizer.lr"],
    "empty": [""],
    "empty_key": ["=3"],
    "empty_part": ["a..b=3"],
    "trailing_dot": ["seed.=3"],
    "unknown_key": ["seed=1", "model.hiden=[1]"],
    "unknown_section": ["optimiser.lr=1"],
    "bad_value": ["optimizer.lr=fast"],
    "value_in_list": ["model.hidden=[100, x]"],
    "no_value": ["optimizer="],
    "missing_key": ["optimizer={name: sgd}"],
    "syntax": ["model.hidden=[100"],
    "inside_a_value": ["seed=1", "seed.x=3"],
    "index_too_large": ["data.preprocess.1.divisor=16"],
    "index_not_a_number": ["data.preprocess.first.divisor=16"],
    "control_character": ["seed=1\x07"],
    "extends": ["extends=b.yaml"],
    "tag": ["name=!!python/name:os.system x"],
    "twice_in_braces": ["optimizer={name: sgd, lr: 1, lr: 2}"],
    "both_lengths": ["train.steps=5"],
    "list_instead": ["train.early_stop=[3]"],
}


@pytest.fixture
def right(monkeypatch):
    monkeypatch.chdir(FOLDER)
    return "right.yaml"


@pytest.mark.parametrize("case", OVERRIDES)
def test_override(case, right):
    error = message(right, OVERRIDES[case])
    golden = FOLDER / f"set_{case}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(f"{error}\n", encoding="utf-8")
    assert f"{error}\n" == golden.read_text(encoding="utf-8")
    (problem,) = error.problems
    assert problem.line >= 1
    assert problem.column >= 1
    assert CURE.search(problem.message), problem.message
    if problem.file == "--set":
        assert problem.source in (text := OVERRIDES[case][problem.line - 1], ascii(text))


def test_every_override_is_reported(right):
    error = message(right, ["seed=-1", "x", "optimizer.lr=0", "train.epochs=0"])
    assert [(problem.file, problem.line) for problem in error.problems] == [("--set", n) for n in (1, 2, 3, 4)]


def test_options(right):
    error = message(right, seed=-1, device="gpu")
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
            "a.yaml:1:1: larger than 1 MB, so hardly a config; give the YAML file of a run",
        ),
    ],
)
def test_not_text(content, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_bytes(content)
    assert str(message("a.yaml")) == expected


def test_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
def test_names_of_other_frameworks(override, part):
    assert part in str(message(FOLDER / "right.yaml", [override]))


@pytest.mark.parametrize("override", ["train.precision=16", "train.freeze=true"])
def test_quotes_are_no_cure_where_they_would_not_help(override):
    assert "quotes" not in str(message(FOLDER / "right.yaml", [override]))


@pytest.mark.parametrize(("given", "meant"), [("true", "write on"), ("false", "write off"), ("yes", "'on'")])
def test_switches_are_on_and_off(given, meant):
    assert meant in str(message(FOLDER / "right.yaml", [f"train.channels_last={given}"]))
