"""The two CIFAR networks of EECS 598: parameters layer by layer, order of modules, what does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from dlassign.nets.eecs_cifar import eecs_cifar_base, eecs_cifar_improved

CIFAR = (3, 32, 32)
BASE = "conv1 pool1 conv2 pool2 conv3 conv4 pool3 conv5 conv6 pool4 conv7 conv8 pool5 flatten linear1 head"
IMPROVED = (
    "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 pool3 conv5 conv6 relu6 pool4 conv7 conv8 relu8 "
    "pool5 flatten linear1 relu9 head"
)


def names(model: nn.Sequential) -> str:
    return " ".join(name for name, _ in model.named_children())


def counts(model: nn.Sequential) -> list[int]:
    sizes = [sum(p.numel() for p in module.parameters()) for module in model.children()]
    return [size for size in sizes if size]


def test_the_base_network() -> None:
    model = eecs_cifar_base(CIFAR, n_outputs=10)
    assert names(model) == BASE
    assert counts(model) == [224, 1168, 4640, 9248, 18_496, 36_928, 36_928, 36_928, 4160, 650]
    assert sum(counts(model)) == 149_370
    assert not [module for module in model.modules() if isinstance(module, nn.ReLU)]


def test_the_base_network_with_the_relu_that_the_report_may_have_had() -> None:
    model = eecs_cifar_base(CIFAR, n_outputs=10, fc_relu=True)
    assert names(model) == BASE.replace("linear1", "linear1 relu9")
    assert sum(counts(model)) == 149_370


def test_the_improved_network() -> None:
    model = eecs_cifar_improved(CIFAR, n_outputs=10)
    assert names(model) == IMPROVED
    assert counts(model) == [896, 18_496, 73_856, 147_584, 295_168, 590_080, 590_080, 590_080, 65_792, 2570]
    assert sum(counts(model)) == 2_374_602


@pytest.mark.parametrize("build", [eecs_cifar_base, eecs_cifar_improved])
def test_shapes_and_kinds_of_layers(build: Callable[..., nn.Sequential]) -> None:
    model, x, sizes = build(CIFAR, n_outputs=7), torch.randn(2, *CIFAR), []
    for name, module in model.named_children():
        x = module(x)
        if isinstance(module, nn.Conv2d):
            assert (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
            assert module.bias is not None
        if name.startswith("pool"):
            assert (module.kernel_size, module.stride, module.padding) == (2, 2, 0)
            sizes.append(tuple(x.shape[2:]))
    assert sizes == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    assert x.shape == (2, 7)
    x.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_improved_network_written_out() -> None:
    torch.manual_seed(0)
    model = eecs_cifar_improved(CIFAR, n_outputs=10).double()
    w = dict(model.named_parameters())
    x = torch.randn(2, *CIFAR, dtype=torch.float64)

    def conv(number: int, z: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(z, w[f"conv{number}.weight"], w[f"conv{number}.bias"], padding=1)

    z = functional.max_pool2d(conv(1, x).relu(), 2)
    z = functional.max_pool2d(conv(2, z).relu(), 2)
    z = functional.max_pool2d(conv(4, conv(3, z).relu()).relu(), 2)
    z = functional.max_pool2d(conv(6, conv(5, z)).relu(), 2)
    z = functional.max_pool2d(conv(8, conv(7, z)).relu(), 2)
    z = (z[:, :, 0, 0] @ w["linear1.weight"].T + w["linear1.bias"]).clamp(min=0)
    torch.testing.assert_close(model(x), z @ w["head.weight"].T + w["head.bias"])


@pytest.mark.parametrize("build", [eecs_cifar_base, eecs_cifar_improved])
@pytest.mark.parametrize(
    ("in_shape", "message"),
    [
        ((1, 28, 28), r"^in_shape: images of 28x28 are too small: 5 pools, .* at least 32x32$"),
        ((3, 64, 31), r"^in_shape: images of 64x31 are too small"),
        ((64,), r"^in_shape is \(64,\); a convolution needs images"),
    ],
)
def test_what_does_not_fit_is_refused(
    build: Callable[..., nn.Sequential], in_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(in_shape, n_outputs=10)


def test_larger_images_and_other_channels_fit() -> None:
    model = eecs_cifar_base((1, 64, 95), n_outputs=2)
    assert model.linear1.in_features == 64 * 2 * 2
    assert model(torch.zeros(1, 1, 64, 95)).shape == (1, 2)
