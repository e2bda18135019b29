"""Gradients that lie otherwise in memory than their parameters, which torch's fused CPU kernels mix up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from dlassign.config.optim import SGD, Adam, AdamW, RMSprop
from dlassign.optim.torch_optim import make_optimizer

LAYOUTS = [torch.contiguous_format, torch.channels_last]
CONFIGS: list[Any] = [
    SGD(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    Adam(name="adam", lr=0.01),
    AdamW(name="adamw", lr=0.01),
    RMSprop(name="rmsprop", lr=0.01, momentum=0.5),
]


class Filters(nn.Module):
    """Filters with and without dimensions of size 1, all drawn alike in every layout."""

    def __init__(self, layout: torch.memory_format) -> None:
        super().__init__()
        torch.manual_seed(0)
        shapes = [(8, 4, 3, 3), (8, 1, 3, 3), (8, 4, 1, 1), (6,)]
        drawn = [torch.randn(shape) for shape in shapes]
        ordered = [w.contiguous(memory_format=layout) if w.ndim == 4 else w for w in drawn]
        self.weights = nn.ParameterList([nn.Parameter(w) for w in ordered])


def run(cfg: Any, layout: torch.memory_format, grad_layout: torch.memory_format) -> list[Tensor]:
    model = Filters(layout)
    optimizer = make_optimizer(cfg, model)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for p in model.weights:
            grad = torch.randn(p.shape, generator=generator)
            p.grad = grad.contiguous(memory_format=grad_layout) if p.ndim == 4 else grad
        optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda c: c.name)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["nchw", "nhwc"])
@pytest.mark.parametrize("grad_layout", LAYOUTS, ids=["grad-nchw", "grad-nhwc"])
def test_the_layout_does_not_change_the_step(
    cfg: Any, layout: torch.memory_format, grad_layout: torch.memory_format
) -> None:
    expected = run(cfg, torch.contiguous_format, torch.contiguous_format)
    for ours, theirs in zip(run(cfg, layout, grad_layout), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cfg", CONFIGS[:3], ids=lambda c: c.name)
def test_channels_last_tensors_are_not_copied(cfg: Any) -> None:
    model = nn.Conv2d(16, 16, 3).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(cfg, model)
    model(torch.randn(2, 16, 5, 5)).square().sum().backward()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
    names = {event.name for event in seen.events()}
    assert any("_fused" in name for name in names)
    assert not names & {"aten::clone", "aten::contiguous"}


def test_a_layout_changed_later_is_an_error() -> None:
    model = nn.Conv2d(4, 4, 3)
    optimizer = make_optimizer(Adam(name="adam"), model)
    model.to(memory_format=torch.channels_last)
    model(torch.randn(1, 4, 5, 5)).sum().backward()
    with pytest.raises(RuntimeError, match="changed its memory layout"):
        optimizer.step()
