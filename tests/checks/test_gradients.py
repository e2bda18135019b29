"""Wrong layers of every kind are caught, right ones pass, and what is no layer is told why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dlassign.checks.gradients import check_case, check_known, check_loss, known_names
from dlassign.checks.layer_cases import layer_cases, loss_cases
from dlassign.numpy_nets import activations, conv, linear, losses, normalization, pooling
from dlassign.numpy_nets.activations import ReLU, Tanh
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.network import Network
from helpers.affine import Affine, check


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


def test_torch_is_the_same_function() -> None:
    """The peers are torch's own functions where there are any."""
    case = next(case for case in loss_cases() if case.loss == "softmax_cross_entropy" and case.form)
    scores, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    assert case.peer(scores, y) == F.cross_entropy(scores, y, label_smoothing=0.1)
