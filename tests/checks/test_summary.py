"""The summary of a model, against torch's own FLOP counter and against shapes and sizes worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

from dlassign.checks.memory import KeptForBackward
from dlassign.checks.summary import ModuleCost, Summary, columns, costs, summarise
from dlassign.nets.eecs import eecs_convnet
from dlassign.nets.mlp import mlp
from dlassign.stats.text import columns_text


class Odd(nn.Module):
    """A parameter of its own, functional layers, a product, a module run twice, one not run, and two that share."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.linear = nn.Linear(5, 5)
        self.unused = nn.Linear(7, 7)
        self.shared = nn.Linear(5, 5)
        self.shared.weight = self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(self.linear(x)) * self.scale
        return nn.functional.linear(input=self.shared(y), weight=self.linear.weight) @ self.linear.weight


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 0), groups=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 6, 2, padding="same", padding_mode="circular"),
        nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2),
        nn.Flatten(2),
        nn.Conv1d(4, 3, 5),
        nn.Flatten(),
        nn.LazyLinear(10),
    )


def counted_by_torch(model: nn.Module, x: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(x)
    return counter.get_total_flops()


def by_name(summary: Summary) -> dict[str, ModuleCost]:
    return {layer.name: layer for layer in summary.layers}


def test_flops_of_every_kind_of_convolution_are_those_that_torch_counts() -> None:
    model, x = convolutions(), torch.zeros(1, 4, 19, 17)
    expected = counted_by_torch(model, x)  # also gives the lazy layer its size
    assert expected > 0
    assert summarise(model, x.shape[1:]).flops == expected


@pytest.mark.parametrize("size", [32, 75])
def test_flops_of_a_residual_network_are_those_that_torch_counts(size: int) -> None:
    model = resnet18(num_classes=10)
    summary = summarise(model, (3, size, size))
    assert summary.flops == counted_by_torch(model, torch.zeros(1, 3, size, size))
    assert (summary.trainable, summary.frozen) == (11_181_642, 0)
    layers = by_name(summary)
    assert layers["layer2.0.downsample.0"].trainable == 64 * 128
    assert layers["fc"].out_shape == (10,)
    assert "layer1" not in layers
    assert max(map(len, columns_text(columns(summary)).splitlines())) <= 100


def test_flops_by_hand() -> None:
    layers = by_name(summarise(eecs_convnet((1, 28, 28), n_outputs=10), (1, 28, 28)))
    assert layers["conv1"].flops == 2 * 7 * 7 * 22 * 22 * 32
    assert layers["linear1"].flops == 2 * 3872 * 100
    assert layers["pool1"].out_shape == (32, 11, 11)
    assert layers["relu2"] == ModuleCost(name="relu2", kind="ReLU", out_shape=(100,), trainable=0, frozen=0, flops=0)
    assert list(layers) == ["conv1", "relu1", "pool1", "flatten", "linear1", "relu2", "head"]


def test_functional_layers_shared_and_unused_parameters() -> None:
    summary = summarise(Odd(), (5,))
    layers = by_name(summary)
    assert list(layers) == ["(model)", "linear", "shared", "unused"]
    assert layers["(model)"] == ModuleCost(
        name="(model)", kind="Odd", out_shape=(5,), trainable=5, frozen=0, flops=2 * (2 * 5 * 5)
    )
    assert layers["linear"].flops == 2 * (2 * 5 * 5)
    assert (layers["linear"].trainable, layers["shared"].trainable) == (30, 5)
    assert (layers["unused"].trainable, layers["unused"].out_shape, layers["unused"].flops) == (56, None, 0)
    assert summary.trainable == sum(p.numel() for p in Odd().parameters())


def test_frozen_parameters_have_a_column_and_keep_nothing() -> None:
    model = mlp(6, [8], n_outputs=3, activation=["relu"], dropout=[0.0])
    assert "frozen" not in columns(summarise(model, (6,)))
    kept = summarise(model, (6,)).saved.values
    assert kept == 6 + 8  # inputs of both layers; that of the second is what ReLU keeps too
    for p in model.linear1.parameters():
        p.requires_grad = False
    summary = summarise(model, (6,))
    assert (summary.trainable, summary.frozen) == (27, 56)
    assert summary.saved.values == 8
    assert list(columns(summary)) == ["layer", "type", "output", "parameters", "frozen", "forward FLOPs"]
    assert [cells[-1] for cells in columns(summary).values()] == ["total", "", "", "83", "56", "144"]


@pytest.mark.parametrize("norm", ["batch", "batch_from_zero", "batch_without_running", "batch_manual"])
def test_the_model_and_the_random_state_are_left_as_they_were(norm: str) -> None:
    model = eecs_convnet((1, 12, 12), n_outputs=3, filters=4, norm=norm, dropout=0.5)
    model.norm1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    summarise(model, (1, 12, 12))
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_hooks_are_removed_when_the_forward_pass_fails() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6)).train()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        summarise(model, (3,))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_the_table_is_aligned_and_fits() -> None:
    name = "stage4." + "block11." * 9 + "convolution"
    layers = (
        ModuleCost(name=name, kind="AVeryLongName", out_shape=(2048, 112, 112), trainable=1, frozen=0, flops=0),
        ModuleCost(name="b", kind="ReLU", out_shape=None, trainable=0, frozen=123_456_789_012, flops=987_654_321_098),
    )
    summary = Summary(layers=layers, saved=KeptForBackward(values=3, other_bytes=1))
    lines = columns_text(columns(summary)).splitlines()
    assert max(map(len, lines)) <= 120
    first = lines[1].split()
    assert first[0].startswith("...")
    assert name.endswith(first[0][3:])
    assert first[1:3] == ["AVeryLongName", "2048x112x112"]
    assert lines[2].split() == ["b", "ReLU", "-", "123,456,789,012", "123,456,789,012", "987,654,321,098"]
    assert lines[-1].split() == ["total", "123,456,789,013", "123,456,789,012", "987,654,321,098"]


def test_costs() -> None:
    layer = ModuleCost(name="a", kind="Linear", out_shape=(1,), trainable=1, frozen=0, flops=1000)
    summary = Summary(layers=(layer,), saved=KeptForBackward(values=1000, other_bytes=24))
    assert costs(summary, batch_size=2048, precision="bf16", accumulate=2) == [
        "forward FLOPs per sample  1,000 (convolutions, linear layers and matrix products)",
        "training step FLOPs ~3x   3,000 per sample, 6,144,000 for 2,048 samples",
        "kept for backward         2.0 KiB per sample, 2.0 MiB for 1,024 samples in bf16",
    ]
    assert costs(summary, batch_size=1, precision="fp64")[2].endswith("7.8 KiB for 1 sample in fp64")
