"""The examples of own parts in docs/examples: each trains, resumes exactly, and names the run by its bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.config.optim import OwnSchedule
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Interrupted
from dlassign.parts.code import Code
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train.experiment import run_experiment
from dlassign.train.own_schedule import own_factor
from helpers.records import without_times
from helpers.runs import paths_of, stop_after_steps

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CONFIG = """\
name: example
data: {name: digits, split: {train: 60, val: 20, test: 20}, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [8], dropout: 0.1}
optimizer: {name: adam, lr: 0.01}
train: {steps: 8, batch_size: 16, log_every: {steps: 2}, eval_every: {steps: 3}, keep_checkpoints: all}
device: cpu
"""
CASES = {
    "lion.py": 'optimizer={name: "lion.py:Lion", lr: 0.01, groups: [{params: ["*bias"], lr_factor: 2}]}',
    "mean_recall.py": 'train.metric={name: "mean_recall.py:mean_recall", of: 3}',
    "orthogonal.py": 'loss.penalty=[{name: "orthogonal.py:orthogonal", coefficient: 0.1}]',
    "speckle.py": 'data.augment=[{name: "speckle.py:speckle", share: 0.2}, {name: flip}]',
    "vgg.py": 'model={name: "vgg.py:vgg", stages: [[4], [6, 6]], hidden: [8], dropout: 0.1}',
    "spirals.py": 'data={name: "spirals.py:spirals", arms: 2, points: 50, split: {val: 0.2, test: 0.2}}',
    "rms_norm.py": 'model.norm={name: "rms_norm.py:RMSNorm", eps: 1.0e-5}',
    "rms_norm.py in NumPy": 'model.norm="rms_norm.py:RMSNorm"',
    "swish.py": 'model.activation={name: "swish.py:Swish", beta: 1.5}',
    "swish.py in NumPy": 'model.activation=["swish.py:Swish"]',
    "focal_loss.py": 'loss={name: "focal_loss.py:focal_loss", gamma: 1.5, penalty: [{name: l2, coefficient: 0.1}]}',
    "zca.py": 'data.preprocess=[{name: scale, divisor: 16}, {name: "zca.py:ZCA", epsilon: 0.01}]',
    "inverse_sqrt.py": 'schedule={name: "inverse_sqrt.py:inverse_sqrt", after: 3, warmup: {steps: 2}}',
}
"""What puts each example into the config, as after `--set`; some have both backends."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)


def config(name: str) -> RunConfig:
    file, _, backend = name.partition(" in ")
    if not Path(file).exists():
        shutil.copy(EXAMPLES / file, file)
    return load_config("a.yaml", [CASES[name], f"backend={backend.lower() or 'torch'}"], code=Code([Path(file)]))


def train(cfg: RunConfig, out: str) -> tuple[RunRecords, list[str]]:
    said: list[str] = []
    return run_experiment(cfg, paths_of(cfg, Path(out)), say=said.append), said


