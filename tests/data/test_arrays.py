"""Samples in memory as a source: what is taken, what is refused, and what a run makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlassign.config.data import has_test, has_validation
from dlassign.config.run import RunConfig
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.load import describe, fingerprint, list_samples, load_dataset
from dlassign.errors import ConfigError, DataError, DlassignError
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train.cache import DataCache
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import open_saved, open_split

X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.arange(30) % 3


def config(**data: Any) -> RunConfig:
    """Return a run of three steps on samples in memory."""
    return RunConfig.model_validate(
        {
            "name": "mine",
            "data": {"name": "arrays", **data},
            "model": {"name": "mlp", "hidden": [5]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "train": {"steps": 3, "batch_size": 8},
            "device": "cpu",
        }
    )


def trained(cfg: RunConfig, folder: Path, x: Any, y: Any, **given: Any) -> RunRecords:
    return run_experiment(cfg, RunPaths(folder), cache=DataCache(raw_of_arrays(x, y, **given)))


def test_a_run_on_arrays_is_that_on_equal_arrays_however_they_lie_in_memory(tmp_path: Path) -> None:
    cfg = config(split={"val": 6, "test": 6})
    plain = trained(cfg, tmp_path / "a" / "x", X, Y)
    assert [plain.start["data"][f"n_{split}"] for split in ("train", "val", "test")] == [18, 6, 6]
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    forms: list[NDArray[Any]] = [read_only, mapped, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]]
    forms += [X[::-1].copy()[::-1], X.astype(">f8")]
    for number, form in enumerate(forms):
        other = trained(cfg, tmp_path / "b" / str(number), form, Y[::-1].copy()[::-1])
        assert plain.end is not None
        assert other.end["weights_sha256"] == plain.end["weights_sha256"]
        assert other.start["data"]["sha256"] == plain.start["data"]["sha256"]


def test_splits_that_are_given_stay_as_they_are() -> None:
    raw = raw_of_arrays(X[:20], Y[:20], val=(X[20:25], Y[20:25]), test=(X[25:], Y[25:]), classes=["a", "b", "c"])
    cfg = config(given=["val", "test"])
    assert has_validation(cfg.data)
    assert has_test(cfg.data)
    dataset = load_dataset(cfg.data, raw=raw)
    assert dataset.classes == ("a", "b", "c")
    assert [len(split) for split in dataset.splits.values()] == [20, 5, 5]
    assert dataset.val is not None
    assert np.array_equal(dataset.val.x, X[20:25])
    with pytest.raises(ConfigError, match=r"data.given: beside train, the samples have the splits \[val, test\]"):
        load_dataset(config().data, raw=raw)
    with pytest.raises(ValueError, match="validation is given twice"):
        config(given=["val"], split={"val": 3})


def test_labels_of_any_kind_become_class_numbers() -> None:
    raw = raw_of_arrays(X[:4], np.array(["dog", "cat", "dog", "bird"], dtype=object))
    assert raw.classes == ("bird", "cat", "dog")
    assert raw.train.y.tolist() == [2, 1, 2, 0]
    assert raw_of_arrays(X[:3], [7, 5, 7]).classes == ("5", "7")


def test_whole_numbers_are_computed_with_and_images_stay_bytes() -> None:
    assert raw_of_arrays(np.arange(6).reshape(3, 2), [0, 1, 0]).train.x.dtype == np.float64
    images = np.zeros((3, 1, 2, 2), dtype=np.uint8)
    assert raw_of_arrays(images, [0, 1, 0]).train.x.dtype == np.uint8
    assert raw_of_arrays(X.astype(np.float32), Y).train.x.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:5], "train: 30 samples, but 5 labels"),
        (X[:, 0], Y, r"samples of the shape \(30,\); expected"),
        (np.zeros((3, 8, 8)), [0, 1, 0], r"for gray images add an axis with x\[:, None\]"),
        (np.zeros((3, 8, 8, 3)), [0, 1, 0], r"channels last; put them first, with x.transpose\(0, 3, 1, 2\)"),
        (np.full((3, 2), np.nan), [0, 1, 0], r"3 samples with NaN or infinity \(number 0, 1, 2"),
        (np.ma.masked_greater(X, X.max() - 1e-9), Y, "train: 1 masked value in the samples; fill them"),
        (X, np.ma.masked_equal(Y, 1), "train: 10 masked values in the labels; fill them"),
        (np.array([["a"], ["b"]]), [0, 1], "samples are numbers, and these are <U1"),
        (np.zeros((2, 0)), [0, 1], "hold no number"),
        (X, np.eye(30), "labels of the shape"),
        (X, Y + 0.25, "labels are classes, and some are numbers such as 0.25"),
        (X, np.where(Y == 1, np.nan, Y), "labels are classes, and some are numbers such as nan"),
    ],
)
def test_what_is_no_sample_is_refused_with_the_cure(x: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raw_of_arrays(x, y)


def test_a_mask_over_nothing_changes_nothing() -> None:
    assert raw_of_arrays(np.ma.masked_array(X), Y).sha256 == raw_of_arrays(X, Y).sha256


def test_labels_outside_the_named_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels 0\.\.2, but there are 2 classes"):
        raw_of_arrays(X, Y, classes=["a", "b"])
    with pytest.raises(DataError, match="expected class numbers"):
        raw_of_arrays(X, Y.astype(float), classes=["a", "b", "c"])


def test_no_command_can_read_them(tmp_path: Path) -> None:
    cfg = config(split={"val": 6})
    for read in (fingerprint, describe, list_samples, load_dataset):
        with pytest.raises(DataError, match="in the memory of a Python process, which no command can read"):
            read(cfg.data)
    trained(cfg, tmp_path / "a" / "x", X, Y)
    with pytest.raises(DataError, match="Give them from Python again"):
        open_split(open_saved(RunPaths(tmp_path / "a" / "x")), "val")


def test_samples_are_for_a_config_of_arrays(tmp_path: Path) -> None:
    cfg = RunConfig.model_validate(config().model_dump() | {"data": {"name": "digits"}})
    with pytest.raises(ConfigError, match="samples are given, but the config trains on digits"):
        trained(cfg, tmp_path / "a" / "x", X, Y)
    assert not (tmp_path / "a" / "x").exists()


def test_a_run_on_other_samples_is_told_apart(tmp_path: Path) -> None:
    cfg = config()
    trained(cfg, tmp_path / "a" / "x", X, Y)
    with pytest.raises(DlassignError, match=r"values or labels have changed.*give those"):
        trained(cfg, tmp_path / "a" / "x", X + 1, Y)
