"""The VGG, pre-activation and whitened networks: parameters, order of layers, shapes, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dlassign.config.convnets import VGG, EECSCifarBase, EECSCifarImproved, PreactResNet, WhitenedCNN
from dlassign.config.model import Model
from dlassign.config.transfer import ResNet
from dlassign.errors import ConfigError
from dlassign.nets.build import build_model, check_model, n_parameters
from dlassign.nets.preact import PreactBlock, preact_resnet
from dlassign.nets.vgg import vgg
from dlassign.nets.whitened import EIGENVALUE_EPS, whiten_patches, whitened_cnn

CIFAR = (3, 32, 32)
REPORTED: list[tuple[Model, int]] = [
    (VGG(name="vgg"), 9_231_114),
    (PreactResNet(name="preact_resnet"), 11_138_122),
    (EECSCifarBase(name="eecs_cifar_base"), 149_370),
    (EECSCifarImproved(name="eecs_cifar_improved"), 2_374_602),
    (ResNet(name="resnet34"), 21_289_802),
]


def names(model: nn.Module) -> str:
    return " ".join(name for name, _ in model.named_children())


@pytest.mark.parametrize(("cfg", "expected"), REPORTED, ids=lambda value: getattr(value, "name", str(value)))
def test_parameter_counts_of_the_reports(cfg: Model, expected: int) -> None:
    assert check_model(cfg, CIFAR, 10) == expected
    assert n_parameters(build_model(cfg, CIFAR, 10)) == expected


def test_vgg_of_uva_2018_layer_by_layer() -> None:
    """The table of experiments: a block is convolution, batch norm and ReLU; parameters of each, and output shapes."""
    model = vgg(CIFAR, ((64,), (128,), (256, 256), (512, 512), (512, 512)), n_outputs=10)
    blocks = [1_920, 74_112, 295_680, 590_592, 1_181_184, 2_360_832, 2_360_832, 2_360_832]
    for number, expected in enumerate(blocks, 1):
        own = [getattr(model, f"{kind}{number}") for kind in ("conv", "norm")]
        assert sum(n_parameters(layer) for layer in own) == expected
    assert n_parameters(model.head) == 5_130  # type: ignore[arg-type]
    shapes, x = [], torch.zeros(2, *CIFAR)
    for name, layer in model.named_children():
        x = layer(x)
        if name.startswith("pool"):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]
    assert x.shape == (2, 10)
    pool = model.pool1
    assert isinstance(pool, nn.MaxPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 2, 1)


def test_vgg_options() -> None:
    model = vgg(
        (1, 12, 12),
        [[4, 6], [8]],
        n_outputs=3,
        norm="none",
        activation="elu",
        bias=False,
        pool="avg",
        pool_size=2,
        pool_padding=0,
        global_pool="avg",
        hidden=[7],
        dropout=0.25,
    )
    assert names(model) == (
        "conv1 elu1 conv2 elu2 pool1 conv3 elu3 pool2 global_pool flatten dropout1 linear1 elu4 dropout2 head"
    )
    assert isinstance(model.pool1, nn.AvgPool2d)
    assert model.conv1.bias is None
    assert model(torch.zeros(5, 1, 12, 12)).shape == (5, 3)


def test_preact_block_adds_to_its_input() -> None:
    torch.manual_seed(0)
    block, x = PreactBlock(5).double().eval(), torch.randn(2, 5, 4, 4, dtype=torch.float64)
    expected = x + nn.functional.conv2d(
        torch.clamp(x / np.sqrt(1 + 1e-5), min=0), block.conv.weight, block.conv.bias, padding=1
    )
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_preact_of_uva_2020_layer_by_layer() -> None:
    model = preact_resnet(CIFAR, n_outputs=10)
    counts = {name: n_parameters(layer) for name, layer in model.named_children() if n_parameters(layer)}
    assert counts == {
        "conv0": 1_792,
        "block1_1": 37_056,
        "conv1": 8_320,
        "block2_1": 147_840,
        "block2_2": 147_840,
        "conv2": 33_024,
        "block3_1": 590_592,
        "block3_2": 590_592,
        "conv3": 131_584,
        "block4_1": 2_360_832,
        "block4_2": 2_360_832,
        "block5_1": 2_360_832,
        "block5_2": 2_360_832,
        "norm": 1_024,
        "head": 5_130,
    }
    assert model(torch.zeros(2, *CIFAR)).shape == (2, 10)


def test_whitened_cnn_layers_and_what_is_trained() -> None:
    model = whitened_cnn((3, 16, 16), (8, 12), n_outputs=4, depths=(2, 1), patch=4, stride=2, filters=10)
    assert names(model) == (
        "whiten silu0 conv1 pool1 norm1 silu1 conv2 norm2 silu2 conv3 pool2 norm3 silu3 global_pool flatten head"
    )
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {"whiten.weight", "norm1.weight", "norm2.weight", "norm3.weight"}
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    eye = model.conv2.weight[:, :, 1, 1]
    torch.testing.assert_close(eye, torch.eye(8))
    assert model.conv2.weight.abs().sum() == 8


def test_whitened_patches_are_uncorrelated() -> None:
    """By a loop over patches, and their second moments computed anew."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((60, 2, 9, 9)), 2), 3)
    layer = nn.Conv2d(2, 12, 3, stride=2, padding=1)
    whiten_patches(layer, torch.from_numpy(smooth).float())
    patches = np.stack([x[:, i : i + 3, j : j + 3].ravel() for x in smooth for i in (0, 2, 4, 6) for j in (0, 2, 4, 6)])
    out = patches @ layer.weight.detach().double().numpy().reshape(12, -1).T
    moments = out[:, :6].T @ out[:, :6] / len(out)
    values = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1][:6]
    np.testing.assert_allclose(moments, np.diag(values / (values + EIGENVALUE_EPS)), atol=1e-3)
    np.testing.assert_array_equal(out[:, :6], -out[:, 6:])
    assert layer.bias is not None
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("cfg", "shape", "path", "part"),
    [
        (VGG(name="vgg", pool_size=2, pool_padding=0), (3, 16, 16), "model.stages", "16x16 are too small for 5 pools"),
        (VGG(name="vgg"), (20,), "model.name", "needs images"),
        (PreactResNet(name="preact_resnet"), (20,), "model.name", "needs images"),
        (WhitenedCNN(name="whitened_cnn"), (3, 8, 8), "model.widths", "8x8 are too small"),
        (WhitenedCNN(name="whitened_cnn", filters=26), (3, 32, 32), "model.filters", "an even number up to 24"),
        (WhitenedCNN(name="whitened_cnn"), (20,), "model.name", "needs images"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_key(cfg: Model, shape: tuple[int, ...], path: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_model(cfg, shape, 10)
    [problem] = caught.value.problems
    assert problem.path == path
    assert part in problem.message


def test_one_pixel_images_keep_one_pixel() -> None:
    """A 3x3 pool with padding 1 leaves one pixel of one pixel: the UvA network takes any image."""
    assert vgg((3, 1, 1), [[4], [4]], n_outputs=2).eval()(torch.zeros(1, 3, 1, 1)).shape == (1, 2)
