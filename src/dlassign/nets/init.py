"""Initial weights. Each function changes a model in place, drawing from torch's global generator in module order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dlassign.config.model import HeInit, Init, NormalInit, PytorchInit, XavierInit


def initialise(model: nn.Module, init: Init) -> None:
    """Set the weights and biases of linear and convolution layers; normalisation layers keep weight 1, bias 0.

    Source: He et al. 2015 (he), Glorot and Bengio 2010 (xavier); normal as in all five reports.
    """
    match init:
        case PytorchInit():
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
