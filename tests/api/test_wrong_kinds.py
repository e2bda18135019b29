"""Each argument of each public function, given as another kind of thing: one clear error, never one of Python's own."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlassign
from dlassign.api.find import Runs
from dlassign.api.run import Run
from dlassign.errors import DlassignError
from helpers.forging import honest_run

WRONG: tuple[Any, ...] = (3, 1.5, None, [], [3], {}, {3: 3}, object(), b"x", "", "\0")
"""Some of these are right for some arguments; then nothing is raised."""
CONFIG: dict[str, Any] = {
    "name": "wrong",
    "data": {"name": "toy", "n": 30},
    "model": {"name": "mlp", "hidden": [2]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {"steps": 1, "batch_size": 2},
}
FLAGS = {"trust", "again", "retry", "fail_fast", "tta", "log_x", "log_y"}
"""Of which anything is true or false."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return honest_run(tmp_path_factory.mktemp("runs")).root


def calls(place: Path, out: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return each public function with arguments that are right."""
    run, sweep = dlassign.open(place), {"name": "s", "base": CONFIG, "space": {"optimizer.lr": [0.1]}}
    return {
        "train": (dlassign.train.function, {"config": CONFIG, "out": out}),  # type: ignore[attr-defined]
        "sweep": (dlassign.sweep.function, {"config": sweep, "out": out}),  # type: ignore[attr-defined]
        "check": (dlassign.check, {"config": CONFIG}),
        "open": (dlassign.open, {"path": place}),
        "runs": (dlassign.runs, {"folder": place}),
        "load_model": (dlassign.load_model, {"path": place}),
        "compare": (dlassign.compare, {"groups": place}),
        "Run.history": (run.history, {}),
        "Run.confusion": (run.confusion, {}),
        "Run.plot": (run.plot, {}),
        "Run.evaluate": (run.evaluate, {}),
        "Run.predict": (run.predict, {"split": "val"}),
        "Run.model": (run.model, {}),
        "Run.compare": (run.compare, {"others": place}),
        "Runs.columns": (Runs([run]).columns, {}),
    }


def test_all_public_functions_are_looked_at(folder: Path, tmp_path: Path) -> None:
    methods = {f"Run.{name}" for name, one in vars(Run).items() if inspect.isfunction(one) and name[0] != "_"}
    assert set(calls(folder, tmp_path)) == {*dlassign.__all__, *methods, "Runs.columns"} - {"Run"}


@pytest.mark.parametrize("name", ["train", "sweep", "check", "open", "runs", "load_model", "compare", "Runs.columns"])
def test_a_wrong_kind_is_one_clear_error(name: str, folder: Path, tmp_path: Path) -> None:
    _try_all(name, folder, tmp_path)


@pytest.mark.parametrize("name", ["history", "confusion", "plot", "evaluate", "predict", "model", "compare"])
def test_a_wrong_kind_is_one_clear_error_of_a_run(name: str, folder: Path, tmp_path: Path) -> None:
    _try_all(f"Run.{name}", folder, tmp_path)


def _try_all(name: str, folder: Path, out: Path) -> None:
    function, right = calls(folder, out)[name]
    told: list[Exception] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in FLAGS:
            continue
        for value in WRONG:
            several = parameter.kind is parameter.VAR_POSITIONAL
            given = {key: one for key, one in right.items() if key not in (parameter.name, "groups", "others")}
            places = [right[key] for key in ("groups", "others") if key in right and not several]
            try:
                function(*places, *([value] if several else []), **given | ({} if several else {parameter.name: value}))
            except (DlassignError, ValueError) as error:
                told.append(error)
            except (TypeError, AttributeError, LookupError) as error:
                pytest.fail(f"{name}({parameter.name}={value!r}): {type(error).__name__}: {error}")
    assert told
    assert [error for error in told if isinstance(error, ValueError) and type(error) is not ValueError] == []
    assert [error for error in told if "object is not" in str(error) or "has no attribute" in str(error)] == []


def test_labels_of_several_kinds_are_told() -> None:
    x = np.random.default_rng(0).normal(size=(9, 2))
    config = {key: value for key, value in CONFIG.items() if key != "data"}
    with pytest.raises(DlassignError, match=r"train: labels are .* of several kinds \(NoneType, int, str\)"):
        dlassign.check(config, data={"train": (x, [1, "a", None] * 3)})


def test_a_count_below_one_slices_nothing(folder: Path) -> None:
    for limit in (-1, 0, "3", True):
        with pytest.raises(ValueError, match="expected a count, 1 or more"):
            dlassign.runs(folder, limit=limit)  # type: ignore[arg-type]
    assert len(dlassign.runs(folder, limit=np.int64(3))) == 1  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(dlassign.runs(tmp_path / "missing")) == 0
    assert f"there is no folder {tmp_path / 'missing'}, so there are no runs" in capsys.readouterr().err


def test_a_run_that_was_sent_to_another_process_is_equal(folder: Path) -> None:
    run = dlassign.open(folder)
    again = pickle.loads(pickle.dumps(run))
    assert again == run
    assert len({run, again}) == 1
    assert run != object()
