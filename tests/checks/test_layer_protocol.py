"""What is no layer, or changes what it must not, is told why in one message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dlassign.errors import UserError
from dlassign.numpy_nets.activations import Tanh
from dlassign.numpy_nets.linear import Linear
from helpers.affine import Affine, check


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
