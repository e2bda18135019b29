"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlassign.nets.dropout import dropout as dropout_module
from dlassign.nets.normalization import NORMS_1D

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def mlp(
    in_features: int,
    hidden: Sequence[int],
    *,
    n_outputs: int,
    activation: Sequence[str | nn.Module],
    dropout: Sequence[float],
    norm: str | Sequence[nn.Module] = "none",
    norm_at: str = "before_activation",
    bias: bool = True,
    dropout_inverted: bool = True,
) -> nn.Sequential:
    """Build linear layers with activation, normalisation and dropout between them.

    Input (N, in_features) or (N, C, H, W) with C*H*W = in_features; output (N, n_outputs) scores, no softmax.
    Hidden layer i is Linear, [norm,] activation, [norm,] [dropout]; modules are named linear1, norm1, ... and head.

    Args:
        in_features: values a sample.
        hidden: width of each hidden layer; empty for a linear model.
        n_outputs: number of scores.
        activation: for each hidden layer a key of ACTIVATIONS, or a module, named activation1, activation2, ...
        dropout: probability to drop, for each hidden layer; 0 adds no module.
        norm: none, or a key of NORMS_1D, or a module for each hidden layer.
        norm_at: before_activation or after_activation.
        bias: whether linear layers have one.
        dropout_inverted: rescale in training; else in evaluation.
    """
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    width = in_features
    for number, (size, act, drop) in enumerate(zip(hidden, activation, dropout, strict=True), 1):
        model.add_module(f"linear{number}", nn.Linear(width, size, bias=bias))
        if norm != "none" and norm_at == "before_activation":
            model.add_module(f"norm{number}", NORMS_1D[norm](size) if isinstance(norm, str) else norm[number - 1])
        if isinstance(act, nn.Module):
            model.add_module(f"activation{number}", act)
        else:
            model.add_module(f"{act}{number}", ACTIVATIONS[act]())
        if norm != "none" and norm_at == "after_activation":
            model.add_module(f"norm{number}", NORMS_1D[norm](size) if isinstance(norm, str) else norm[number - 1])
        if drop > 0:
            model.add_module(f"dropout{number}", dropout_module(drop, inverted=dropout_inverted))
        width = size
    model.add_module("head", nn.Linear(width, n_outputs, bias=bias))
    return model
