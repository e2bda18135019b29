"""A model of the user's own: built by their code, and tried on two samples before anything trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlassign.config.own_part import OwnPart
from dlassign.errors import ConfigError


def own_model(part: OwnPart, in_shape: Sequence[int], n_outputs: int) -> nn.Module:
    """Build the model, and check that it turns samples into scores.

    Args:
        part: whose code is called as `Net(in_shape, n_outputs, **keys)`.
        in_shape: of one sample, (C, H, W) or (D,).
        n_outputs: scores for each sample.

    Raises:
        ConfigError: the code fails, gives no module, or its scores have another shape; with the line of their code.
    """
    with part.calling("model.name"):
        # A copy: a module that the file makes once and returns each time would bring trained weights to the next run.
        model = copy.deepcopy(part.load()(tuple(in_shape), n_outputs, **part.keys()))
    if not isinstance(model, nn.Module):
        raise ConfigError.at("model.name", f"{part.name} returns {type(model).__name__}; expected a torch.nn.Module")
    _check_state(model, part)
    scores = _scores_of_two(model, part, in_shape)
    if not isinstance(scores, Tensor):
        message = f"the forward pass of {part.name} returns {type(scores).__name__}; expected one tensor of scores"
        raise ConfigError.at("model.name", message)
    if scores.shape != (2, n_outputs):
        shapes = ["x".join(map(str, shape)) for shape in ((2, *in_shape), scores.shape, (2, n_outputs))]
        message = f"{part.name} turns samples of {shapes[0]} into scores of {shapes[1]}; expected {shapes[2]}"
        raise ConfigError.at("model.name", f"{message}, one row for each sample and one column for each class")
    if not any(True for _ in model.parameters()):
        raise ConfigError.at(
            "model.name",
            f"{part.name} has no parameters, so there is nothing to train "
            "(layers in a plain list or dict are not seen: use nn.ModuleList, nn.ModuleDict or nn.Sequential)",
        )
    return model


def check_all_train(model: nn.Module, part: OwnPart, in_shape: Sequence[int]) -> None:
    """Refuse a model of which trained parameters take no part in a training step; it is changed by the trial.

    Raises:
        ConfigError: some get no gradient, so there is nothing to update them by.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    like = next(iter(trained.values()))
    with torch.random.fork_rng(devices=[]):
        try:
            scores = model.train()(torch.rand(2, *in_shape, dtype=like.dtype, device=like.device))
            grads = torch.autograd.grad(scores.sum(), list(trained.values()), allow_unused=True)
        except Exception:  # noqa: BLE001 - whatever the user's code raises; training tells it with its line
            return
    if unused := [name for name, grad in zip(trained, grads, strict=True) if grad is None]:
        names = ", ".join(unused)
        cure = f"remove them, or leave them as they are with train.freeze: [{unused[0]}]"
        raise ConfigError.at("model.name", f"{part.name}: {names} take no part in the forward pass; {cure}")


def _check_state(model: nn.Module, part: OwnPart) -> None:
    """Refuse what cannot be trained in float32 or saved with the weights."""
    for name, parameter in model.named_parameters():
        if parameter.dtype.is_floating_point and parameter.dtype != torch.float32:
            message = f"parameter {name} of {part.name} is {parameter.dtype}; expected torch.float32"
            raise ConfigError.at("model.name", f"{message}, which is cast where train.precision says so")
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            message = (
                f"the state_dict of {part.name} holds {name}, a {type(value).__name__}, and tensors alone are saved"
            )
            raise ConfigError.at("model.name", f"{message}; keep numbers in buffers (register_buffer)")


def _scores_of_two(model: nn.Module, part: OwnPart, in_shape: Sequence[int]) -> object:
    """Return what a model makes of two samples of zeros; it stays as it is, and so does the random generator."""
    training = {module: module.training for module in model.modules()}
    model.eval()  # so that statistics of batches stay as they are
    shape = "x".join(map(str, (2, *in_shape)))
    try:
        with part.calling("model.name", f"with samples of {shape}"), torch.random.fork_rng(devices=[]), torch.no_grad():
            return model(torch.zeros(2, *in_shape))
    finally:
        for module, trains in training.items():
            module.training = trains
