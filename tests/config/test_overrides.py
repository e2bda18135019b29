"""Changes by `--set` and by options, and what they drop when a section gets another name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.errors import ConfigError

CIFAR = """\
data:
  name: cifar10
  root: somewhere
  download: false
  split: {val: 5000}
  preprocess: [{name: scale, divisor: 255}]
model: {name: mlp}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9, nesterov: true}
train: {epochs: 10}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    path = tmp_path / "a.yaml"

    def write_and_load(*overrides: str, text: str = CIFAR, **options: Any) -> Any:
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides, **options)

    return write_and_load


def test_values_are_yaml(load: Any) -> None:
    config = load("optimizer.lr=3e-4", "model.hidden=[100, 50]", "optimizer.nesterov=false", "name=no")
    assert config.optimizer.lr == 3e-4
    assert config.model.hidden == (100, 50)
    assert not config.optimizer.nesterov
    assert config.name == "no"


def test_null_list_index_and_new_mapping(load: Any) -> None:
    config = load("train.epochs=null", "train.steps=10", "data.preprocess.0.divisor=16", "train.early_stop.patience=3")
    assert (config.train.steps, config.train.epochs) == (10, None)
    assert config.data.preprocess[0].divisor == 16
    assert config.train.early_stop.patience == 3


def test_a_mapping_replaces_a_section(load: Any) -> None:
    assert load("optimizer={name: adam}").optimizer.lr == 1e-3
    assert load("optimizer=name: adam").optimizer.name == "adam"


def test_later_overrides_win_and_values_may_hold_equals_signs(load: Any) -> None:
    assert load("data.root=a", "data.root=b=c").data.root == "b=c"


def test_another_source_keeps_shared_keys(load: Any) -> None:
    data = load("data.name=image_folder", "data.root=pets").data
    assert data.name == "image_folder"
    assert data.root == "pets"
    assert data.split.val == 5000
    assert data.preprocess[0].divisor == 255


def test_another_source_drops_keys_of_the_old_one(load: Any) -> None:
    assert load("data.name=digits", "data.split={val: 0.1}").data.name == "digits"
    assert load("optimizer.name=adam").optimizer.lr == 0.1
    assert load("data.preprocess.0.name=flatten").data.preprocess[0].name == "flatten"


@pytest.mark.parametrize(
    ("text", "overrides", "path"),
    [
        (CIFAR.replace("download", "downlod"), ["data.name=image_folder"], "data.downlod"),
        (CIFAR, ["data.name=image_folder", "data.download=true"], "data.download"),
        (CIFAR.replace("cifar10", "digits"), [], "data.root"),
        (CIFAR.replace("cifar10", "cifar"), ["data.name=image_folder"], "data.download"),
    ],
)
def test_other_keys_stay_errors(load: Any, text: str, overrides: Any, path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*overrides, text=text)
    assert path in [problem.path for problem in caught.value.problems]


def test_options_replace_the_file(load: Any) -> None:
    config = load("seed=3", seed=5, device="cpu")
    assert (config.seed, config.device) == (5, "cpu")


def test_a_key_without_end_is_told(load: Any) -> None:
    with pytest.raises(ConfigError, match="nested more than 50 levels deep; expected a key such as"):
        load("a." * 3000 + "b=1")