def sha(records: RunRecords) -> Any:
    assert records.end is not None
    assert records.end["status"] == "finished"
    return records.end["weights_sha256"]


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {name.partition(" in ")[0] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_trains_and_resumes_exactly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, said = train(config(name), "unbroken")
    assert "not_repeatable" not in unbroken.notes, said
    with monkeypatch.context() as patch:
        stop_after_steps(patch).after = 5 + 3  # of the repeated step and its like none counts for the run
        with pytest.raises(Interrupted):
            train(config(name), "out")
    resumed, said = train(config(name), "out")
    assert any(line.startswith("going on from step") for line in said)
    assert sha(resumed) == sha(unbroken)
    assert without_times(resumed) == without_times(unbroken)


@pytest.mark.parametrize("name", CASES)
def test_a_byte_makes_another_run(name: str) -> None:
    before: RunPaths = paths_of(config(name), Path("out"))
    file = Path(name.partition(" in ")[0])
    file.write_text(f"{file.read_text()}#\n")
    assert paths_of(config(name), Path("out")) != before


@pytest.mark.parametrize("name", [name for name in CASES if name not in {"mean_recall.py"}])
def test_it_changes_what_is_trained(name: str) -> None:
    plain, _ = train(load_config("a.yaml"), "plain")
    assert sha(train(config(name), "out")[0]) != sha(plain)


NOISY = """\
import numpy as np


class Noisy:
    params, grads = {}, {}

    def __init__(self, num_features, *, rng, dtype=np.float64):
        self.buffers = {"mean": np.zeros(num_features, dtype)}
        self.rng = rng

    def forward(self, x, *, train):
        if train:
            self.buffers["mean"] += x.dtype.type(0.1) * (x.mean(0) - self.buffers["mean"])
            x = x + self.rng.standard_normal(x.shape).astype(x.dtype)
        return x - self.buffers["mean"]

    def backward(self, dy):
        return dy
"""


def test_a_numpy_layer_with_statistics_and_noise_resumes_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("net.py").write_text(NOISY)
    cfg = load_config("a.yaml", ["backend=numpy", "model.norm=net.py:Noisy"], code=Code([Path("net.py")]))
    unbroken, _ = train(cfg, "unbroken")
    with monkeypatch.context() as patch:
        stop_after_steps(patch).after = 5 + 3
        with pytest.raises(Interrupted):
            train(cfg, "out")
    resumed, said = train(cfg, "out")
    assert any(line.startswith("going on from step") for line in said)
    assert sha(resumed) == sha(unbroken)
    assert without_times(resumed) == without_times(unbroken)


def test_a_function_that_gives_its_slope_trains_as_the_layer_does() -> None:
    text = "import numpy as np\n\ndef cube(x):\n    return x**3, 3 * x**2\n\nclass Cube:\n"
    text += "    params, grads, buffers = {}, {}, {}\n\n    def forward(self, x, *, train):\n        self.x = x\n"
    text += "        return x**3\n\n    def backward(self, dy):\n        return 3 * self.x**2 * dy\n"
    Path("net.py").write_text(text)
    code = Code([Path("net.py")])
    both = [
        load_config("a.yaml", ["backend=numpy", f"model.activation=net.py:{name}"], code=code)
        for name in ("cube", "Cube")
    ]
    first, second = (sha(train(cfg, f"out{number}")[0]) for number, cfg in enumerate(both))
    assert first == second


def test_an_optimizer_of_torch_can_be_named_as_it_is() -> None:
    Path("net.py").write_text("import torch\n\nRprop = torch.optim.Rprop\n")
    line = 'optimizer={name: "net.py:Rprop", lr: 0.01, etas: [0.4, 1.3], step_sizes: [1.0e-6, 1.0]}'
    cfg = load_config("a.yaml", [line], code=Code([Path("net.py")]))
    assert cfg.optimizer.model_dump()["etas"] == (0.4, 1.3)
    records, said = train(cfg, "out")
    assert sha(records)
    assert not said


def test_a_key_of_torch_that_may_be_a_tensor_is_a_number_here() -> None:
    """AdamW's betas are annotated as `tuple[float | Tensor, float | Tensor]`."""
    Path("net.py").write_text("import torch\n\nAdamW = torch.optim.AdamW\n")
    line = 'optimizer={name: "net.py:AdamW", lr: 0.01, betas: [0.8, 0.9], weight_decay: 0}'
    cfg = load_config("a.yaml", [line], code=Code([Path("net.py")]))
    assert cfg.optimizer.model_dump()["betas"] == (0.8, 0.9)
    assert sha(train(cfg, "out")[0])
    with pytest.raises(ConfigError, match=r"optimizer\.betas\.0: expected a"):
        load_config("a.yaml", [line.replace("0.8", "[0.8]")], code=Code([Path("net.py")]))


def test_the_factor_of_a_schedule_may_be_a_number_of_numpy() -> None:
    Path("net.py").write_text("import numpy as np\n\n\ndef half(step, total):\n    return np.float32(0.5)\n")
    cfg = load_config("a.yaml", ['schedule={name: "net.py:half"}'], code=Code([Path("net.py")]))
    assert isinstance(cfg.schedule, OwnSchedule)
    assert own_factor(cfg.schedule, 8)(3) == 0.5


def test_a_metric_without_a_value_chooses_nothing_and_that_is_said() -> None:
    Path("net.py").write_text("def none(scores, y):\n    return float('nan')\n")
    cfg = load_config("a.yaml", ['train.metric={name: "net.py:none"}'], code=Code([Path("net.py")]))
    records, said = train(cfg, "out")
    assert records.end is not None
    assert records.end["chosen"] == {"weights": "last", "step": 8}
    assert [line for line in said if line.startswith("net.py:none was no finite number at any evaluation of val")]


def test_the_copy_of_our_vgg_ends_in_its_weights() -> None:
    ours = load_config("a.yaml", [CASES["vgg.py"].replace("vgg.py:vgg", "vgg")])
    assert sha(train(config("vgg.py"), "own")[0]) == sha(train(ours, "ours")[0])
