"""The formulas of docs/derivations/residual.md, evaluated index by index, against the layers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from dlassign.nets.preact import PreactBlock
from dlassign.numpy_nets.activations import ReLU
from dlassign.numpy_nets.conv import Conv2d
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.linear import Linear
from dlassign.numpy_nets.network import Network, Residual
from dlassign.numpy_nets.normalization import BatchNorm2d

N, C, H, W = 3, 2, 3, 4
EPS = 1e-5
RNG = np.random.default_rng(0)
X, D = RNG.standard_normal((2, N, C, H, W))


def body() -> Network:
    """The pre-activation body, with a batch norm that is no identity; the same one at every call."""
    rng = np.random.default_rng(1)
    norm = BatchNorm2d(C, eps=EPS, dtype=np.float64)
    norm.params["weight"][...] = rng.standard_normal(C)
    norm.params["bias"][...] = rng.standard_normal(C)
    conv = Conv2d(C, C, 3, padding=1, dtype=np.float64, rng=rng)
    return Network({"norm": norm, "relu": ReLU(), "conv": conv})


def block_in_torch() -> PreactBlock:
    block, ours = PreactBlock(C).double(), body()
    with torch.no_grad():
        for name, p in block.named_parameters():
            p.copy_(torch.tensor(ours.params[name]))
    return block


def backward(layer: Network | Residual) -> Array:
    layer.forward(X, train=True)
    return layer.backward(D)


def test_gradient_of_the_input() -> None:
    """dL/dx_j = d_j + sum_i d_i df_i/dx_j, with df_i/dx_j by central differences."""
    step, f, dx = 1e-6, body(), np.empty(X.size)
    for j in range(X.size):
        moved = np.zeros(X.size)
        moved[j] = step
        up, down = (f.forward(X + sign * moved.reshape(X.shape), train=True) for sign in (1, -1))
        df = (up - down).reshape(-1) / (2 * step)
        dx[j] = D.flat[j] + sum(D.flat[i] * df[i] for i in range(X.size))
    assert_allclose(backward(Residual(body())).reshape(-1), dx, rtol=1e-6, atol=1e-7)


def test_gradient_of_a_pre_activation_block() -> None:
    """dL/dx_ncpq = d_ncpq + g_c r_c (e_ncpq - 1/M sum e_c - h_ncpq 1/M sum (e h)_c)."""
    params, M = body().params, N * H * W
    g, b, weight = params["norm.weight"], params["norm.bias"], params["conv.weight"]
    dx = np.empty_like(X)
    for c in range(C):
        mu = sum(X[n, c, p, q] for n, p, q in np.ndindex(N, H, W)) / M
        v = sum((X[n, c, p, q] - mu) ** 2 for n, p, q in np.ndindex(N, H, W)) / M
        r = 1 / np.sqrt(v + EPS)
        h = (X[:, c] - mu) * r
        e = np.zeros((N, H, W))
        for n, p, q in np.ndindex(N, H, W):
            # Pixel (p, q) lies at (p + 1, q + 1) of the padded image.
            dz = sum(
                D[n, f, i, j] * weight[f, c, u, v]
                for f, i, j, u, v in np.ndindex(C, H, W, 3, 3)
                if (i + u, j + v) == (p + 1, q + 1)
            )
            e[n, p, q] = dz * (g[c] * h[n, p, q] + b[c] > 0)
        sum_e = sum(e[place] for place in np.ndindex(N, H, W))
        sum_eh = sum(e[place] * h[place] for place in np.ndindex(N, H, W))
        for n, p, q in np.ndindex(N, H, W):
            dx[n, c, p, q] = D[n, c, p, q] + g[c] * r * (e[n, p, q] - 1 / M * sum_e - h[n, p, q] / M * sum_eh)
    assert_allclose(backward(Residual(body())), dx, rtol=1e-10)


def test_the_block_in_pytorch_is_the_same() -> None:
    x = torch.tensor(X, requires_grad=True)
    y = block_in_torch()(x)
    assert_allclose(y.detach(), Residual(body()).forward(X, train=True))
    y.backward(torch.tensor(D))
    assert x.grad is not None
    assert_allclose(x.grad, backward(Residual(body())), rtol=1e-10)


def test_without_the_shortcut_the_gradient_is_wrong() -> None:
    assert_allclose(backward(body()) + D, backward(Residual(body())))
    assert not np.allclose(backward(body()), backward(Residual(body())), rtol=0.01)


@pytest.mark.parametrize("channels", [64, 128, 256, 512])
def test_parameters_of_a_block(channels: int) -> None:
    count = sum(p.numel() for p in PreactBlock(channels).parameters())
    assert count == 9 * channels**2 + 3 * channels


def stack(scale: float, blocks: int, *, residual: bool) -> tuple[Network, list[Array]]:
    """Return linear bodies one after another, each with or without a shortcut, and their matrices J_l."""
    bodies = [Linear(3, 3, bias=False, dtype=np.float64, rng=np.random.default_rng(number)) for number in range(blocks)]
    for linear in bodies:
        linear.params["weight"] *= scale
    layers = {str(k): Residual(linear) if residual else linear for k, linear in enumerate(bodies)}
    return Network(layers), [linear.params["weight"] for linear in bodies]


def through(network: Network, d: Array) -> Array:
    network.forward(np.ones((1, 3)), train=True)
    return network.backward(d)


def test_gradient_through_many_blocks() -> None:
    """dL/dx_0 = sum over all subsets S of the blocks of d_B times J_l for l in S, last block first."""
    blocks = 4
    network, J = stack(1.0, blocks, residual=True)
    d = np.array([[1.0, -2.0, 0.5]])
    total = np.zeros((1, 3))
    for size in range(blocks + 1):
        for subset in combinations(range(blocks), size):
            term = d
            for k in reversed(subset):
                term = np.array([[sum(term[0, i] * J[k][i, j] for i in range(3)) for j in range(3)]])
            total += term
    assert_allclose(through(network, d), total)
    product = d
    for matrix in reversed(J):
        product = product @ (np.eye(3) + matrix)
    assert_allclose(product, total)


def test_small_bodies_stop_a_plain_gradient_and_not_a_residual_one() -> None:
    d = np.array([[1.0, -2.0, 0.5]])
    plain, _ = stack(1e-2, 10, residual=False)
    residual, _ = stack(1e-2, 10, residual=True)
    assert np.abs(through(plain, d)).max() < 1e-18
    assert_allclose(through(residual, d), d, rtol=0.2)


def test_a_relu_after_the_sum_masks_the_shortcut() -> None:
    """With a body that is 0, so that the shortcut's term is all there is."""
    x, d = np.array([[1.0, -1.0, 2.0]]), np.array([[0.3, 0.4, 0.5]])

    def through_blocks(*, relu_after: bool) -> Array:
        layers: dict[str, Residual | ReLU] = {}
        for k in range(3):
            body = Linear(3, 3, bias=False, dtype=np.float64)
            body.params["weight"][...] = 0
            layers[f"sum{k}"] = Residual(body if relu_after else Network({"relu": ReLU(), "linear": body}))
            if relu_after:
                layers[f"relu{k}"] = ReLU()
        network = Network(layers)
        network.forward(x, train=True)
        return network.backward(d)

    assert_allclose(through_blocks(relu_after=False), d)
    assert_allclose(through_blocks(relu_after=True), d * (x > 0))
