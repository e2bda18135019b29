"""Wrong layers of every kind are caught, right ones pass, and what is no layer is told why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dlassign.checks import gradients, net_gradients
from dlassign.checks.gradients import check_case, check_known, check_layer, check_loss, known_names
from dlassign.checks.layer_cases import layer_cases, loss_cases
from dlassign.checks.net_gradients import ConfigProbe, check_config
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, UserError
from dlassign.numpy_nets import activations, conv, linear, losses, normalization, pooling
from dlassign.numpy_nets.activations import ReLU, Tanh
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.network import Network


def check(layer: Any, shape: tuple[int, ...] = (5, 4), peer: Any = None) -> dict[str, gradients.CheckedGradient]:
    rng = np.random.default_rng(0)
    return {row.tensor: row for row in check_layer(layer, "mine", form="", shape=shape, peer=peer, rng=rng)}


class Affine:
    """A right layer with parameters, to be made wrong."""

    def __init__(self) -> None:
        self.params: Any = {"weight": np.array([1.0, -2.0, 0.5, 3.0]), "bias": np.zeros(4)}
        self.grads: Any = {name: np.zeros(4) for name in self.params}
        self.buffers: Any = {}
        self.x: Any = None

    def forward(self, x: Any, *, train: bool) -> Any:
        self.x = x
        return x * self.params["weight"] + self.params["bias"]

    def backward(self, dy: Any) -> Any:
        self.grads["weight"][...] = (dy * self.x).sum(0)
        self.grads["bias"][...] = dy.sum(0)
        return dy * self.params["weight"]


class TestEverythingOfOurs:
    def test_is_right_with_a_margin_of_ten(self) -> None:
        rows = list(check_known(seed=0))
        assert all(row.ok for row in rows)
        for row in rows:
            assert row.autograd is not None
            assert row.differences.left_out == row.differences.kinks == 0
            errors = (row.differences.central, row.autograd, row.differences.directions)
            assert all(10 * error <= bound for error, bound in zip(errors, row.bounds, strict=True)), row

    def test_every_layer_and_loss_has_a_case(self) -> None:
        modules = (activations, conv, linear, normalization, pooling)
        classes = {
            name
            for module in modules
            for name, value in vars(module).items()
            if isinstance(value, type) and hasattr(value, "backward") and not name.startswith("_")
        } - {"Layer", "FirstLayer"}
        functions = {
            name
            for name, value in vars(losses).items()
            if callable(value) and getattr(value, "__module__", "") == losses.__name__ and not name.startswith("_")
        }
        assert classes | {"Dropout", "Network", "Residual"} | functions == set(known_names())

    @pytest.mark.parametrize("case", layer_cases(), ids=lambda case: f"{case.layer} {case.form}")
    def test_every_case_fails_when_backward_is_off_a_little(self, case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        cls = type(case.build(np.random.default_rng(0)))
        right = cls.backward

        def wrong(self: Any, dy: Any) -> Any:
            dx = right(self, dy).copy()
            dx[np.unravel_index(np.argmax(np.abs(dx)), dx.shape)] *= 1.01
            return dx

        monkeypatch.setattr(cls, "backward", wrong)
        row = check_case(case, seed=0)[0]
        assert not row.ok
        assert row.differences.central > 1e-3
        assert row.differences.directions > 1e-4
        assert row.autograd is not None
        assert row.autograd > 1e-3

    @pytest.mark.parametrize("case", loss_cases(), ids=lambda case: f"{case.loss} {case.form}")
    def test_every_loss_fails_when_its_gradient_is_a_sum_not_a_mean(self, case: Any) -> None:
        def wrong(scores: Any, y: Any) -> Any:
            loss, dscores = case.ours(scores, y)
            return loss, dscores * len(y)

        row = check_loss(type(case)(**{**vars(case), "ours": wrong}), seed=0)
        assert not row.ok
        assert min(row.errors) > 0.1

    def test_a_loss_of_another_value_fails(self) -> None:
        case = next(case for case in loss_cases() if case.loss == "squared_error")

        def wrong(scores: Any, y: Any) -> Any:
            loss, dscores = case.ours(scores, y)
            return loss + 1, dscores

        assert not check_loss(type(case)(**{**vars(case), "ours": wrong}), seed=0).ok

    @pytest.mark.parametrize("cls", [Linear, Network])
    def test_another_backward_params_fails(self, cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cls, "backward_params", lambda self, dy: None)
        case = next(case for case in layer_cases() if case.layer == cls.__name__)
        assert [row.tensor for row in check_case(case, seed=0) if row.ok] == ["input"]


class TestWrongLayers:
    def test_the_right_one_passes(self) -> None:
        assert all(row.ok for row in check(Affine()).values())

    def test_forgotten_bias_sum(self) -> None:
        class Wrong(Affine):
            def backward(self, dy: Any) -> Any:
                dx = super().backward(dy)
                self.grads["bias"][...] = dy[0]
                return dx

        rows = check(Wrong())
        assert [name for name, row in rows.items() if not row.ok] == ["bias"]

    def test_gradient_never_written(self) -> None:
        class Wrong(Affine):
            def backward(self, dy: Any) -> Any:
                return dy * self.params["weight"]

        assert [name for name, row in check(Wrong()).items() if not row.ok] == ["weight", "bias"]

    def test_sign_slip(self) -> None:
        class Wrong(Affine):
            def backward(self, dy: Any) -> Any:
                return -super().backward(dy)

        assert not check(Wrong())["input"].ok

    def test_weight_of_one_hides_nothing(self) -> None:
        class Wrong(Affine):
            def __init__(self) -> None:
                super().__init__()
                self.params["weight"][...] = 1

            def backward(self, dy: Any) -> Any:
                super().backward(dy)
                return dy

        assert not check(Wrong())["input"].ok

    def test_kept_from_the_first_forward(self) -> None:
        class Wrong(Affine):
            def forward(self, x: Any, *, train: bool) -> Any:
                first = self.x
                y = super().forward(x, train=train)
                self.x = x.copy() if first is None else first
                return y

        assert not check(Wrong())["weight"].ok

    def test_gradients_that_add_up(self) -> None:
        class Wrong(Affine):
            def backward(self, dy: Any) -> Any:
                before = {name: g.copy() for name, g in self.grads.items()}
                dx = super().backward(dy)
                for name, g in self.grads.items():
                    g += before[name]
                return dx

        assert [name for name, row in check(Wrong()).items() if not row.ok] == ["weight", "bias"]

    def test_dropout_that_scales_only_one_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = Dropout.backward
        monkeypatch.setattr(Dropout, "backward", lambda self, dy: right(self, dy) * (1 - self.p))
        assert not all(row.ok for row in check_known(["Dropout"], seed=0))

    def test_wrong_slope_of_a_layer_with_a_kink(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ReLU.backward
        monkeypatch.setattr(ReLU, "backward", lambda self, dy: right(self, dy) + 0.01 * dy)
        assert not all(row.ok for row in check_known(["ReLU"], seed=0))

    def test_a_peer_with_another_output_proves_nothing(self) -> None:
        class Shifted(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.tanh(x) + 1

        assert check(Tanh(), peer=torch.nn.Tanh())["input"].ok
        assert not check(Tanh(), peer=Shifted())["input"].ok


class TestProtocol:
    @pytest.mark.parametrize("missing", ["params", "grads", "buffers"])
    def test_missing_members(self, missing: str) -> None:
        layer = Affine()
        delattr(layer, missing)
        with pytest.raises(UserError, match=f"mine is no layer yet; it lacks\n  {missing}: a dict"):
            check(layer)

    def test_missing_methods(self) -> None:
        class Empty:
            params = np.zeros(3)

        with pytest.raises(UserError, match=r"grads: .*\n  buffers: .*\n  forward: .*\n  backward: "):
            check(Empty())

    @pytest.mark.parametrize(
        ("method", "body", "message"),
        [
            ("forward", lambda self, x, *, train: x.tolist(), "forward returns an object of type list"),
            ("forward", lambda self, x, *, train: x.astype(np.float32), "turns float64 into float32"),
            ("forward", lambda self, x, *, train: x * np.nan, "not finite"),
            ("forward", lambda self, x, *, train: 1 / 0, "ZeroDivisionError"),
            ("forward", lambda self, x: x, "unexpected keyword argument 'train'"),
            ("forward", lambda self, x, *, train: np.multiply(x, 2, out=x), "forward changes its input"),
            (
                "forward",
                lambda self, x, *, train: x + np.random.rand(),
                "forward gives something else when called again",
            ),
            ("backward", lambda self, dy: dy[:1], r"backward returns \(1, 4\) float64; expected"),
            ("backward", lambda self, dy: None, "backward returns None"),
            ("backward", lambda self, dy: dy.nothing, "AttributeError"),
            ("backward", lambda self, dy: np.multiply(dy, 2, out=dy), "backward changes its input dy"),
            (
                "backward",
                lambda self, dy: (self.grads.pop("bias", 0), dy)[1],
                r"grads\['bias'\] is no longer the array",
            ),
            (
                "backward",
                lambda self, dy: (self.grads.update(bias=0.0), dy)[1],
                r"grads\['bias'\] is no longer the array of the constructor; make it there and write into it",
            ),
        ],
    )
    def test_what_a_layer_must_not_do(self, method: str, body: Any, message: str) -> None:
        cls = type("Bad", (Affine,), {method: body})
        with pytest.raises(UserError, match=message):
            check(cls())

    def test_a_backward_that_is_not_linear(self) -> None:
        class Wrong(Affine):
            def backward(self, dy: Any) -> Any:
                dx = super().backward(dy)
                size = float(np.abs(dy).max())
                self.usual = getattr(self, "usual", size)
                return dx if size <= self.usual else 1.01 * dx

        right = check(Affine())
        assert all(row.ok for row in right.values())
        with pytest.raises(UserError, match="for 2 dy, backward does not give twice the gradient by input"):
            check(Wrong())

    def test_a_parameter_named_input(self) -> None:
        layer = Affine()
        layer.params["input"] = layer.grads["input"] = np.zeros(1)
        with pytest.raises(UserError, match="a parameter is named 'input'"):
            check(layer)

    def test_a_parameter_that_cannot_be_written(self) -> None:
        layer = Affine()
        layer.params["bias"].flags.writeable = False
        with pytest.raises(UserError, match=r"params\['bias'\] cannot be written"):
            check(layer)

    def test_parameters_made_in_forward(self) -> None:
        class Lazy(Affine):
            def forward(self, x: Any, *, train: bool) -> Any:
                self.params = {name: p.copy() for name, p in self.params.items()}
                return super().forward(x, train=train)

        with pytest.raises(UserError, match=r"params\['weight'\] is no longer the array of the constructor"):
            check(Lazy())

    def test_leaving_the_program(self) -> None:
        class Leaves(Affine):
            def backward(self, dy: Any) -> Any:
                raise SystemExit(0)

        with pytest.raises(UserError, match="SystemExit"):
            check(Leaves())

    def test_single_precision(self) -> None:
        with pytest.raises(UserError, match="is float32, differences need float64; take dtype"):
            check(Linear(4, 3))

    def test_a_peer_with_other_parameters(self) -> None:
        with pytest.raises(UserError, match="parameters of layer and PyTorch peer are not the same"):
            check(Linear(4, 3, dtype=np.float64), peer=torch.nn.Linear(4, 3, bias=False))

    def test_a_peer_that_fails_or_gives_another_shape(self) -> None:
        with pytest.raises(UserError, match="the PyTorch peer fails on input"):
            check(Tanh(), peer=torch.nn.Conv2d(1, 1, 1).requires_grad_(False).eval() and torch.nn.Unflatten(1, (3, 3)))
        with pytest.raises(UserError, match=r"the output of the PyTorch peer is \(20,\)"):
            check(Tanh(), peer=torch.nn.Flatten(0))


def config(text: str, tmp_path: Any, *overrides: str) -> RunConfig:
    (tmp_path / "a.yaml").write_text(text)
    return load_config(tmp_path / "a.yaml", ("backend=numpy", *overrides), device="cpu")


SMALL = """\
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [8, 6], norm: batch, dropout: 0.3}
loss: {penalty: [{name: l2, coefficient: 0.1, squared: false, on: all}]}
optimizer: {name: sgd, lr: 0.1}
train: {steps: 10, batch_size: 100}
"""
TOY = """\
data: {name: toy}
model: {name: mlp, hidden: [10]}
init: {name: legacy_normal, std: 0.1, layout: in_out, seed: 0}
loss: {penalty: [{name: l2, coefficient: 0.05}]}
optimizer: {name: sgd, lr: 0.1}
train: {steps: 1, order: full}
"""
VARIANTS = [
    (),
    ("model.dropout_scale=evaluation", "model.norm=layer", "model.activation=[elu, gelu]", "loss.name=double_softmax"),
    (
        "model.norm=batch_without_running",
        "loss={name: multiclass_hinge, penalty: [{name: l1, coefficient: 0.1, squared: false, on: all}]}",
    ),
    ("model={name: eecs_convnet, filters: 3, kernel_size: 3, hidden: 7, norm: batch, dropout: 0.2}",),
    ("init={name: normal, std: 1e-4}", "loss.name=cross_entropy_on_probabilities", "model.norm=none"),
]


class TestConfig:
    @pytest.mark.parametrize("overrides", VARIANTS)
    def test_right(self, overrides: tuple[str, ...], tmp_path: Any) -> None:
        rows, n = check_config(config(SMALL, tmp_path, *overrides))
        assert n == 5
        assert rows[0].layer == "input"
        for row in rows:
            assert row.ok, row
            assert row.autograd is not None
            assert row.differences.entries == min(row.size, net_gradients.MAX_ENTRIES)

    def test_the_check_of_hlcv(self, tmp_path: Any) -> None:
        """Exercise 2 asks for less than 1e-8; the loss is that of the starter code."""
        cfg = config(TOY, tmp_path)
        assert ConfigProbe(cfg).value() == pytest.approx(1.3037878913298202, abs=1e-14)
        rows, n = check_config(cfg)
        assert n == 5
        assert [(row.layer, row.tensor) for row in rows[1:]] == [
            (layer, tensor) for layer in ("linear1", "head") for tensor in ("weight", "bias")
        ]
        assert all(max(row.errors) < 1e-9 for row in rows)

    def test_a_penalty_without_its_factor_is_wrong(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        right = ConfigProbe.value
        monkeypatch.setattr(ConfigProbe, "value", lambda self: right(self) + 0.01 * self._penalty())
        rows, _ = check_config(config(TOY, tmp_path))
        assert [(row.layer, row.tensor) for row in rows if not row.ok] == [("linear1", "weight"), ("head", "weight")]

    def test_one_wrong_entry_of_many(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not one of the 20 that are compared with differences: directions and autograd see it."""
        right = Linear.backward_params

        def wrong(self: Any, dy: Any) -> None:
            right(self, dy)
            self.grads["weight"].flat[np.argmax(np.abs(self.grads["weight"]))] *= 1.01

        monkeypatch.setattr(Linear, "backward_params", wrong)
        rows, _ = check_config(config(SMALL, tmp_path))
        [row] = [row for row in rows if (row.layer, row.tensor) == ("linear1", "weight")]
        assert not row.ok
        assert row.differences.directions > row.bounds.directions
        assert row.autograd is not None
        assert row.autograd > row.bounds.autograd

    def test_a_shape_that_only_the_data_knows(self, tmp_path: Any) -> None:
        with pytest.raises(ConfigError, match="after PCA"):
            check_config(config(SMALL, tmp_path, "data.preprocess=[{name: flatten}, {name: pca, components: 0.9}]"))

    def test_a_layer_that_fails(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(self: Any, x: Any, *, train: bool) -> Any:
            raise ValueError("does not fit")

        monkeypatch.setattr(ReLU, "forward", fails)
        with pytest.raises(UserError, match="the NumPy net of a fails: layer 'relu1': does not fit"):
            check_config(config(SMALL, tmp_path))


def test_torch_is_the_same_function() -> None:
    """The peers are torch's own functions where there are any."""
    case = next(case for case in loss_cases() if case.loss == "softmax_cross_entropy" and case.form)
    scores, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    assert case.peer(scores, y) == F.cross_entropy(scores, y, label_smoothing=0.1)
