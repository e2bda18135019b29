"""The losses and their gradients are those of torch, by its functions or by autograd of the formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dlassign.numpy_nets import losses
from dlassign.numpy_nets.layer import Array
from helpers.agreement import as_layout, assert_close_to, tensor

Torchs = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def signs(y: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    return (2 * y - 1).to(s.dtype)[:, None]


CLASSES: dict[str, tuple[Any, Torchs]] = {
    "softmax_cross_entropy": (losses.softmax_cross_entropy, F.cross_entropy),
    "multiclass_hinge": (losses.multiclass_hinge, lambda s, y: s.shape[1] * F.multi_margin_loss(s, y)),
    "squared_error": (losses.squared_error, lambda s, y: F.mse_loss(s, F.one_hot(y, s.shape[1]).to(s.dtype))),
}
TWO: dict[str, tuple[Any, Torchs]] = {
    "logistic": (losses.logistic, lambda s, y: F.binary_cross_entropy_with_logits(s, y.to(s.dtype)[:, None])),
    "hinge": (losses.hinge, lambda s, y: F.relu(1 - signs(y, s) * s).mean()),
}
ALL = CLASSES | TWO | {"cross_entropy_on_probabilities": (losses.cross_entropy_on_probabilities, None)}


def columns(name: str) -> int:
    return 1 if name in TWO else 4


def check(ours: Any, torchs: Torchs, scores: Array, y: Array, bound: float = 1e-10) -> None:
    before = scores.copy()
    loss, dscores = ours(scores, y)
    s = tensor(scores).requires_grad_()
    expected = torchs(s, tensor(y))
    expected.backward()
    assert type(loss) is float
    assert_close_to(loss, expected.detach().double(), bound, name="loss")
    assert_close_to(dscores, s.grad, bound, name="gradient")
    assert not np.shares_memory(dscores, scores)
    np.testing.assert_array_equal(scores, before)


@st.composite
def batches(draw: st.DrawFn, k: int | None) -> tuple[Array, Any]:
    """Scores and labels; k None is one column with labels 0 and 1."""
    n, scale = draw(st.integers(1, 9)), draw(st.sampled_from([0.01, 1.0, 30.0]))
    y = np.array(draw(st.lists(st.integers(0, (k or 2) - 1), min_size=n, max_size=n)), np.int64)
    return draw(as_layout((n, k or 1), scale=scale)), y


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 7).flatmap(batches))
def test_agrees_with_torch(name: str, batch: tuple[Array, Any]) -> None:
    check(*CLASSES[name], *batch)


@pytest.mark.parametrize("name", TWO)
@settings(max_examples=50, deadline=None)
@given(batch=batches(None))
def test_agrees_with_torch_on_two_classes(name: str, batch: tuple[Array, Any]) -> None:
    check(*TWO[name], *batch)


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 7).flatmap(batches), smoothing=st.floats(0, 1))
def test_label_smoothing_agrees_with_torch(batch: tuple[Array, Any], smoothing: float) -> None:
    given = {"label_smoothing": smoothing}
    check(lambda s, y: losses.softmax_cross_entropy(s, y, **given), lambda s, y: F.cross_entropy(s, y, **given), *batch)


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 7).flatmap(batches), eps=st.sampled_from([1e-15, 1e-3]))
def test_cross_entropy_on_probabilities_agrees_with_autograd(batch: tuple[Array, Any], eps: float) -> None:
    scores, y = batch
    probabilities = torch.softmax(tensor(scores / 5), 1).numpy()
    check(
        lambda p, y: losses.cross_entropy_on_probabilities(p, y, eps=eps),
        lambda p, y: -torch.log(p[torch.arange(len(p)), y] + eps).mean(),
        probabilities,
        y,
    )


def test_a_probability_of_zero_costs_the_logarithm_of_eps() -> None:
    loss, dp = losses.cross_entropy_on_probabilities(np.array([[0.0, 1.0]], np.float32), np.array([0]))
    assert loss == pytest.approx(-np.log(1e-15))
    np.testing.assert_allclose(dp, [[-1e15, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", CLASSES | TWO)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stays_finite_at_the_ends_of_the_range(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    scores = rng.choice(np.array([-1e4, -50, 0, 50, 1e4], dtype), (40, columns(name)))
    y = rng.integers(0, 2, 40)
    loss, dscores = ALL[name][0](scores, y)
    assert np.isfinite(loss)
    assert np.isfinite(dscores).all()
    if name not in {"hinge", "multiclass_hinge"}:  # their slopes at margins of exactly 0 are a choice
        check(*(CLASSES | TWO)[name], scores, y, bound=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_float32_stays_float32(name: str) -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.uniform(0.1, 1, (33, columns(name))), rng.integers(0, 2, 33)
    loss, dscores = ALL[name][0](scores, y)
    loss32, dscores32 = ALL[name][0](scores.astype(np.float32), y)
    assert dscores32.dtype == np.float32
    assert loss32 == pytest.approx(loss, rel=1e-6)
    assert_close_to(dscores32.astype(np.float64), dscores, 1e-6)


def test_labels_may_be_unsigned() -> None:
    scores = np.array([[0.5], [2.0]])
    assert losses.hinge(scores, np.array([0, 1], np.uint8))[0] == losses.hinge(scores, np.array([0, 1]))[0] == 0.75


@pytest.mark.parametrize("name", ALL)
def test_wrong_input_is_refused(name: str) -> None:
    loss, k = ALL[name][0], columns(name)
    scores, y = np.full((3, k), 0.5), np.zeros(3, np.int64)
    wide = "K" if k > 1 else "1"
    for wrong in (scores[:, 0], scores[None], scores[:0], scores.astype(np.int64)):
        with pytest.raises(ValueError, match=rf"{name}: expected scores \(N, {wide}\).*got \("):
            loss(wrong, y[: len(wrong)])
    for labels in (y[:2], y[:, None], y.astype(np.float64)):
        with pytest.raises(ValueError, match=rf"{name}: expected y \(3,\) integers .*got \("):
            loss(scores, labels)
    for labels in (y - 1, y + max(k, 2)):
        with pytest.raises(ValueError, match=rf"{name}: expected y in 0..{max(k, 2) - 1}; got values"):
            loss(scores, labels)


@pytest.mark.parametrize("name", TWO)
def test_two_class_losses_want_one_column(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected scores \(N, 1\).*\(3, 2\) float64"):
        TWO[name][0](np.ones((3, 2)), np.zeros(3, np.int64))


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\]"):
        losses.softmax_cross_entropy(np.ones((2, 3)), np.zeros(2, np.int64), label_smoothing=smoothing)
