"""The EECS 598 ConvNet: its modules, its parameter counts, its forward pass written out, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.nets.eecs import eecs_convnet
from dlassign.nets.normalization import NORMS_2D

MNIST = (1, 28, 28)
PLAIN = ["conv1", "relu1", "pool1", "flatten", "linear1", "relu2", "head"]
FULL = ["conv1", "norm1", "relu1", "pool1", "dropout1", "flatten", "linear1", "relu2", "head"]


def names(model: nn.Sequential) -> list[str]:
    return [name for name, _ in model.named_children()]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_plain_network_of_question_5_3() -> None:
    model = eecs_convnet(MNIST, n_outputs=10)
    assert names(model) == PLAIN
    assert model.conv1.bias is None
    assert count(model) == 389_878 == 32 * 49 + (32 * 11 * 11 + 1) * 100 + 101 * 10
    assert model(torch.zeros(2, *MNIST)).shape == (2, 10)


@pytest.mark.parametrize("norm", sorted(NORMS_2D))
def test_the_full_network_of_question_5_4(norm: str) -> None:
    model = eecs_convnet(MNIST, n_outputs=10, norm=norm, dropout=0.2)
    assert names(model) == FULL
    assert count(model) == 389_878 + 64
    assert type(model.norm1) is type(NORMS_2D[norm](1))
    scores = model(torch.randn(3, *MNIST))
    assert scores.shape == (3, 10)
    scores.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_dropout_of_both_kinds() -> None:
    for inverted, kind in ((True, nn.Dropout), (False, DropoutScaledInEval)):
        model = eecs_convnet(MNIST, n_outputs=10, dropout=0.2, dropout_inverted=inverted)
        assert names(model) == [name for name in FULL if name != "norm1"]
        assert type(model.dropout1) is kind
        assert model.dropout1.p == 0.2


@pytest.mark.parametrize(
    ("in_shape", "kernel_size", "pool", "pooled"),
    [((3, 9, 7), 3, 2, 3 * 2), ((2, 5, 6), 5, 1, 2), ((1, 4, 4), 1, 4, 1), ((1, 8, 8), 2, 3, 2 * 2)],
)
def test_forward_equals_the_definition(
    in_shape: tuple[int, int, int], kernel_size: int, pool: int, pooled: int
) -> None:
    """Every window in a loop; the pool cuts off rows and columns that are left over."""
    torch.manual_seed(0)
    model = eecs_convnet(in_shape, n_outputs=3, filters=4, kernel_size=kernel_size, pool=pool, hidden=5).double()
    assert model.linear1.in_features == 4 * pooled
    x = torch.randn(2, *in_shape, dtype=torch.float64)

    def windows(t: Tensor, size: int, stride: int) -> list[list[Tensor]]:
        tops, lefts = (range(0, length - size + 1, stride) for length in t.shape[2:])
        return [[t[:, :, i : i + size, j : j + size] for j in lefts] for i in tops]

    rows = [
        [torch.tensordot(part, model.conv1.weight, ([1, 2, 3], [1, 2, 3])) for part in row]
        for row in windows(x, kernel_size, 1)
    ]
    z = torch.stack([torch.stack(row, -1) for row in rows], -2).clamp(min=0)
    z = torch.stack([torch.stack([p.amax((2, 3)) for p in row], -1) for row in windows(z, pool, pool)], -2)
    hidden = (z.reshape(2, -1) @ model.linear1.weight.T + model.linear1.bias).clamp(min=0)
    torch.testing.assert_close(model(x), hidden @ model.head.weight.T + model.head.bias, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("in_shape", "options", "message"),
    [
        ((1, 28, 6), {}, r"kernel_size 7 is larger than the image, 28x6"),
        ((1, 5, 28), {"kernel_size": 6}, r"kernel_size 6 is larger than the image, 5x28"),
        ((1, 7, 28), {}, r"pool 2 is larger than what the convolution gives, 1x22"),
        ((1, 28, 28), {"pool": 23}, r"pool 23 is larger than what the convolution gives, 22x22"),
        ((20,), {}, r"in_shape is \(20,\); a convolution needs images, \(C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(in_shape: tuple[int, ...], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eecs_convnet(in_shape, n_outputs=10, **options)


def test_what_just_fits_is_built() -> None:
    assert eecs_convnet((1, 28, 28), n_outputs=10, pool=22).linear1.in_features == 32
    assert eecs_convnet((1, 8, 8), n_outputs=10).linear1.in_features == 32


def test_takes_no_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = eecs_convnet(MNIST, n_outputs=10, hidden=10**9, norm="batch_manual")
    assert count(model) == 32 * 49 + 64 + (3872 + 1) * 10**9 + (10**9 + 1) * 10
