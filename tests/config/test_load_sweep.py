"""From a sweep file to a sweep, or to every problem at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dlassign.config.load import load_config
from dlassign.config.load_sweep import dump_sweep, load_sweep
from dlassign.config.schema import sweep_schema, sweep_schema_text
from dlassign.errors import ConfigError

BASE = """\
data: {name: digits, split: {val: 0.1}}
model: {name: mlp, hidden: [20]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
train: {epochs: 2}
"""
SWEEP = "base: base.yaml\nspace:\n  optimizer.lr: [0.1, 0.2]\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def write_and_load(text: str, *overrides: str) -> Any:
        (tmp_path / "my_sweep.yaml").write_text(text)
        return load_sweep("my_sweep.yaml", overrides)

    return write_and_load


@pytest.fixture
def refused(load: Any) -> Any:
    def message(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return message


def test_a_small_file(load: Any) -> None:
    located = load(SWEEP)
    assert located.config.name == "my_sweep"
    assert located.config.space == {"optimizer.lr": (0.1, 0.2)}
    assert located.base.data["train"] == {"epochs": 2}
    assert located.document.values["space", "optimizer.lr", 1].column == 23


def test_short_names(load: Any) -> None:
    config = load(SWEEP + "executor: serial\nstrategy: grid\n").config
    assert (config.executor.name, config.strategy.name) == ("serial", "grid")
    config = load(SWEEP + "strategy: {name: tpe, trials: 3, pruning: hyperband}\n").config
    assert config.strategy.pruning.name == "hyperband"


def test_set_changes_the_base(load: Any) -> None:
    base = load(SWEEP + "set: {optimizer.name: adam, train.clip.norm: 1, loss: {name: cross_entropy}}\n").base
    assert base.data["optimizer"] == {"name": "adam", "lr": 0.1}  # adam has no momentum
    assert base.data["train"] == {"epochs": 2, "clip": {"norm": 1}}


def test_the_base_lies_beside_the_sweep_and_may_extend_another(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "first.yaml").write_text(BASE)
    (tmp_path / "base.yaml").write_text("extends: first.yaml\nseed: 7\n")
    (tmp_path / "sub" / "a.yaml").write_text(SWEEP.replace("base.yaml", "../base.yaml"))
    base = load_sweep(tmp_path / "sub" / "a.yaml").base
    assert base.data["seed"] == 7
    assert base.data["model"] == {"name": "mlp", "hidden": [20]}


def test_overrides_change_the_sweep_file(load: Any) -> None:
    text = (
        SWEEP + "  train.batch_size: {low: 4, high: 8, integer: true}\nstrategy: {name: tpe, trials: 3, startup: 2}\n"
    )
    config = load(
        text,
        "space.optimizer.lr=[3]",
        "space.model.hidden=[[1], [2]]",
        "space.train.batch_size.high=16",
        "set.train.epochs=4",
        "strategy.name=random",
        "seeds=[1, 2]",
    ).config
    assert config.space["optimizer.lr"] == (3,)
    assert config.space["model.hidden"] == ([1], [2])
    assert config.space["train.batch_size"].high == 16
    assert config.set == {"train.epochs": 4}
    assert config.strategy.trials == 3
    assert config.strategy.name == "random"
    assert config.seeds == (1, 2)


def test_an_override_may_give_a_short_name_and_the_next_its_keys(load: Any) -> None:
    config = load(SWEEP, "strategy=random", "strategy.trials=4", "executor=processes", "executor.workers=2").config
    assert config.strategy.trials == 4
    assert config.executor.workers == 2


def test_what_is_written_loads_to_the_same_from_anywhere(load: Any, tmp_path: Path) -> None:
    text = SWEEP + (
        "set: {train.epochs: 3}\nstrategy: {name: tpe, trials: 4, pruning: hyperband}\nconfirm: {}\n"
        "when:\n  - {if: {optimizer.lr: 0.1}, space: {optimizer.momentum: {low: 0, high: 0.9}}}\n"
    )
    located = load(text)
    other = tmp_path / "out" / "x"
    other.mkdir(parents=True)
    (other / "sweep.yaml").write_text(dump_sweep(located))
    again = load_sweep(other / "sweep.yaml")
    assert again.config.model_copy(update={"base": "base.yaml"}) == located.config
    assert again.base.data == located.base.data


ALL_AT_ONCE = """\
base: bse.yaml
space:
  optimizer: {lr: [1, 2]}
  train.batch_size: {low: 8, high: 1}
  model.hidden: []
  seed: [1, 2]
  train.clip: 5
seeds: [1, 1]
strategy: {name: gird}
executor: stackd
confirm: {tops: 3}
trials: 5
"""


def test_every_problem_at_once(refused: Any) -> None:
    found = refused(ALL_AT_ONCE)
    assert [line for line in found.splitlines() if line.startswith("my_sweep.yaml")] == [
        "my_sweep.yaml:1:7: base: bse.yaml: no such file; give the path of a YAML file that exists",
        "my_sweep.yaml:3:3: space.optimizer: keys of a space have dots, not levels; write `optimizer.lr: [1, 2]`",
        "my_sweep.yaml:4:36: space.train.batch_size.high: low is 8 and high 1; give a high above low, or a list of one "
        "value",
        "my_sweep.yaml:5:17: space.model.hidden: expected a list with at least one item or a mapping such as "
        "{high: 0.1, log: true, low: 0.001}, got an empty list",
        "my_sweep.yaml:7:15: space.train.clip: expected a list with at least one item or a mapping such as "
        "{high: 0.1, log: true, low: 0.001}, got 5",
        "my_sweep.yaml:8:12: seeds.1: seed 1 stands twice; a repeat needs another seed: remove one",
        "my_sweep.yaml:9:18: strategy.name: 'gird' is not known. Did you mean 'grid'? Known: grid, random, tpe",
        "my_sweep.yaml:10:11: executor.name: 'stackd' is not known. Did you mean 'stacked'? Known: auto, serial, "
        "processes, stacked, ray",
        "my_sweep.yaml:11:11: confirm.tops: unknown key. Did you mean 'top'? Known: top, seeds",
        "my_sweep.yaml:12:1: trials: unknown key. Known: name, notes, base, set, space, when, strategy, seeds, seed, "
        "objective, executor, confirm",
    ]
    assert "    9 | strategy: {name: gird}\n      |                  ^^^^" in found


RULES = """\
base: base.yaml
set: {optimizer.lr: 3, name: x}
space:
  optimizer.lr: {low: 0.1, high: 1}
  optimizer.name: [sgd, adam]
  device: [cpu]
when:
  - {if: {optimizer.name: [sgd, adamm]}, space: {optimizer.momentum: [0, 0.9]}}
"""


def test_every_broken_rule_at_once(refused: Any) -> None:
    assert [line for line in refused(RULES).splitlines() if line.startswith("my_sweep.yaml")] == [
        "my_sweep.yaml:2:7: set.optimizer.lr: stands under space too; remove it here, or there",
        "my_sweep.yaml:2:24: set.name: all runs have the sweep's name; give `name` at the top level",
        "my_sweep.yaml:4:17: space.optimizer.lr: a grid needs values; add `steps: 5`, or give a list, or use "
        "`strategy: {name: random}`",
        "my_sweep.yaml:6:3: space.device: cannot be searched: it is no setting of a run; put one device "
        "under set, or choose an executor",
        "my_sweep.yaml:8:27: when.0.if.optimizer.name: is never adamm in this space. Did you mean 'adam'? Use sgd or "
        "adam",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: base.yaml\nspace: {}\n", "my_sweep.yaml:2:8: space: the space is empty; give keys of the base"),
        ("base: base.yaml\n", "space: missing; expected a mapping, e.g. `space: {optimizer.lr: [0.01, 0.1]}`"),
        ("space: {optimizer.lr: [1]}\n", "base: missing; expected text, e.g. `base: base.yaml`"),
        (
            SWEEP + "  optimizer.lr: [1]\n",
            "my_sweep.yaml:4:3: space.optimizer.lr: this key stands twice, first in line 3",
        ),
        (SWEEP.replace("base.yaml", "my_sweep.yaml"), "base: my_sweep.yaml is a sweep file itself"),
        (SWEEP + "strategy: {trials: 5}\n", "strategy.name: missing; expected one of grid, random, tpe"),
        (SWEEP + "strategy: random\n", "4:1: strategy.trials: missing; expected a count"),
        (SWEEP + "set: {data.split.val.x: 1}\n", "data.split.val: holds 0.1, which has no keys"),
        (SWEEP + "set: {model.hidden.4: 1}\n", "'4' is not an item of this list"),
        (SWEEP + "objective: {split: train}\n", "4:20: objective.split: 'train' is not known. Known: val, test"),
        (
            SWEEP + "strategy: {name: tpe, trials: 5}\nexecutor: stacked\n",
            "5:11: executor.name: trains runs together that are known beforehand, and tpe chooses them one by one; use "
            "`executor: processes`, or strategy grid or random",
        ),
        (
            SWEEP + "strategy: {name: tpe, trials: 5, pruning: successive_halving}\nobjective: {split: test}\n",
            "5:20: objective.split: pruning would look at the test set again and again; use `split: val`, or "
            "`pruning: none`",
        ),
        (
            SWEEP + "  a.b: {low: 1, hi: 2, steps: 3}\n",
            "4:17: space.a.b.hi: unknown key. Did you mean 'high'? Known: low, high",
        ),
        (SWEEP + "  a.b: {min: 1, max: 2}\n", "4:9: space.a.b.min: unknown key. Did you mean 'low'?"),
        (
            SWEEP + "  a.b: {low: .nan, high: 2}\n",
            "4:14: space.a.b.low: expected a number, got nan, which is not a finite",
        ),
        (
            SWEEP + "when: [{if: {}, space: {a: [1]}}]\n",
            "4:13: when.0.if: expected a mapping such as {optimizer.name: sgd}",
        ),
        (BASE, "my_sweep.yaml is the config of a run, not of a sweep"),
        ("- 1\n", "the file holds a list, not keys"),
        (SWEEP + "extends: a.yaml\n", "4:1: extends: unknown key."),
    ],
)
def test_messages(refused: Any, text: str, message: str | tuple[str, ...]) -> None:
    assert message in refused(text)


def test_problems_of_the_base_show_the_base(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("data: {name: digits}}\n")
    assert "broken.yaml:1:21: this brace closes nothing; remove it" in refused(
        SWEEP.replace("base.yaml", "broken.yaml")
    )


def test_the_schema_knows_good_files_and_bad_ones() -> None:
    schema = json.loads(sweep_schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = SWEEP + "executor: auto\nstrategy: {name: tpe, trials: 4, pruning: hyperband}\nconfirm: {top: 2}\n"
    assert validator.is_valid(yaml.safe_load(good))
    for old, new in (("auto", "cloud"), ("trials", "trial"), ("hyperband", "asha"), ("confirm", "confirms")):
        assert not validator.is_valid(yaml.safe_load(good.replace(old, new)))


def test_every_key_of_the_schema_is_described() -> None:
    schema = sweep_schema()
    for definition in [schema, *schema["$defs"].values()]:
        for key, node in definition["properties"].items():
            assert node["description"].strip(), key


def test_a_sweep_file_is_no_config_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("base: x.yaml\nspace: {optimizer.lr: [0.1]}\n")
    with pytest.raises(ConfigError, match=r"is a sweep file.*dlassign sweep --config"):
        load_config(file)


def test_a_table_is_no_config_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("title: a\nrows: {b: {label: c, config: d.yaml, reported: [{figure: test}]}}\n")
    with pytest.raises(ConfigError, match=r"is a table, not the config of a run; `dlassign reproduce"):
        load_config(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "base: base.yaml\nspace:\noptimizer.lr: [0.1]\noptimizer.momentum: [0.9]\n",
            "my_sweep.yaml:3:1: optimizer.lr: wrong indentation: optimizer.lr and optimizer.momentum belong under "
            "space; give these lines more indentation than space",
        ),
        (
            "base: base.yaml\nspace:\n  optimizer.lr: [0.1]\n  strategy: {name: grid}\n  executor: {name: serial}\n",
            "my_sweep.yaml:4:3: space.strategy: wrong indentation: strategy and executor belong at the top level; give "
            "these lines the indentation of space",
        ),
    ],
)
def test_one_wrong_indentation_is_one_problem(refused: Any, text: str, expected: str) -> None:
    assert refused(text).splitlines()[0] == expected
    assert len(refused(text).splitlines()) == 3


def test_a_key_without_end_is_told(refused: Any) -> None:
    text = f"base: base.yaml\nset: {{{'a.' * 60}b: 1}}\nspace: {{optimizer.lr: [0.1]}}\n"
    assert "nested more than 50 levels deep" in refused(text)
