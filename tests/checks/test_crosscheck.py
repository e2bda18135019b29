"""The two backends compute the same, and a layer that does not is found."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.checks import random_data
from dlassign.checks.crosscheck import Agreement, crosscheck
from dlassign.config.data import CSVTable
from dlassign.config.load import load_config
from dlassign.config.model import MLP, TORCH_ONLY_NORMS, EECSConvNet
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Diverged, UserError
from dlassign.numpy_nets import objective as numpy_objective
from dlassign.numpy_nets.activations import ReLU
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.normalization import BatchNorm1d
from dlassign.numpy_nets.pooling import MaxPool2d
from dlassign.optim import numpy_rules

CONFIGS = Path(__file__).parents[2] / "configs"


def distinct_configs() -> list[Any]:
    """Every config, but one alone of those that differ only in lengths, rates, batch sizes and initial weights.

    Those of large multilayer perceptrons are marked slow.
    """
    found: dict[str, Any] = {}
    for file in sorted(CONFIGS.rglob("*.yaml")):
        if file.parent.name in ("sweeps", "tables"):
            continue
        cfg = load_config(file)
        parts = (cfg.model, cfg.loss, cfg.optimizer.name, cfg.data.preprocess, cfg.schedule.name, cfg.train.order)
        large = isinstance(cfg.model, MLP) and sum(cfg.model.hidden) > 500
        marked = pytest.param(file, marks=pytest.mark.slow) if large else file
        found.setdefault(repr((*parts, cfg.train.clip, cfg.data.name)), marked)
    return list(found.values())


FILES = distinct_configs()
CONFIG = """\
name: small
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [12, 10]}
optimizer: {name: sgd, lr: 0.1, momentum: 0.9}
train: {steps: 40, batch_size: 32}
"""
CONVNET = "model={name: eecs_convnet, filters: 3, kernel_size: 3, hidden: 8%s}"
PENALTIES = [
    f"{{name: {name}, coefficient: 0.01, squared: {squared}, half: {half}, on: {on}}}"
    for name in ("l1", "l2")
    for squared in ("true", "false")
    for half, on in (("true", "weights"), ("false", "all"))
]
VARIANTS = [
    *[f"model.activation={a}" for a in ("relu", "elu", "gelu", "identity", "leaky_relu", "sigmoid", "silu", "tanh")],
    *[
        f"model.norm={norm} model.norm_at={at} optimizer={{name: {rule}, lr: 0.01}}"
        for norm in ("batch", "batch_from_zero", "batch_without_running", "layer")
        for at, rule in (("before_activation", "adam"), ("after_activation", "rmsprop"))
    ],
    "model.dropout=0.3",
    "model.dropout=[0.5, 0.2] model.norm=batch",
    "model.dropout=0.3 model.dropout_scale=evaluation",
    "model.hidden=[]",
    "model.bias=false",
    "loss.label_smoothing=0.1",
    *[f"loss.name={name}" for name in ("cross_entropy_on_probabilities", "double_softmax")],
    *[f"loss.name={name}" for name in ("multiclass_hinge", "squared_error")],
    "optimizer={name: sgd, lr: 0.1}",
    "optimizer={name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01}",
    "optimizer={name: adam, lr: 0.01, betas: [0.8, 0.99], weight_decay: 0.01}",
    "optimizer={name: adamw, lr: 0.01, weight_decay: 0.1}",
    "optimizer={name: rmsprop, lr: 0.01}",
    "optimizer={name: rmsprop, lr: 0.01, momentum: 0.5, weight_decay: 0.01}",
    "schedule={name: step, every: {steps: 5}, gamma: 0.5}",
    "schedule={name: multistep, milestones: [{steps: 3}, {steps: 9}], gamma: 0.5}",
    "schedule={name: exponential, gamma: 0.9, after_first_step: true} train.order=full",
    "schedule={name: cosine, warmup: {steps: 5}}",
    "schedule={name: one_cycle}",
    *[f"loss.penalty=[{penalty}]" for penalty in PENALTIES],
    f"loss.penalty=[{PENALTIES[0]}, {PENALTIES[-1]}]",
    "train.clip={norm: 0.1}",
    f"train.clip={{value: 0.01}} loss.penalty=[{PENALTIES[2]}]",
    *[f"train.order={order}" for order in ("uva", "with_replacement", "window")],
    "train.eval_batch_size=51 model.norm=batch_without_running",
    "init={name: legacy_normal, std: 0.1, layout: in_out}",
    CONVNET % "",
    CONVNET % ", norm: batch, dropout: 0.2",
    CONVNET % ", norm: batch_from_zero, dropout: 0.2, dropout_scale: evaluation" + " optimizer={name: adam}",
    CONVNET % ", norm: batch_without_running",
]
Check = Callable[..., Agreement]


def overrides(variant: str) -> list[str]:
    """Split `a.b={x: 1, y: 2} c=3` where a new key begins."""
    parts: list[str] = []
    for word in variant.split(" "):
        if "=" in word:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    return parts


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., RunConfig]:
    def load(*variants: str) -> RunConfig:
        (tmp_path / "a.yaml").write_text(CONFIG)
        return load_config(tmp_path / "a.yaml", [one for variant in variants for one in overrides(variant)])

    return load


@pytest.fixture
def check(config: Callable[..., RunConfig]) -> Check:
    return lambda *variants: crosscheck(config(*variants))


def place(found: Agreement) -> tuple[str, str, int]:
    assert found.parted is not None
    assert not found.parted.size <= found.bound
    assert found.steps == found.parted.step
    return found.parted[:3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_backends_compute_the_same(config: Callable[..., RunConfig], variant: str) -> None:
    found = crosscheck(config(variant), steps=12)  # past the milestones, the steps and the warm-up of the schedules
    assert found.parted is None, found.parted
    assert found.steps == 12
    assert found.worst.size <= 1e-10


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_two_class_losses(check: Check, tmp_path: Path, loss: str) -> None:
    write_table(tmp_path / "two.csv")
    data = f"data={{name: csv_table, path: {tmp_path / 'two.csv'}}}"
    assert check(data, f"loss.name={loss}").parted is None


def write_table(path: Path) -> None:
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(20)), "label"])
        writer.writerows([*rng.standard_normal(20), i % 2] for i in range(1000))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_every_config_that_both_can_build(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(random_data, "MAX_SAMPLES", 60)
    model = load_config(file).model
    if not isinstance(model, MLP | EECSConvNet) or model.norm in TORCH_ONLY_NORMS:
        with pytest.raises(ConfigError):
            load_config(file, ["backend=numpy"])
        return
    cfg = load_config(file, ["backend=numpy", "device=cpu"])
    pca = [place for place, step in enumerate(cfg.data.preprocess or ()) if step.name == "pca"]
    few = [f"data.preprocess.{place}.components=8" for place in pca]  # there are few samples
    cfg = load_config(file, ["backend=numpy", "device=cpu", *few])
    if isinstance(cfg.data, CSVTable):
        write_table(tmp_path / cfg.data.path)
    smaller = cfg.train.model_copy(update={"batch_size": min(cfg.train.batch_size, 5)})
    found = crosscheck(cfg.model_copy(update={"train": smaller}), steps=5, random_data=True)
    assert found.parted is None, found.parted


class TestFinds:
    def test_a_wrong_forward_from_the_third_step_on(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right, calls = BatchNorm1d.forward, []

        def wrong(self: BatchNorm1d, x: Any, *, train: bool) -> Any:
            calls.append(1)
            return right(self, x, train=train) * (1 + 1e-6 * (len(calls) >= 3))

        monkeypatch.setattr(BatchNorm1d, "forward", wrong)
        found = check("model.hidden=[12]", "model.norm=batch")
        assert place(found) == ("norm1", "forward", 3)
        assert "BatchNorm1d.forward in dlassign.numpy_nets.normalization" in found.hint

    def test_a_wrong_gradient_of_one_bias(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Linear.backward_params

        def wrong(self: Linear, dy: Any) -> None:
            right(self, dy)
            if self.out_features == 12:
                self.grads["bias"] *= 1.001

        monkeypatch.setattr(Linear, "backward_params", wrong)
        found = check()
        assert place(found) == ("linear1", "gradient", 1)
        assert "gradcheck --layer Linear" in found.hint
        assert "clip" not in found.hint
        assert "train.clip=null" in check("train.clip={norm: 0.1}").hint

    def test_a_gradient_passed_on_wrongly(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ReLU.backward
        monkeypatch.setattr(ReLU, "backward", lambda self, dy: right(self, dy) * 1.001)
        found = check("train.clip={norm: 0.1}")
        assert place(found) == ("relu2", "backward", 1)
        assert "ReLU.backward" in found.hint

    def test_a_wrong_update(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = numpy_rules.sgd

        def wrong(*arrays: Any, momentum: float, **options: Any) -> None:
            right(*arrays, momentum=momentum * 0.999, **options)

        monkeypatch.setattr(numpy_rules, "sgd", wrong)
        found = check()  # the first step has no momentum yet
        assert place(found) == ("linear1", "weights", 2)
        assert "sgd in dlassign.optim.numpy_rules" in found.hint

    def test_a_wrong_update_at_a_rate_too_small_to_change_the_weights_much(
        self, check: Check, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = numpy_rules.sgd

        def wrong(*arrays: Any, momentum: float, **options: Any) -> None:
            right(*arrays, momentum=momentum * 0.999, **options)

        tiny = "optimizer={name: sgd, lr: 1e-9, momentum: 0.9}"
        assert check(tiny).parted is None
        monkeypatch.setattr(numpy_rules, "sgd", wrong)
        layer, stage, _ = place(check(tiny))
        assert (layer, stage) == ("linear1", "weights")

    @pytest.mark.parametrize(("rule", "wrong"), [("adam", {"eps": 1e-7}), ("rmsprop", {"alpha": 0.98})])
    def test_a_wrong_rule_that_divides(
        self, check: Check, monkeypatch: pytest.MonkeyPatch, rule: str, wrong: dict[str, float]
    ) -> None:
        right = getattr(numpy_rules, rule)
        monkeypatch.setattr(numpy_rules, rule, lambda *arrays, **options: right(*arrays, **{**options, **wrong}))
        found = check(f"optimizer.name={rule}")
        assert place(found) == ("linear1", "weights", 1)
        assert f"{rule} in dlassign.optim.numpy_rules" in found.hint

    def test_a_wrong_gradient_is_not_taken_over(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Linear.backward_params

        def wrong(self: Linear, dy: Any) -> None:
            right(self, dy)
            self.grads["weight"] *= 1 + 1e-9

        monkeypatch.setattr(Linear, "backward_params", wrong)
        found = check("optimizer.name=adam")
        assert place(found) == ("head", "gradient", 1)
        assert "may be rounding" in found.hint

    def test_wrong_running_statistics(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = BatchNorm1d.forward

        def wrong(self: BatchNorm1d, x: Any, *, train: bool) -> Any:
            y = right(self, x, train=train)
            self.buffers["running_var"] *= 1.001
            return y

        monkeypatch.setattr(BatchNorm1d, "forward", wrong)
        found = check("model.norm=batch")
        assert place(found) == ("norm1", "weights", 1)
        assert "running statistics of BatchNorm1d" in found.hint

    def test_a_wrong_evaluation(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Dropout.forward
        monkeypatch.setattr(
            Dropout, "forward", lambda self, x, *, train: right(self, x, train=train) * (1 if train else 0.7)
        )
        found = check("model.dropout=0.3")
        assert place(found) == ("dropout1", "evaluation", 20)
        assert "Dropout.forward with train=False" in found.hint

    def test_a_wrong_dropout_scale(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Dropout._drawn
        monkeypatch.setattr(Dropout, "_drawn", lambda self, x: 0.9 * right(self, x))
        assert place(check("model.dropout=0.3")) == ("dropout1", "forward", 1)

    @pytest.mark.parametrize("share", [0.0, 0.9])
    def test_dropout_that_drops_too_much_or_nothing(
        self, check: Check, share: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Dropout, "_drawn", lambda self, x: (self.rng.random(x.shape) >= share) / (1 - self.p))
        with pytest.raises(UserError, match=r"Dropout\(p=0.3, .*\) dropped .* 30.0% were expected"):
            check("model.dropout=0.3")

    def test_a_wrong_largest_value(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = MaxPool2d.forward

        def wrong(self: Any, x: Any, *, train: bool) -> Any:
            y = right(self, x, train=train)
            if train:
                self.largest[0] = 0
            return y

        monkeypatch.setattr(MaxPool2d, "forward", wrong)
        assert place(check(CONVNET % "")) == ("pool1", "backward", 1)

    @pytest.mark.parametrize("both", [False, True])
    def test_a_wrong_loss(self, check: Check, monkeypatch: pytest.MonkeyPatch, both: bool) -> None:
        right = numpy_objective.losses.squared_error

        def wrong(scores: Any, y: Any) -> Any:
            loss, dscores = right(scores, y)
            return (loss * 1.001 if both else loss), dscores * 1.001

        monkeypatch.setattr(numpy_objective.losses, "squared_error", wrong)
        found = check("loss.name=squared_error")
        assert place(found) == ("loss", "forward" if both else "backward", 1)
        assert "squared_error in dlassign.numpy_nets.losses" in found.hint

    def test_a_wrong_penalty(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = numpy_objective._l2_squared
        monkeypatch.setattr(numpy_objective, "_l2_squared", lambda p, g, factor: right(p, g, factor) * 1.001)
        found = check("loss.penalty=[{name: l2, coefficient: 0.01}]")
        assert place(found) == ("penalty", "forward", 1)
        assert "make_numpy_penalty" in found.hint

    def test_a_wrong_prediction(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dlassign.train.numpy_learner.numpy_predict", lambda scores: scores.argmin(1))
        found = check()
        assert place(found) == ("confusion", "evaluation", 20)
        assert "numpy_predict" in found.hint

    def test_what_is_not_finite_on_one_side_only(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ReLU.forward
        monkeypatch.setattr(ReLU, "forward", lambda self, x, *, train: right(self, x, train=train) / 0.0)
        found = check()
        assert place(found) == ("relu1", "forward", 1)
        assert found.parted is not None
        assert math.isinf(found.parted.size)

    def test_a_layer_that_does_not_fit(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ReLU.forward
        monkeypatch.setattr(ReLU, "forward", lambda self, x, *, train: right(self, x, train=train)[:, 1:])
        with pytest.raises(UserError, match=r"the NumPy net fails at step 1: layer 'linear2': .* expected input"):
            check()

    def test_single_precision(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ReLU.forward
        monkeypatch.setattr(
            ReLU, "forward", lambda self, x, *, train: right(self, x, train=train).astype("f4").astype("f8")
        )
        found = check()
        assert place(found) == ("relu1", "forward", 1)
        assert found.parted is not None
        assert 1e-9 < found.parted.size < 1e-7


def test_nets_with_other_layers_are_not_compared(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.nets.build.mlp", lambda *_, **__: import_module("torch").nn.Linear(64, 10))
    with pytest.raises(UserError, match=r"the layers are not the same: flatten, linear1, .* \(NumPy\)"):
        check()


def test_a_loss_that_both_find_endless_ends_the_check(check: Check) -> None:
    with pytest.raises(Diverged, match=r"the loss of both nets became .* at step \d; try a smaller optimizer.lr"):
        check("optimizer={name: sgd, lr: 1e30} model.hidden=[] loss.name=squared_error")


def test_training_that_is_shorter(check: Check) -> None:
    assert check("train.steps=3").steps == 3


def test_dropout_drops_the_same_values_at_every_step_but_not_always(config: Callable[..., RunConfig]) -> None:
    cfg = config("model.dropout=0.5")
    assert crosscheck(cfg).parted is None
    assert crosscheck(cfg.model_copy(update={"seed": 1})).parted is None


def test_random_data_fills_whole_batches_and_stays_small(config: Callable[..., RunConfig]) -> None:
    mnist = "data={name: mnist, root: nowhere}"
    train = random_data.random_dataset(config(mnist, "train.batch_size=257")).train
    assert train.x.shape == (2827, 1, 28, 28)
    assert set(train.y) == set(range(10))
    assert len(random_data.random_dataset(config(mnist, "train.batch_size=5000")).train) == 5000
    digits = random_data.random_dataset(config("data={name: digits}")).train
    assert 1000 < len(digits) < 1797
    assert digits.x.max() == 16
    assert random_data.random_dataset(config("data={name: toy}", "train.order=full")).train.x.shape == (5, 4)


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, 1])
def test_the_convnet_on_mnist_whose_equal_patches_tie_in_the_pool(seed: int) -> None:
    root = CONFIGS.parent.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real data sets are not at {root}")
    found = crosscheck(load_config(CONFIGS / "reports/eecs598/convnet.yaml", [f"data.root={root}"], seed=seed))
    assert found.parted is None, found.parted
