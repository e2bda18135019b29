"""The formulas of docs/derivations/batch_norm.md, evaluated index by index, against the layers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from dlassign.nets.normalization import BatchNormFunction
from dlassign.nets.preact import preact_resnet
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.normalization import BatchNorm1d, BatchNorm2d

N, C, EPS = 5, 3, 1e-2


def of_feature(x: Array, c: int) -> tuple[float, float, float, Array]:
    """Return mu_c, v_c, r_c and h_nc by their definitions."""
    n_samples = len(x)
    mu = sum(x[n, c] for n in range(n_samples)) / n_samples
    v = sum((x[n, c] - mu) ** 2 for n in range(n_samples)) / n_samples
    r = 1 / np.sqrt(v + EPS)
    return mu, v, r, np.array([(x[n, c] - mu) * r for n in range(n_samples)])


def one_formula(x: Array, d: Array, g: Array) -> Array:
    n_samples, features = x.shape
    dx = np.empty_like(x)
    for c in range(features):
        _, _, r, h = of_feature(x, c)
        for m in range(n_samples):
            mean_d = sum(d[n, c] for n in range(n_samples)) / n_samples
            mean_dh = sum(d[n, c] * h[n] for n in range(n_samples)) / n_samples
            dx[m, c] = g[c] * r * (d[m, c] - mean_d - h[m] * mean_dh)
    return dx


@pytest.fixture
def case() -> SimpleNamespace:
    """A layer that is no identity, its input, the gradient of its output, and what the layer makes of them."""
    rng = np.random.default_rng(0)
    x, d, g, b = (rng.standard_normal(shape) for shape in ((N, C), (N, C), C, C))
    layer = BatchNorm1d(C, eps=EPS, dtype=np.float64)
    layer.params["weight"][...] = g
    layer.params["bias"][...] = b
    y = layer.forward(x, train=True).copy()
    dx = layer.backward(d).copy()
    return SimpleNamespace(x=x, d=d, g=g, b=b, y=y, dx=dx, dg=layer.grads["weight"], db=layer.grads["bias"])


def test_the_definition(case: SimpleNamespace) -> None:
    for c in range(C):
        h = of_feature(case.x, c)[3]
        assert_allclose(case.y[:, c], [case.g[c] * h[n] + case.b[c] for n in range(N)])


def test_gradient_of_gamma(case: SimpleNamespace) -> None:
    """dL/dg_c = sum_n d_nc h_nc."""
    for c in range(C):
        h = of_feature(case.x, c)[3]
        assert_allclose(case.dg[c], sum(case.d[n, c] * h[n] for n in range(N)))


def test_gradient_of_beta(case: SimpleNamespace) -> None:
    """dL/db_c = sum_n d_nc."""
    for c in range(C):
        assert_allclose(case.db[c], sum(case.d[n, c] for n in range(N)))


def test_gradient_of_the_input_node_by_node(case: SimpleNamespace) -> None:
    for c in range(C):
        mu, v, r, _ = of_feature(case.x, c)
        dh = [case.d[n, c] * case.g[c] for n in range(N)]
        dr = sum(dh[n] * (case.x[n, c] - mu) for n in range(N))
        dv = dr * (-1 / 2) * (v + EPS) ** (-3 / 2)
        dmu = -r * sum(dh) + dv * (-2 / N) * sum(case.x[n, c] - mu for n in range(N))
        assert_allclose(dv, -1 / 2 * r**3 * dr)
        assert_allclose(dmu, -r * sum(dh))
        for m in range(N):
            assert_allclose(case.dx[m, c], r * dh[m] + 2 / N * (case.x[m, c] - mu) * dv + dmu / N)


def test_the_jacobian_of_the_normalised_input(case: SimpleNamespace) -> None:
    for c in range(C):
        mu, _, r, h = of_feature(case.x, c)
        for m in range(N):
            dv = 2 / N * sum((case.x[n, c] - mu) * ((n == m) - 1 / N) for n in range(N))
            assert_allclose(dv, 2 / N * (case.x[m, c] - mu))
            dr = -1 / N * r**2 * h[m]
            assert_allclose(dr, -1 / 2 * r**3 * dv)
            dh = [r * ((n == m) - 1 / N) + (case.x[n, c] - mu) * dr for n in range(N)]
            assert_allclose(dh, [r * ((n == m) - 1 / N - 1 / N * h[n] * h[m]) for n in range(N)])
            assert_allclose(case.dx[m, c], sum(case.d[n, c] * case.g[c] * dh[n] for n in range(N)))


def test_gradient_of_the_input(case: SimpleNamespace) -> None:
    """dL/dx_mc = g_c r_c (d_mc - 1/N sum_n d_nc - h_mc 1/N sum_n d_nc h_nc), and its batch form."""
    assert_allclose(case.dx, one_formula(case.x, case.d, case.g))
    r = np.array([of_feature(case.x, c)[2] for c in range(C)])
    h = np.stack([of_feature(case.x, c)[3] for c in range(C)], axis=1)
    assert_allclose(case.dx, case.g * r * (case.d - case.db / N - h * case.dg / N))


def test_images_are_rows_of_pixels() -> None:
    rng = np.random.default_rng(1)
    x, d, g = rng.standard_normal((2, C, 3, 4)), rng.standard_normal((2, C, 3, 4)), rng.standard_normal(C)
    layer = BatchNorm2d(C, eps=EPS, dtype=np.float64)
    layer.params["weight"][...] = g
    layer.forward(x, train=True)

    def rows(a: Array) -> Array:
        return a.transpose(0, 2, 3, 1).reshape(-1, C)

    assert_allclose(rows(layer.backward(d)), one_formula(rows(x), rows(d), g))


def test_the_manual_function_returns_the_same_and_none_for_eps(case: SimpleNamespace) -> None:
    x, g, b = (torch.tensor(value, requires_grad=True) for value in (case.x, case.g, case.b))
    y = BatchNormFunction.apply(x, g, b, EPS)
    assert_allclose(y.detach(), case.y)
    y.backward(torch.tensor(case.d))
    for ours, numpys in ((x, case.dx), (g, case.dg), (b, case.db)):
        assert ours.grad is not None
        assert_allclose(ours.grad, numpys)
    context = SimpleNamespace(
        needs_input_grad=(True, False, False, False), saved_tensors=(x.detach(), g.detach()), eps=EPS
    )
    dx, *others = BatchNormFunction.backward(context, torch.tensor(case.d))
    assert_allclose(dx, case.dx)
    assert others == [None, None, None]


def test_the_gradients_of_a_feature_sum_to_zero(case: SimpleNamespace) -> None:
    assert_allclose(case.dx.sum(axis=0), 0, atol=1e-14)
    for c in range(C):
        _, v, r, h = of_feature(case.x, c)
        assert_allclose(sum(h[m] * case.dx[m, c] for m in range(N)), case.g[c] * r * EPS / (v + EPS) * case.dg[c])


def test_gradient_in_evaluation(case: SimpleNamespace) -> None:
    norm = torch.nn.BatchNorm1d(C, eps=EPS).double().eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(case.g))
        norm.running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    x = torch.tensor(case.x, requires_grad=True)
    norm(x).backward(torch.tensor(case.d))
    assert x.grad is not None
    assert_allclose(x.grad, case.g / np.sqrt(np.array([0.5, 1.0, 2.0]) + EPS) * case.d)


def test_biases_before_batch_norm_have_gradient_zero() -> None:
    torch.manual_seed(0)
    model = preact_resnet((3, 8, 8), (4, 6), n_outputs=3, blocks=(1, 1)).double()
    scores = model(torch.randn(6, 3, 8, 8, dtype=torch.float64))
    torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    sizes = {name: float(p.grad.abs().max()) for name, p in model.named_parameters() if p.grad is not None}
    before = [size for name, size in sizes.items() if "conv" in name and name.endswith("bias")]
    assert len(before) == 4
    assert max(before) < 1e-12
    assert sizes["conv0.weight"] > 1e-4


def test_a_minus_before_beta_turns_its_gradient(case: SimpleNamespace) -> None:
    """Of UvA 2018, eq. 18: with y = g h - b the gradient is that of -b."""
    with_minus = [sum(-case.d[n, c] for n in range(N)) for c in range(C)]
    assert_allclose(with_minus, -case.db)
    assert not np.allclose(with_minus, case.db, rtol=0.01)


def test_a_sum_over_features_is_wrong(case: SimpleNamespace) -> None:
    """Of UvA 2018, eq. 15: as written all features would get one gradient."""
    as_written = sum(case.d[s, j] for s in range(N) for j in range(C))
    assert not np.isclose(case.db, as_written, rtol=0.01).any()


def test_gamma_without_the_sample_index_is_wrong(case: SimpleNamespace) -> None:
    h = np.stack([of_feature(case.x, c)[3] for c in range(C)], axis=1)
    without = sum(case.d[s] for s in range(N)) * h
    assert without.shape == (N, C) != case.dg.shape
    assert not np.allclose(without.sum(axis=0), case.dg, rtol=0.01)


def test_the_unbiased_variance_is_wrong(case: SimpleNamespace) -> None:
    centred = case.x - case.x.mean(axis=0)
    unbiased, biased = centred / case.x.std(axis=0, ddof=1), centred / case.x.std(axis=0)
    assert_allclose(unbiased, biased * np.sqrt((N - 1) / N))
    assert not np.allclose(case.g * unbiased + case.b, case.y, rtol=0.02)


def test_sigma_by_mu_has_no_factor_2(case: SimpleNamespace) -> None:
    """It is seen where mu is not the mean; at the mean both forms are 0."""
    x = case.x[:, 0]

    def sigma(mu: float) -> float:
        return float(np.sqrt(np.mean((x - mu) ** 2) + EPS))

    mu, step = 0.7, 1e-6
    slope = (sigma(mu + step) - sigma(mu - step)) / (2 * step)
    assert_allclose(slope, -1 / N * sum(x - mu) / sigma(mu), rtol=1e-6)
    assert_allclose(-2 / N * sum(x - mu) / sigma(mu), 2 * slope, rtol=1e-6)
    assert_allclose(-2 / N * sum(x - x.mean()), 0, atol=1e-14)


def test_one_letter_for_two_indices_is_wrong(case: SimpleNamespace) -> None:
    _, _, r, h = of_feature(case.x, 0)
    d, g = case.d[:, 0], case.g[0]
    two = [g * r / N * (N * d[i] - sum(d) - h[i] * sum(d[j] * h[j] for j in range(N))) for i in range(N)]
    one = [g * r / N * (N * d[i] - sum(d) - sum(h[j] * d[j] * h[j] for j in range(N))) for i in range(N)]
    assert_allclose(two, case.dx[:, 0])
    assert not np.allclose(one, case.dx[:, 0], rtol=0.01)
