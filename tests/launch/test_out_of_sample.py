"""Predictions by nets that had not seen the samples: every sample once, and wrong labels show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.data.load import load_dataset
from dlassign.data_checks.labels import candidates
from dlassign.errors import ConfigError, UserError
from dlassign.launch import out_of_sample as module
from dlassign.launch.out_of_sample import FOLDS, out_of_sample

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def config(*changes: str) -> RunConfig:
    quick = ["model={name: mlp, hidden: [60]}", "train.epochs=15", "device=cpu"]
    return load_config(QUICKSTART, [*quick, *changes])


@pytest.mark.parametrize(
    "more", [("data.split.val=100",), ("data.split.val=null", "backend=numpy")], ids=["torch", "numpy"]
)
def test_planted_wrong_labels_are_found(more: tuple[str, ...]) -> None:
    cfg = config("data.split={train: 600, test: 300}", *more)
    dataset = load_dataset(cfg.data)
    y = dataset.train.y.copy()
    wrong = np.random.default_rng(0).choice(len(y), 30, replace=False)
    y[wrong] = (y[wrong] + 3) % 10
    said: list[str] = []
    probabilities = out_of_sample(cfg, replace(dataset, train=Split(dataset.train.x, y)), say=said.append)
    assert len(said) == FOLDS
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    rows, better = candidates(probabilities, y)
    found = np.isin(rows, wrong)
    # With guessing 3 of 30 would be among 60.
    assert found.sum() >= 18
    assert found.mean() > 0.6
    assert (better[found] == dataset.train.y[rows[found]]).mean() > 0.9


def test_what_has_no_probabilities_or_too_few_samples_is_refused() -> None:
    dataset = load_dataset(config().data)
    with pytest.raises(ConfigError, match="the scores of multiclass_hinge are no probabilities"):
        out_of_sample(config("loss.name=multiclass_hinge"), dataset, say=str)
    few = replace(dataset, train=Split(dataset.train.x[:9], dataset.train.y[:9]))
    with pytest.raises(UserError, match="trains on 4 of 5 parts, and there are 9 training samples"):
        out_of_sample(config(), few, say=str)


def check(*more: str) -> Result:
    return CliRunner().invoke(main, ["data", "check", str(QUICKSTART), *more])


def test_the_command_names_and_draws_the_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = load_dataset(load_config(QUICKSTART).data).train.y
    probabilities = np.eye(10)[y] * 0.5 + 0.05
    probabilities[7] = np.eye(10)[(y[7] + 1) % 10]
    monkeypatch.setattr(module, "out_of_sample", lambda *args, **more: probabilities)
    sheet = tmp_path / "doubtful.png"
    result = check("--labels", "--grid", str(sheet))
    assert result.exit_code == 0
    assert f"warning: 1 of {len(y):,} labels of train may be wrong" in result.stdout
    assert result.stderr.splitlines()[-1] == f"plot   {sheet}"
    assert sheet.exists()
    (flaw,) = json.loads(check("--labels", "--json").stdout)["flaws"]
    assert (flaw["kind"], flaw["samples"][0][0]["row"]) == ("label_candidates", 7)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--grid", "a.png"), "--grid draws the candidates of --labels; give both"),
        (("--labels", "--grid", "a.txt"), "end the name in .png, .svg or .pdf"),
    ],
)
def test_options_that_do_not_go_together(more: tuple[str, ...], told: str) -> None:
    result = check(*more)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize("below", ["there", "there/not/yet"])
def test_a_sheet_that_cannot_be_written_is_refused_before_nets_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    def trained(*args: Any, **more: Any) -> None:
        raise AssertionError("the work would be lost")

    monkeypatch.setattr(module, "out_of_sample", trained)
    (tmp_path / "there").write_text("a file in place of the folder")
    result = check("--labels", "--grid", str(tmp_path / below / "g.png"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"--grid {tmp_path / below / 'g.png'}: cannot write in {tmp_path / 'there'}: " in result.stderr
