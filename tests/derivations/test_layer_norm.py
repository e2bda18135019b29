"""The formulas of docs/derivations/layer_norm.md, evaluated index by index, against the layers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from dlassign.nets.normalization import LayerNormFunction
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.normalization import BatchNorm1d, LayerNorm

N, C, EPS = 4, 5, 1e-2


def of_sample(x: Array, n: int) -> tuple[float, float, float, Array]:
    """Return mu_n, v_n, r_n and h_nc by their definitions."""
    mu = sum(x[n, c] for c in range(C)) / C
    v = sum((x[n, c] - mu) ** 2 for c in range(C)) / C
    r = 1 / np.sqrt(v + EPS)
    return mu, v, r, np.array([(x[n, c] - mu) * r for c in range(C)])


@pytest.fixture
def case() -> SimpleNamespace:
    """A layer that is no identity, its input, the gradient of its output, and what the layer makes of them."""
    rng = np.random.default_rng(0)
    x, d, g, b = (rng.standard_normal(shape) for shape in ((N, C), (N, C), C, C))
    layer = LayerNorm(C, eps=EPS, dtype=np.float64)
    layer.params["weight"][...] = g
    layer.params["bias"][...] = b
    y = layer.forward(x, train=True).copy()
    dx = layer.backward(d).copy()
    h = np.stack([of_sample(x, n)[3] for n in range(N)])
    return SimpleNamespace(x=x, d=d, g=g, b=b, h=h, y=y, dx=dx, dg=layer.grads["weight"], db=layer.grads["bias"])


def test_the_definition(case: SimpleNamespace) -> None:
    for n in range(N):
        h = of_sample(case.x, n)[3]
        assert_allclose(case.y[n], [case.g[c] * h[c] + case.b[c] for c in range(C)])


def test_gradient_of_gamma(case: SimpleNamespace) -> None:
    """dL/dg_c = sum_n d_nc h_nc."""
    for c in range(C):
        assert_allclose(case.dg[c], sum(case.d[n, c] * of_sample(case.x, n)[3][c] for n in range(N)))


def test_gradient_of_beta(case: SimpleNamespace) -> None:
    """dL/db_c = sum_n d_nc."""
    for c in range(C):
        assert_allclose(case.db[c], sum(case.d[n, c] for n in range(N)))


def test_the_jacobian_of_the_normalised_input(case: SimpleNamespace) -> None:
    for n in range(N):
        mu, _, r, h = of_sample(case.x, n)
        for k in range(C):
            dv = 2 / C * sum((case.x[n, c] - mu) * ((c == k) - 1 / C) for c in range(C))
            assert_allclose(dv, 2 / C * (case.x[n, k] - mu))
            dr = -1 / C * r**2 * h[k]
            assert_allclose(dr, -1 / 2 * r**3 * dv)
            dh = [r * ((c == k) - 1 / C) + (case.x[n, c] - mu) * dr for c in range(C)]
            assert_allclose(dh, [r * ((c == k) - 1 / C - 1 / C * h[c] * h[k]) for c in range(C)])
            assert_allclose(case.dx[n, k], sum(case.d[n, c] * case.g[c] * dh[c] for c in range(C)))


def test_gradient_of_the_input(case: SimpleNamespace) -> None:
    """dL/dx_nk = r_n (e_nk - 1/C sum_c e_nc - h_nk 1/C sum_c e_nc h_nc), and its batch form."""
    for n in range(N):
        _, _, r, h = of_sample(case.x, n)
        e = [case.d[n, c] * case.g[c] for c in range(C)]
        for k in range(C):
            mean_e = sum(e[c] for c in range(C)) / C
            mean_eh = sum(e[c] * h[c] for c in range(C)) / C
            assert_allclose(case.dx[n, k], r * (e[k] - mean_e - h[k] * mean_eh))
    e = case.d * case.g
    r = np.array([[of_sample(case.x, n)[2]] for n in range(N)])
    h = case.h
    assert_allclose(case.dx, r * (e - e.mean(1, keepdims=True) - h * (e * h).mean(1, keepdims=True)))


def test_the_manual_function_returns_the_same(case: SimpleNamespace) -> None:
    x, g, b = (torch.tensor(value, requires_grad=True) for value in (case.x, case.g, case.b))
    y = LayerNormFunction.apply(x, g, b, EPS)
    assert_allclose(y.detach(), case.y)
    y.backward(torch.tensor(case.d))
    for ours, numpys in ((x, case.dx), (g, case.dg), (b, case.db)):
        assert ours.grad is not None
        assert_allclose(ours.grad, numpys)


def test_gamma_outside_of_the_means_is_wrong(case: SimpleNamespace) -> None:
    r = np.array([[of_sample(case.x, n)[2]] for n in range(N)])
    d, h = case.d, case.h
    outside = case.g * r * (d - d.mean(1, keepdims=True) - h * (d * h).mean(1, keepdims=True))
    assert not np.allclose(outside, case.dx, rtol=0.01)


def test_batch_norm_beside_layer_norm(case: SimpleNamespace) -> None:
    batch, layer = BatchNorm1d(C, dtype=np.float64), LayerNorm(C, dtype=np.float64)
    one = case.x[:1]
    assert_allclose(layer.forward(case.x, train=True)[:1], layer.forward(one, train=True))
    assert_allclose(layer.forward(case.x, train=True), layer.forward(case.x, train=False))
    with pytest.raises(ValueError, match="more than 1 value"):
        batch.forward(one, train=True)
    half = batch.forward(case.x[: N // 2], train=True)
    assert not np.allclose(batch.forward(case.x, train=True)[: N // 2], half, rtol=0.01)
    assert not np.allclose(batch.forward(case.x, train=True), batch.forward(case.x, train=False), rtol=0.01)
    assert_allclose(case.dx.sum(axis=1), 0, atol=1e-14)
    # A feature that is large in all samples stays large in layer norm, and has mean 0 in batch norm.
    shifted = case.x + 10 * (np.arange(C) == 0)
    assert np.all(layer.forward(shifted, train=True)[:, 0] > 1)
    assert_allclose(batch.forward(shifted, train=True).mean(axis=0), 0, atol=1e-12)


def test_gamma_with_the_sample_index_is_wrong(case: SimpleNamespace) -> None:
    with_sample_index = case.d * case.h
    assert with_sample_index.shape == (N, C) != case.dg.shape


def test_the_third_term_needs_both_factors(case: SimpleNamespace) -> None:
    for n in range(N):
        mu, _, r, _ = of_sample(case.x, n)
        e, x = case.d[n] * case.g, case.x[n]

        def third(*, dropped: bool, k: int, e: Array = e, x: Array = x, mu: float = mu, r: float = r) -> float:
            return sum(e[j] * r**3 * (x[k] - mu) * (1 if dropped else x[j] - mu) for j in range(C)) / C

        rest = r * (e - e.mean())
        assert_allclose(case.dx[n], [rest[k] - third(dropped=False, k=k) for k in range(C)])
        assert not np.allclose(case.dx[n], [rest[k] - third(dropped=True, k=k) for k in range(C)], rtol=0.01)
