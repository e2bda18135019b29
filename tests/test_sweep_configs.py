"""Every sweep file that is shipped loads, has a header, and makes as many valid runs as the report's grid has."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.load_sweep import load_sweep
from dlassign.sweep.check_points import check_points

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted((CONFIGS / "sweeps").glob("*.yaml"))
# From the reports' own texts, scripts and logs; written out here, not read from the files.
LOGGED_2018 = {
    **dict.fromkeys((100, 200), (1e-7, 1e-6, 1e-5, 1e-4)),
    500: (1e-7, 1e-6, 1e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    800: (5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    **dict.fromkeys((700, 900, 1000, 1500), (5e-5, 1e-4)),
    **dict.fromkeys((2000, 3000, 4000, 5000, 7000), (1e-4,)),
}
# All that the report names.
BATCHES_2018 = (10, 20, 50, 100, 200, 300, 500, 600, 700, 800, 900, 1000, 1500, 2000, 3000, 4000, 5000)
RATES_2018 = (1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
FINAL = (1000, 800, 600, 400)


def rule(name: str, lr: float, **more: float) -> tuple[Any, ...]:
    """Return an optimizer as `_short` has it: keys that are 0 or false are left out."""
    return (name, lr, *sorted((key, value) for key, value in more.items() if value))


MIXES = (
    *("relu", "tanh", "elu"),
    *("relu relu", "tanh tanh", "relu tanh", "tanh relu"),
    *("relu relu relu", "tanh tanh tanh", "relu tanh relu", "elu relu tanh"),
    *("relu relu relu relu relu", "tanh tanh tanh tanh tanh", "elu relu tanh relu tanh"),
)
GRIDS: dict[str, tuple[tuple[str, ...], set[tuple[Any, ...]]]] = {
    "hlcv_h3_grid.yaml": (
        ("optimizer.lr", "model.hidden", "loss.penalty.0.coefficient", "train.batch_size"),
        set(itertools.product((0.001, 0.002, 0.003), (20, 40, 60, 80), (1e-4, 1e-3, 3e-3), (200, 300, 400, 500))),
    ),
    "hlcv_h4_grid.yaml": (
        ("model.hidden", "train.steps", "optimizer.lr", "loss.penalty.0.coefficient"),
        set(itertools.product((70, 80, 90), (2000, 4500), (0.0015, 0.0025), (0.25, 0.29))),
    ),
    "uva2018_hidden.yaml": (
        ("model.hidden",),
        {(hidden,) for hidden in (*((width,) for width in (10, 20, 30, 40, 50)), (50, 50), (500, 500), FINAL)},
    ),
    "uva2018_init.yaml": (
        ("model.hidden", "init"),
        set(itertools.product(((100,), (100,) * 4), [("pytorch",), *(("normal", 10.0**-n) for n in range(1, 6))])),
    ),
    "uva2018_batch.yaml": (
        ("loss.name", "train.batch_size"),
        set(itertools.product(("cross_entropy", "double_softmax"), BATCHES_2018)),
    ),
    "uva2018_batch_steps.yaml": (("train.batch_size",), {(size,) for size in BATCHES_2018}),
    "uva2018_lr.yaml": (
        ("loss.name", "optimizer.name", "optimizer.lr"),
        set(itertools.product(("cross_entropy", "double_softmax"), ("sgd", "adam"), RATES_2018)),
    ),
    "uva2018_momentum.yaml": (
        ("optimizer",),
        {(("adam", 1e-4),)}
        | {
            (rule("sgd", 1e-5, momentum=momentum, nesterov=nesterov),)
            for momentum in (0.8, 0.85, 0.9)
            for nesterov in (False, True)
        }
        | {
            (rule("sgd", 1e-5, momentum=momentum, weight_decay=decay),)
            for momentum in (0, 0.8, 0.9)
            for decay in (0, 1e-4, 1e-3, 1e-2)
        },
    ),
    "uva2018_dropout.yaml": (
        ("model.dropout", "model.norm"),
        set(itertools.product((0.0, 0.05, 0.1, 0.2, 0.3, 0.5), ("none", "batch"))),
    ),
    "uva2018_penalty.yaml": (
        ("loss.penalty",),
        {((),)} | {((name, 10.0**-n),) for name in ("l1", "l2") for n in range(1, 7)},
    ),
    "uva2020_norm_batch.yaml": (
        ("model.norm", "train.batch_size"),
        set(itertools.product(("batch", "batch_manual", "layer_manual"), (8, 16, 32, 64, 100, 200, 400))),
    ),
    "uva2018_lr_batch.yaml": (
        ("optimizer.lr", "train.batch_size"),
        set(itertools.product((1e-7, 1e-6, 1e-5, 1e-4), (200, 100, 500))),
    ),
    "uva2018_lr_batch_table.yaml": (
        ("optimizer.lr", "train.batch_size"),
        {(lr, batch) for batch, lrs in LOGGED_2018.items() for lr in lrs},
    ),
    "uva2018_lr_batch_steps.yaml": (
        ("loss.name", "optimizer.lr", "train.batch_size"),
        {
            (loss, lr, batch)
            for loss in ("cross_entropy", "double_softmax")
            for batch, lrs in LOGGED_2018.items()
            for lr in lrs
        },
    ),
    "digits.yaml": (
        ("optimizer.lr", "model.hidden"),
        set(itertools.product((1e-3, 3e-3, 1e-2), ((100,), (200, 100)))),
    ),
    "eecs598_hidden_units.yaml": (("model.hidden",), {(width,) for width in (30, 100, 300, 1000, 2000)}),
    "eecs598_hidden_logistic.yaml": (("model.hidden",), {(width,) for width in (10, 30, 100, 300, 1000, 3000)}),
    "eecs598_hidden_hinge.yaml": (("model.hidden",), {(width,) for width in (10, 30, 100, 300, 1000, 3000)}),
    "eecs598_filter_sizes.yaml": (
        ("model.kernel_size", "model.hidden"),
        set(itertools.product((3, 5, 7, 9, 11), (30, 100, 300))),
    ),
    "eecs598_dropout.yaml": (
        ("model.dropout", "model.norm"),
        set(itertools.product((0.0, 0.2, 0.5, 0.8), ("none", "batch_from_zero"))),
    ),
    "hlcv_activations.yaml": (
        ("model.activation", "model.hidden"),
        set(itertools.product(("relu", "sigmoid", "tanh"), ((70,), (70,) * 2, (70,) * 4))),
    ),
    "hlcv_depth.yaml": (("model",), {(tuple(mix.split()),) for mix in MIXES}),
}
COUNTS = {
    "hlcv_h3_grid.yaml": 144,
    "hlcv_h4_grid.yaml": 24,
    "uva2018_lr_batch.yaml": 12,
    "uva2018_lr_batch_table.yaml": 33,
    "uva2018_batch_steps.yaml": 17,
    "uva2018_lr_batch_steps.yaml": 66,
}


def _short(key: str, value: Any, *, whole: bool) -> Any:
    """Return a value of a point as GRIDS has it; whole: hidden layers as a tuple, not the width of the first."""
    match key:
        case "model":
            assert value["hidden"] == [80] * len(value["activation"])
            return tuple(value["activation"])
        case "model.hidden" if isinstance(value, list):
            return tuple(value) if whole else value[0]
        case "init":
            return tuple(value.values())
        case "optimizer":
            return rule(**value)
        case "loss.penalty":
            assert all((term["squared"], term["on"]) == (False, "all") for term in value)
            return tuple(part for term in value for part in (term["name"], term["coefficient"]))
        case _:
            return value


def test_all_grids_are_here() -> None:
    assert {file.name for file in FILES} == set(GRIDS)
    assert {name: len(GRIDS[name][1]) for name in COUNTS} == COUNTS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
class TestEverySweep:
    def test_its_points_are_those_of_the_report(self, file: Path) -> None:
        keys, expected = GRIDS[file.name]
        checked = check_points(load_sweep(file))
        assert checked.remarks == ()
        assert len(checked.points) == len(expected)
        whole = file.stem in ("digits", "hlcv_activations", "uva2018_hidden", "uva2018_init")
        found = {tuple(_short(key, point[key], whole=whole) for key in keys) for point in checked.points}
        assert found == expected

    def test_each_point_fits_its_data(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A table's columns are known from its file only: 1,000 rows of 20 features stand for the homework's."""
        (tmp_path / "data").mkdir()
        table = [
            ",".join([*map(str, range(20)), "label"]),
            *(",".join(["0.5"] * 20 + [f"{n % 2}"]) for n in range(1000)),
        ]
        (tmp_path / "data" / "binary20.csv").write_text("\n".join(table))
        monkeypatch.chdir(tmp_path)
        located = load_sweep(file)
        checked = check_points(located)
        assert len(checked.configs) == len(checked.points)
        for point, found in zip(checked.points, checked.configs, strict=True):
            check_fit(found)
            assert found.optimizer.lr == point.get("optimizer.lr", found.optimizer.lr)
            assert found.name == located.config.name == file.stem

    def test_header_says_what_to_expect(self, file: Path) -> None:
        header = "\n".join(line for line in file.read_text().splitlines() if line.startswith("#"))
        for word in ("Source:", "Reported:", "Expected:", "Runs:", "Time:", "Data:", "Command:"):
            assert f"# {word}" in header
        assert f"dlassign sweep --config configs/sweeps/{file.name}" in header
        config = load_sweep(file).config
        said = re.search(r"^# Runs: +(\d+)(?:, and (\d+) that confirm)?", header, re.MULTILINE)
        assert said is not None
        assert int(said[1]) == len(GRIDS[file.name][1]) * len(config.seeds or (0,))
        confirming = config.confirm.top * config.confirm.seeds if config.confirm else None
        assert (int(said[2]) if said[2] else None) == confirming


def test_chosen_on_the_test_set_only_where_the_report_did() -> None:
    marked = {file.name for file in FILES if load_sweep(file).config.objective.marked}
    assert marked == {"uva2018_lr_batch.yaml", "uva2018_lr_batch_table.yaml"}


def test_all_logged_batches_but_the_large_have_9000_steps() -> None:
    checked = check_points(load_sweep(CONFIGS / "sweeps" / "uva2018_lr_batch_table.yaml"))
    steps = {found.train.batch_size: found.train.steps for found in checked.configs}
    assert {batch: n for batch, n in steps.items() if n != 9000} == dict.fromkeys((2000, 3000, 4000, 5000, 7000), 19800)
