"""Samples in memory: the same run as from a file, told from others by their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dlassign as dl
from dlassign.deploy.classifier import probabilities
from dlassign.errors import ConfigError, DataError, UserError
from helpers.runs import stop_after_steps

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)), np.array(["cat", "dog", "eel"])[np.arange(60) % 3]
SPLIT = {"train": (X[:40], Y[:40]), "test": (X[40:], Y[40:])}
CONFIG: dict[str, Any] = {
    "name": "mine",
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"steps": 6, "batch_size": 20, "checkpoint_seconds": 0},
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arrays_are_trained_on_found_again_and_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dl.train(CONFIG, data=SPLIT, out="whole")
    stop = stop_after_steps(monkeypatch)
    stop.after = 3
    assert dl.train(CONFIG, data=SPLIT).status == "interrupted"
    stop.after = 10**9
    run = dl.train(CONFIG, data=SPLIT)
    assert run.status == "finished"
    assert run.summary.weights_sha256 == whole.summary.weights_sha256
    assert run.config["data"]["given"] == ["test"]
    assert run.classes == ("cat", "dog", "eel")
    assert run.test is not None
    assert run.evaluate("test", data=SPLIT).result == run.test
    assert set(run.model().predict(X[:5])) <= set(run.classes)
    other = dl.train(CONFIG, data={**SPLIT, "train": (X[:40] + 1, Y[:40])})
    assert other.path != run.path
    with pytest.raises(DataError, match=r"the data is not that of the run .* give those"):
        run.evaluate("test", data={"train": (X[:40], Y[:40]), "test": (X[40:] + 1, Y[40:])})
    with pytest.raises(DataError, match="arrays are samples in the memory of a Python process"):
        run.evaluate("test")


def test_splits_are_taken_as_the_config_says() -> None:
    found = dl.check({**CONFIG, "data": {"name": "arrays", "split": {"val": 10, "test": 5}}}, data={"train": (X, Y)})
    assert (found.n_train, found.n_val, found.n_test) == (45, 10, 5)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"tset": (X, Y)}, "split='tset'; expected one of train, val, test"),
        ({"test": (X, Y)}, "the training samples are missing"),
        ({"train": X}, r"data\['train'\]: expected \(x, y\)"),
        ({"train": (X, Y[:5])}, "train: 60 samples, but 5 labels"),
    ],
)
def test_data_of_another_form_is_named(data: Any, told: str) -> None:
    with pytest.raises((ValueError, DataError), match=told):
        dl.train(CONFIG, data=data)


def test_a_config_that_does_not_fit_the_arrays_is_placed() -> None:
    with pytest.raises(ConfigError, match=r"^dict:3:9: data.name: samples are given, but the config trains on digits"):
        dl.train({"name": "a", "data": {"name": "digits"}} | CONFIG, data=SPLIT)
    with pytest.raises(ConfigError, match=r"^dict:\d+:\d+: train.batch_size: "):
        dl.check({**CONFIG, "train": {"steps": 1, "batch_size": 50}}, data=SPLIT)
    with pytest.raises(DataError, match="Give them from Python again"):
        dl.train({**CONFIG, "data": {"name": "arrays"}})


def test_images_of_floats_are_predicted_as_floats_alone() -> None:
    """The scale of picture files, and of bytes, is another: they would be predicted, and wrongly."""
    images = RNG.normal(size=(60, 1, 6, 5))
    run = dl.train(CONFIG, data={"train": (images[:40], Y[:40]), "test": (images[40:], Y[40:])})
    model = run.model()
    channels_last = images[:7].transpose(0, 2, 3, 1)
    assert model.predict_proba(channels_last) == pytest.approx(probabilities(model.scores(images[:7])), abs=1e-6)
    (one,) = model.predict(channels_last[3])
    assert one == model.predict(channels_last)[3]
    for wrong in (np.zeros((6, 5, 1), np.uint8), np.zeros((12, 10, 1))):
        with pytest.raises(DataError, match=r"whose scale no picture has; give it arrays \(6, 5, 1\) of floats"):
            model.predict(wrong)
    Image.new("L", (5, 6)).save("a.png")
    for predict in (model.predict, run.predict):
        with pytest.raises(UserError, match="whose scale no picture has"):
            predict("a.png")


def test_rows_of_a_file_are_not_those_of_arrays() -> None:
    run = dl.train(CONFIG, data=SPLIT)
    Path("new.csv").write_text("1,2,3,4\n")
    with pytest.raises(UserError, match=r"If it was trained on arrays, give it arrays: `dlassign.load_model\(RUN\)"):
        run.predict("new.csv")
