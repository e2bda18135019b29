"""From a data config to data: description, fingerprint, split and preprocessing agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from dlassign.config.data import Data
from dlassign.data.load import describe, fingerprint, load_dataset, preprocess_steps
from dlassign.data.prepare import prepare, preprocessed_shape
from dlassign.errors import ConfigError, DataError

CSV = "a,b,label\n" + "".join(f"{i},{i * i},{'xyz'[i % 3]}\n" for i in range(60))


def config(**fields: Any) -> Data:
    parsed: Data = TypeAdapter(Data).validate_python(fields)
    return parsed


@pytest.fixture
def configs(make_folder: Callable[..., Path], tmp_path: Path) -> list[Data]:
    """One config of every source that needs no download."""
    (tmp_path / "t.csv").write_text(CSV)
    images = {"name": "image_folder", "root": str(make_folder(n=10)), "cache": str(tmp_path / "cache")}
    return [
        config(name="digits"),
        config(name="toy"),
        config(name="csv_table", path=str(tmp_path / "t.csv")),
        config(**images, split={"val": 0.2}, size=[6, 7]),
        config(**images, val="test", test=None, grayscale=True),
        config(**images, test=None, split={"val": 2, "test": 0.3}),
    ]


def test_description_and_fingerprint_are_those_of_the_data(configs: list[Data]) -> None:
    for cfg in configs:
        info, digest, dataset = describe(cfg), fingerprint(cfg), load_dataset(cfg)
        assert info.shape == dataset.train.x.shape[1:]
        assert info.classes == dataset.classes
        assert info.n_classes == len(info.classes)
        splits = (dataset.train, dataset.val, dataset.test)
        assert (info.n_train, info.n_val, info.n_test) == tuple(len(s) if s is not None else 0 for s in splits)
        assert digest == dataset.sha256


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_known_sets_are_described_without_their_files(name: str) -> None:
    info = describe(config(name=name, root="nowhere", split={"val": 1000}))
    assert info.n_test == 10_000
    assert info.n_val == 1000
    assert info.shape == {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}[name]
    assert len(fingerprint(config(name=name, root="nowhere"))) == 64
    with pytest.raises(DataError, match="missing from nowhere"):
        load_dataset(config(name=name, root="nowhere"))


def test_split_and_label_come_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    split = {"train": 30, "val": 20, "test": 10, "by": "position", "val_at": "start"}
    dataset = load_dataset(config(name="csv_table", path=str(tmp_path / "t.csv"), label="squares", split=split))
    assert dataset.val is not None
    assert dataset.val.x[:, 0].tolist() == list(range(20))
    assert dataset.train.x[:, 0].tolist() == list(range(20, 50))
    assert dataset.label == "squares"


def test_stratified_digits() -> None:
    dataset = load_dataset(config(name="digits"))
    assert dataset.val is not None
    shares = [np.bincount(s.y, minlength=10) / len(s) for s in (dataset.train, dataset.val)]
    assert np.abs(shares[0] - shares[1]).max() < 0.005


def test_impossible_split_is_a_config_error_in_both() -> None:
    cfg = config(name="toy", split={"val": 5})
    for function in (describe, load_dataset):
        with pytest.raises(ConfigError, match=r"data\.split\.val: val takes 5 of 5 samples"):
            function(cfg)


def test_preprocessing_of_a_config() -> None:
    steps = [{"name": "scale", "divisor": 16.0}, {"name": "normalize"}, {"name": "flatten"}]
    cfg = config(name="digits", preprocess=[*steps, {"name": "pca", "components": 20, "whiten": True}])
    dataset, fitted = prepare(load_dataset(cfg), preprocess_steps(cfg), dtype="float32")
    assert dataset.train.x.shape[1:] == preprocessed_shape(describe(cfg).shape, preprocess_steps(cfg)) == (20,)
    assert dataset.train.x.dtype == np.float32
    assert np.allclose(dataset.train.x.std(axis=0, ddof=1), 1, atol=1e-3)
    assert len(fitted.steps) == 4


def test_a_colour_that_does_not_exist_is_said_at_its_key(make_folder: Callable[..., Path]) -> None:
    cfg = config(name="image_folder", root=str(make_folder()), background="whit")
    with pytest.raises(ConfigError, match=r"data\.background: 'whit' is no colour; give a name such as black"):
        describe(cfg)
