"""The config of a point, the points known beforehand, and what is checked before any is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.config.load_sweep import load_sweep
from dlassign.errors import ConfigError
from dlassign.sweep import space as space_module
from dlassign.sweep.check_points import check_points
from dlassign.sweep.space import known_points, point_config

BASE = """\
data: {name: digits, split: {val: 0.1}}
model: {name: mlp, hidden: [20]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
train: {epochs: 2}
seed: 5
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def write_and_load(text: str, *overrides: str) -> Any:
        (tmp_path / "a.yaml").write_text("base: base.yaml\n" + text)
        return load_sweep("a.yaml", overrides)

    return write_and_load


@pytest.fixture
def refused(load: Any) -> Any:
    def messages(text: str, *overrides: str) -> Any:
        with pytest.raises(ConfigError) as caught:
            check_points(load(text, *overrides))
        return [problem.render().splitlines()[0] for problem in caught.value.problems]

    return messages


def test_a_point_is_what_train_with_set_would_be(load: Any, tmp_path: Path) -> None:
    text = "set: {train.epochs: 3}\nspace: {optimizer.lr: [0.2, 0.3], model.hidden: [[30]], optimizer.name: [adam]}\n"
    values = {"optimizer.lr": 0.3, "model.hidden": [30], "optimizer.name": "adam"}
    config = point_config(load(text), values).config
    overrides = ["train.epochs=3", "optimizer.lr=0.3", "model.hidden=[30]", "optimizer.name=adam", "name=a"]
    assert config == load_config(tmp_path / "base.yaml", overrides)
    assert config.seed == 5


def test_sections_are_replaced_before_keys_in_them_are_set(load: Any) -> None:
    text = "space: {optimizer.lr: [0.5], optimizer: [{name: adam}, {name: sgd, lr: 1}]}\n"
    for name, point in zip(("adam", "sgd"), known_points(load(text)), strict=True):
        optimizer = point_config(load(text), point).config.optimizer
        assert (optimizer.name, optimizer.lr) == (name, 0.5)
        assert getattr(optimizer, "momentum", 0) == 0


def test_a_point_leaves_the_sweep_and_the_base_as_they_are(load: Any) -> None:
    located = load("space: {optimizer: [{name: adam}], optimizer.lr: [0.5]}\n")
    before = repr(located)
    first = point_config(located, {"optimizer": {"name": "adam"}, "optimizer.lr": 0.5}).config
    assert repr(located) == before
    assert point_config(located, {"optimizer": {"name": "adam"}, "optimizer.lr": 0.5}).config == first


def test_items_of_lists(load: Any) -> None:
    text = "set: {loss: {name: cross_entropy, penalty: [{name: l2, coefficient: 1}]}}\n"
    located = load(text + "space: {loss.penalty.0.coefficient: [0.1, 0.2]}\n")
    checked = check_points(located)
    assert [config.loss.penalty[0].coefficient for config in checked.configs] == [0.1, 0.2]


def test_places_of_later_problems_are_in_the_sweep_file(load: Any) -> None:
    located = load("space:\n  model.hidden: [[30], [40]]\n")
    place = point_config(located, {"model.hidden": [40]}).document.values["model", "hidden", 0]
    assert (place.file, place.line, place.column) == ("a.yaml", 3, 25)


def test_known_points(load: Any) -> None:
    assert known_points(load("space: {optimizer.lr: [1, 2, 1.0]}\n")) == (
        {"optimizer.lr": 1},
        {"optimizer.lr": 2},
    )
    located = load("space: {optimizer.lr: {low: 1, high: 2}}\nstrategy: {name: random, trials: 4}\nseed: 3\n")
    points = known_points(located)
    assert len(points) == 4
    assert known_points(located) == points
    assert known_points(load("space: {optimizer.lr: {low: 1, high: 2}}\nstrategy: {name: tpe, trials: 4}\n")) == ()


def test_too_many_points_are_refused(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_module, "MAX_POINTS", 5)
    message = "space: more than 5 points, too many to check beforehand; give fewer values or trials"
    assert refused("space: {optimizer.lr: [1, 2, 3], model.hidden: [[1], [2]]}\n") == [f"a.yaml:2:8: {message}"]
    text = "space: {optimizer.lr: {low: 1, high: 2}}\nstrategy: {name: random, trials: 6}\n"
    assert refused(text) == [f"a.yaml:2:8: {message}"]


def test_a_huge_grid_is_refused_at_once(refused: Any) -> None:
    keys = "".join(f"  optimizer.k{i}: {{low: 0, high: 1, steps: 100}}\n" for i in range(12))
    assert "more than 10,000 points" in refused(f"space:\n{keys}")[0]


def test_every_problem_of_every_point_once(refused: Any) -> None:
    text = """\
space:
  optimizer.lr: [1e-3, -1, 1e-2]
  model.hidden: [[50], [100], [x]]
  optimizer.lrr: [1, 2]
  optimizer.name: [sgd, adam]
when:
  - {if: {optimizer.name: adam}, space: {optimizer.nesterov: [true]}}
"""
    assert refused(text) == [
        "a.yaml:3:24: optimizer.lr: expected a number above 0, got -1 (in 12 of 36 grid points, all with "
        "optimizer.lr=-1)",
        "a.yaml:4:32: model.hidden.0: expected a count (whole number, 1 or more), got the text 'x' (in 12 of 36 grid "
        "points, all with model.hidden=[x])",
        "a.yaml:5:3: optimizer.lrr: unknown key. Did you mean 'lr'? Known: name, lr, momentum, nesterov, weight_decay, "
        "parametrization, groups",
        "a.yaml:8:42: optimizer.nesterov: unknown key. It is a key of sgd, muon, not of adam. Known: name, lr, betas, "
        "eps, weight_decay, groups (in 18 of 36 grid points, all with optimizer.name=adam, optimizer.nesterov=true)",
    ]


def test_a_rule_between_two_keys_names_the_point(refused: Any) -> None:
    text = "space: {train.batch_size: [8, 64], train.accumulate: [4, 16]}\n"
    assert refused(text) == [
        "a.yaml:2:58: train.accumulate: 16 parts of a batch of 8; use at most one a sample (in grid point "
        "train.batch_size=8, train.accumulate=16)"
    ]


def test_a_key_under_a_value_is_refused(refused: Any) -> None:
    assert refused("space: {optimizer.lr.x: [1]}\n") == [
        "a.yaml:2:9: optimizer.lr: holds 0.1, which has no keys; remove what follows it"
    ]


def test_what_the_base_lacks_is_said_of_the_base(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE.replace("lr: 0.1, ", ""))
    assert refused("space: {optimizer.momentum: [0, 0.5]}\n") == [
        "base.yaml:3:1: optimizer.lr: missing; expected a number above 0, e.g. `lr: 0.01`"
    ]
    assert check_points(load_sweep("a.yaml", ["space={optimizer.lr: [0.1]}"])).points == ({"optimizer.lr": 0.1},)


def test_both_ends_of_what_tpe_may_choose_are_checked(refused: Any) -> None:
    text = "space: {optimizer.lr: {low: -1, high: 1}, model.hidden: [[1], []]}\nstrategy: {name: tpe, trials: 4}\n"
    assert refused(text) == [
        "a.yaml:2:23: optimizer.lr: expected a number above 0, got -1.0 (in 2 of 4 points, all with optimizer.lr=-1.0)"
    ]


def test_tpe_has_no_points_but_probes(load: Any) -> None:
    checked = check_points(load("space: {optimizer.lr: {low: 0.1, high: 1}}\nstrategy: {name: tpe, trials: 4}\n"))
    assert checked.points == ()
    assert [config.optimizer.lr for config in checked.configs] == [0.1, 1]
    assert checked.probes == ({"optimizer.lr": 0.1}, {"optimizer.lr": 1})


def test_large_adaptive_spaces_are_probed_at_random_ends(load: Any) -> None:
    keys = ["optimizer.lr", "optimizer.weight_decay", "optimizer.momentum", "model.dropout", "train.clip.norm"]
    ranges = "".join(f"  {key}: [{', '.join(f'0.{i}' for i in range(1, 6))}]\n" for key in keys)
    checked = check_points(load(f"space:\n{ranges}strategy: {{name: tpe, trials: 4}}\n"))
    assert len(checked.probes) == 500
    for key in keys:
        assert {probe[key] for probe in checked.probes} == {0.1, 0.2, 0.3, 0.4, 0.5}


def test_the_objective_needs_its_split(refused: Any) -> None:
    text = "space: {data.split: [{val: 0.1}, {val: null}], optimizer.lr: [1, 2]}\n"
    cure = "give data.split.val under set, or use `objective: {split: test}`, which is marked"
    assert refused(text) == [
        f"a.yaml:1:7: objective.split: there is no val split to choose by; {cure} (in 2 of 4 grid points, all with "
        "data.split={val: null})"
    ]
    text = "set: {data.split: {val: 0.1, test: null}}\nspace: {optimizer.lr: [1, 2]}\nobjective: {split: test}\n"
    assert refused(text) == [
        "a.yaml:4:20: objective.split: there is no test split to choose by; give data.split.test under set, or use "
        "`objective: {split: val}`"
    ]


def test_a_maximum_needs_evaluations(refused: Any, load: Any) -> None:
    text = "set: {data.split.test: 0.2}\nspace: {optimizer.lr: [1]}\nobjective: {split: test, of: maximum}\n"
    assert refused(text) == [
        "a.yaml:4:30: objective.of: a maximum needs test evaluated in training; give `train.evaluate: [test]` under set"
    ]
    assert check_points(load(text, "set.train.evaluate=[test]")).configs
    assert check_points(load("space: {optimizer.lr: [1]}\nobjective: {of: maximum}\n")).configs


def test_pruning_needs_evaluations(refused: Any) -> None:
    text = "set: {data.split.test: 0.2, train.evaluate: [test], train.keep: last}\nspace: {optimizer.lr: [1]}\n"
    strategy = "strategy: {name: tpe, trials: 5, pruning: hyperband}\n"
    assert refused(text + strategy) == [
        "a.yaml:1:7: objective.split: pruning needs val evaluated in training; give `train.evaluate: [val]` under set"
    ]
    assert check_points(load_sweep("a.yaml", ["strategy.pruning=none"])).configs


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("space: {optimizer.lr: [1, 2]}\n", None),
        ("space: {optimizer.lr: [1, 2]}\nconfirm: {top: 2}\n", None),
        (
            "space: {optimizer.lr: [1, 2]}\nconfirm: {top: 3}\n",
            "confirm.top is 3 and there are 2 points; all of them are confirmed",
        ),
        ("space: {optimizer.lr: [1, 2, 1]}\n", "1 of the grid's 3 points stand there twice and are run once"),
        (
            "space: {optimizer.lr: [1, 2]}\nstrategy: {name: random, trials: 5}\n",
            "the space has 2 points, fewer than the 5 trials; all of them are run",
        ),
    ],
)
def test_remarks(load: Any, text: str, remark: str) -> None:
    assert check_points(load(text)).remarks == ((remark,) if remark else ())


def test_a_point_of_an_earlier_file_is_checked_too(load: Any) -> None:
    located = load("space:\n  optimizer.lr: [1, 2]\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:3:17: optimizer\.lr: expected a number above 0, got -7"):
        point_config(located, {"optimizer.lr": -7})
    with pytest.raises(ConfigError, match=r"a\.yaml:2:1: model\.hiden: unknown key"):
        point_config(located, {"model.hiden": [1]})
