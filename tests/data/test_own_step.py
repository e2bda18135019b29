"""A preprocessing step of one's own: measured on train, saved with the weights, and used wherever these are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.data.bundle import Split
from dlassign.data.load import preprocess_steps
from dlassign.data.prepare import Preprocess, fit_preprocess
from dlassign.deploy.from_run import own_scores
from dlassign.deploy.model import load_model
from dlassign.errors import DataError, UserError
from dlassign.parts.code import Code
from dlassign.store.select import one_run
from dlassign.train.checkpoint import to_numpy, to_tensors
from dlassign.train.saved import open_saved

STEP = """\
import numpy as np


class Center:
    def __init__(self, *, factor: float = 2.0):
        self.factor = factor
        self.function = np.subtract

    def fit(self, x):
        self.mean = x.mean(axis=0).astype(">f8")[:, ::-1]
        self.n, self.most, self.shape, self.nothing = len(x), x.max(), x.shape[1:], None

    def __call__(self, x):
        assert list(self.shape) == list(x.shape[1:]) and self.nothing is None
        return self.function(x, self.mean[:, ::-1]) * self.factor / self.most


def halves(x):
    return x[:, :, ::2].reshape(len(x), -1)


def twice(x):
    return 2 * x
"""
CONFIG = """\
name: own
data:
  name: digits
  split: {train: 60, val: 20, test: 20}
  preprocess: [{name: scale, divisor: 16}, {name: "step.py:Center", factor: 3}, {name: "step.py:halves"}]
model: {name: mlp, hidden: [8]}
optimizer: {name: adam, lr: 0.01}
train: {steps: 4, batch_size: 16}
device: cpu
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("step.py").write_text(STEP)
    Path("a.yaml").write_text(CONFIG)


def call(line: str) -> Result:
    done = CliRunner().invoke(main, line.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def fitted(x: Any) -> tuple[Preprocess, Any]:
    given = load_config("a.yaml", code=Code([Path("step.py")])).data
    return fit_preprocess(preprocess_steps(given), Split(x, np.zeros(len(x), dtype=np.int64))), given.preprocess


IMAGES = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8)


def test_it_computes_what_its_code_says_from_the_training_samples_alone() -> None:
    preprocess, _ = fitted(IMAGES)
    scaled = IMAGES / 16
    other = IMAGES[:5] + np.uint8(3)
    expected = (other / 16 - scaled.mean(axis=0)) * 3 / scaled.max()
    np.testing.assert_allclose(preprocess.apply(other, "float64"), expected[:, :, ::2].reshape(5, -1), atol=1e-15)


def test_a_checkpoint_brings_it_back_with_its_code() -> None:
    preprocess, given = fitted(IMAGES)
    saved = Preprocess.from_state(to_numpy(to_tensors(preprocess.state())))
    np.testing.assert_array_equal(saved.with_code(given).apply(IMAGES), preprocess.apply(IMAGES))
    assert saved.with_code(given).apply(IMAGES[:0]).shape == (0, 32)
    with pytest.raises(ValueError, match=r"step 1 of the preprocessing is step\.py:Center, which the config does not"):
        saved.with_code(given[:1])


def test_samples_of_another_shape_are_told() -> None:
    preprocess, _ = fitted(IMAGES)
    with pytest.raises(
        DataError, match=r"Center was fitted on samples of shape \(1, 8, 8\), but these have \(1, 8, 6\)"
    ):
        preprocess.apply(IMAGES[:, :, :, :6])


def test_weights_cannot_be_drawn_on_samples_before_it() -> None:
    Path("a.yaml").write_text(
        "data: {name: digits, preprocess: [{name: pca, components: 4}, {name: 'step.py:twice'}]}\n"
        + CONFIG[CONFIG.index("model") :]
    )
    with pytest.raises(UserError, match=r"cannot be drawn on samples as they were before step\.py:twice"):
        fitted(IMAGES)[0].before_pca(np.zeros((8, 4)))


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_run_uses_the_copy_of_its_code(backend: str) -> None:
    trained = call(f"train a.yaml --code step.py --set backend={backend}")
    assert trained.exit_code == 0, trained.output
    Path("step.py").unlink()
    refused = call("evaluate out/own/latest")
    assert refused.exit_code == 1
    assert "--trust" in refused.output
    for line in ("evaluate out/own/latest --trust", "predict out/own/latest --split test --trust"):
        done = call(line)
        assert done.exit_code == 0, done.output
    loaded = load_model("out/own/latest", trust=True)
    computed = own_scores(open_saved(one_run("out/own/latest"), trust=True))[0](IMAGES)
    assert loaded.predict(list(IMAGES[:, 0])).tolist() == [loaded.labels[best] for best in computed.argmax(axis=1)]
    exported = call("export out/own/latest --out exported --trust")
    assert exported.exit_code == 1
    assert "prepares samples by step.py:Center, code in NumPy that no file of a model can hold" in exported.output
    assert not Path("exported").exists()


def test_another_run_does_not_take_it_over() -> None:
    assert call("train a.yaml --code step.py").exit_code == 0
    text = CONFIG.replace("name: own", "name: next", 1)
    Path("b.yaml").write_text(
        "\n".join(line for line in text.splitlines() if "preprocess" not in line)
        + "\ninit: {name: pretrained, weights: out/own/latest}\n"
    )
    done = call("train b.yaml")
    assert done.exit_code == 2
    assert "b.yaml:9:35: init.weights: " in done.output
    assert "the run prepared its samples by step.py:Center, and code is not taken over" in done.output
