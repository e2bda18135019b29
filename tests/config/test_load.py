"""From files to configs: names, files that extend others, places of problems, and any input at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlassign.config.load import dump_config, dump_line, dump_plain, load_config, load_located, parse_config
from dlassign.config.run import RunConfig
from dlassign.config.schema import run_schema
from dlassign.config.yamlpos import parse_yaml
from dlassign.errors import ConfigError, Problem
from helpers.from_schema import values

MINIMAL = "data: {name: digits}\nmodel: {name: mlp}\noptimizer: {name: adam}\ntrain: {epochs: 10}\n"
SCHEMA = run_schema()
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_name_is_the_stem_unless_given(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "first.yaml", MINIMAL)).name == "first"
    assert load_config(write(tmp_path, "second.yaml", MINIMAL + "name: other\n")).name == "other"
    with pytest.raises(ConfigError, match=r"name: missing; expected a name of letters"):
        load_config(write(tmp_path, "my run.yaml", MINIMAL))


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(str(path)).train.epochs == 10


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = MINIMAL.replace("{name: mlp}", "{name: mlp, hidden: [1, 2], norm: batch}").replace(
        "{name: adam}", "{name: adam, lr: 0.1, betas: [0.5, 0.5]}"
    )
    write(tmp_path, "base.yaml", base)
    text = "extends: ../base.yaml\nmodel: {hidden: [7]}\noptimizer: {name: rmsprop}\nseed: 4\n"
    config = load_config(write(tmp_path / "sub", "a.yaml", text))
    assert config.model.hidden == (7,)
    assert config.model.norm == "batch"
    assert (config.optimizer.name, config.optimizer.lr, config.seed, config.name) == ("rmsprop", 0.1, 4, "a")


def test_overrides_reach_values_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", MINIMAL)
    path = write(tmp_path, "a.yaml", "extends: base.yaml\n")
    assert load_config(path, ["train.epochs=3"]).train.epochs == 3


def test_place_finds_the_key_or_the_nearest_above(tmp_path: Path) -> None:
    text = MINIMAL + "loss:\n  name: cross_entropy\n  penalty:\n    - {name: l2, coefficient: 0.1}\n"
    located = load_located(write(tmp_path, "a.yaml", text), ["seed=3"])

    def spot(path: Path) -> tuple[Any, ...]:
        problem = located.place(Problem(message="m", path=path))
        assert (problem.path, problem.message) == (path, "m")
        return Path(problem.file).name, problem.line, problem.column, problem.width

    assert spot("data.name") == ("a.yaml", 1, 14, 6)
    assert spot("data.split.val") == ("a.yaml", 1, 1, 4)
    assert spot("loss.penalty.0.coefficient") == ("a.yaml", 8, 31, 3)
    assert spot("loss.penalty.0.half") == ("a.yaml", 8, 7, 28)
    assert spot("schedule.name") == ("a.yaml", 1, 1, 1)
    assert spot("") == ("a.yaml", 1, 1, 20)
    assert spot("seed") == ("--set", 1, 6, 1)
    placed = Problem(message="m", file="b", line=3)
    assert located.place(placed) is placed


def test_all_problems_are_sorted_by_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("digits", "x").replace("adam", "y") + "a: 1\nb: 2\na: 3\n"
    path = write(tmp_path, "a.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [problem.line for problem in caught.value.problems] == [1, 3, 5, 6, 7]


SECTIONS = {key: values(SCHEMA["properties"][key]) for key in ("data", "model", "init", "loss", "optimizer")}
SECTIONS |= {key: values(SCHEMA["properties"][key]) for key in ("name", "schedule", "train", "seed", "device")}


@relaxed
@given(st.fixed_dictionaries(SECTIONS))
def test_load_gives_back_what_dump_wrote(tmp_path: Path, data: Any) -> None:
    length = {"steps": 7} if data["seed"] % 2 else {"epochs": 2.5}
    data["train"] = {**data["train"], "steps": None, "epochs": None, **length}
    try:
        config = RunConfig.model_validate(data)
    except ValueError:  # a rule between keys, which the schema does not know
        data |= {"train": length, "data": {"name": "digits"}}
        data |= {"model": {"name": "mlp"}, "schedule": {"name": "cosine"}, "optimizer": {"name": "adam"}}
        data |= {"init": {"name": "he"}}
        config = RunConfig.model_validate(data)
    path = write(tmp_path, "a.yaml", dump_config(config))
    assert load_config(path) == config


TEXT = """
data model optimizer train name digits mlp sgd adam lr betas split val hidden scale extends preprocess
: - [ ] { } ' " # & * ! | > % @ ` , ? ~ null true 1e-3 -1 .nan <<
"""
WORDS = st.sampled_from(TEXT.split())
SPACES = st.sampled_from(["\n", "\n  ", "\n    ", "\t", " ", ": ", "- ", "---\n", "\\"])
PIECES = WORDS | SPACES | st.characters()


def nothing_but_a_config_error(path: Path, overrides: Any = ()) -> None:
    problems = []
    try:
        load_config(path, overrides)
    except ConfigError as error:
        problems = error.problems
        str(error).encode()
    assert all("\n" not in problem.message for problem in problems)


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    nothing_but_a_config_error(path)


@settings(relaxed, max_examples=200)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    nothing_but_a_config_error(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(relaxed, max_examples=60)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(SCHEMA["properties"], JSON) | {"x": JSON}))
def test_any_values(tmp_path: Path, data: Any) -> None:
    nothing_but_a_config_error(write(tmp_path, "a.yaml", json.dumps(data)))


@settings(relaxed, max_examples=60)
@given(st.lists(st.lists(PIECES | st.sampled_from([".", "=", "0"]), max_size=8).map("".join), max_size=3))
def test_any_overrides(tmp_path: Path, overrides: Any) -> None:
    nothing_but_a_config_error(write(tmp_path, "a.yaml", MINIMAL), overrides)


ODD = [
    "1e-3",
    "on",
    "null",
    "~",
    "a: b",
    "x\ny",
    "- a",
    "#",
    "'",
    '"',
    "0x1f",
    ".inf",
    "!a",
    "&a",
    "*a",
    "{",
    "010",
    " a ",
]
ODD += ["010", " a ", "\t", "\x85", "\u2028", "\ufeff", "\ud7fc", "---", "..."]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(ODD)
KEYS = TEXTS.filter(lambda key: key not in ("", "<<"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(PLAIN)
def test_plain_data_comes_back_from_one_line_and_from_a_file(value: Any) -> None:
    """As Python's dicts go to a config and to what `--set` takes."""
    line = dump_line(value)
    assert line.isprintable()
    for found in (parse_yaml(line, "line").data, parse_config(dump_plain({"key": value}), "dict").data["key"]):
        assert (found, type(found)) == (value, type(value))
