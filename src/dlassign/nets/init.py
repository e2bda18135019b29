"""Initial weights. Each function changes a model in place, drawing from torch's global generator in module order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from dlassign.config.model import HeInit, Init, LegacyNormalInit, NormalInit, PytorchInit, XavierInit
from dlassign.config.transfer import PretrainedInit


def initialise(model: nn.Module, init: Init, *, seed: int = 0) -> None:
    """Set the weights and biases of linear and convolution layers; normalisation layers keep weight 1, bias 0.

    seed: of the run; for legacy_normal, which does not draw from torch's generator.

    Source: He et al. 2015 (he), Glorot and Bengio 2010 (xavier); normal as in all five reports; legacy_normal as in the
    starter code of UvA, HLCV and EECS 598.
    """
    match init:
        case PytorchInit() | PretrainedInit():
            return  # nn.Linear and nn.Conv2d did it when they were made
        case NormalInit(std=std):
            _fill(model, lambda w: nn.init.normal_(w, std=std))
        case HeInit(distribution="normal"):
            _fill(model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))
        case HeInit():
            _fill(model, lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"))
        case XavierInit(distribution="normal"):
            _fill(model, nn.init.xavier_normal_)
        case XavierInit():
            _fill(model, nn.init.xavier_uniform_)
        case LegacyNormalInit():
            _fill(model, _legacy_normal(init, seed))


def _legacy_normal(init: LegacyNormalInit, seed: int) -> Callable[[Tensor], Tensor]:
    rng = np.random.RandomState(seed % 2**32 if init.seed is None else init.seed)

    def draw(w: Tensor) -> Tensor:
        if init.layout == "in_out" and w.dim() == 2:
            return w.copy_(torch.from_numpy(init.std * rng.randn(*w.T.shape)).T)
        return w.copy_(torch.from_numpy(init.std * rng.randn(*w.shape)))

    return draw


def weighted_layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    """Yield linear and convolution layers from input to output."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield module


def _fill(model: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        for layer in weighted_layers(model):
            draw(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
