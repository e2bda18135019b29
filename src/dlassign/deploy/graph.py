"""A trained net from raw samples to scores in one module: preprocessing, model, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlassign.data.own_step import OwnStep
from dlassign.data.prepare import Preprocess
from dlassign.data.preprocess_chain import PreprocessStep
from dlassign.data.preprocess_steps import PCA, Flatten, MeanImage, Normalize, Scale
from dlassign.errors import UserError


class Graph(nn.Module):
    """Preprocessing and model. Input: raw samples, (N, C, H, W) uint8 or (N, D) float64; output: scores (N, K).

    A net with a single score s for two classes gives (0, s), so that the largest of each row is always the prediction.

    Args:
        preprocess: fitted, without the copies that training appends.
        model: takes prepared samples; its weights are float32.
    """

    def __init__(self, preprocess: Preprocess, model: nn.Module) -> None:
        super().__init__()
        self.preprocess = nn.Sequential(*map(_as_module, preprocess.steps))
        self.model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (N, K) float32; x: (N, ...) raw."""
        # In float64 and rounded once, as preprocessing is done in training.
        scores: Tensor = self.model(self.preprocess(x.double()).float())
        if scores.shape[1] == 1:
            return torch.cat([torch.zeros_like(scores), scores], dim=1)
        return scores


def refuse_batch_statistics(model: nn.Module) -> None:
    """Refuse a model whose scores of a sample depend on the other samples of its batch.

    Raises:
        UserError: it has a normalisation with the batch's own statistics.
    """
    for name, module in model.named_modules():
        kind = type(module).__name__
        own = kind.startswith("BatchNorm") and getattr(module, "running_mean", None) is None
        if own:
            raise UserError(
                f"the model normalises by the statistics of each batch ({name}: {kind}), so what it says of one sample "
                "depends on the others beside it, and it cannot be used alone; train it with `norm: batch`"
            )


class _Scale(nn.Module):
    """x / divisor."""

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, x: Tensor) -> Tensor:
        return x / self.divisor


class _Standardise(nn.Module):
    """(x - mean) / std, channel by channel of images, or feature by feature of rows."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        along = (-1, *(1,) * (x.ndim - 2))
        return (x - self.mean.reshape(along)) / self.std.reshape(along)


class _Subtract(nn.Module):
    """x - mean, value by value."""

    mean: Tensor

    def __init__(self, mean: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


class _Project(nn.Module):
    """(x - mean) A^T / scale of flattened samples, with the components A."""

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, mean: Any, components: Any, scale: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("components", torch.tensor(components, dtype=torch.float64))
        self.register_buffer("scale", None if scale is None else torch.tensor(scale, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        projected = (x.flatten(1) - self.mean) @ self.components.T
        return projected if self.scale is None else projected / self.scale


class _Code(nn.Module):
    """What code of the user's own makes of samples, by NumPy on the host."""

    def __init__(self, step: OwnStep) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        # A copy: the code may write to what it is given.
        return torch.from_numpy(self.step.apply(x.detach().cpu().numpy().copy())).to(x.device)


def _as_module(step: PreprocessStep) -> nn.Module:
    """Return a fitted step as a module on float64 batches that gives the numbers of its `apply`."""
    match step:
        case Scale():
            return _Scale(step.divisor)
        case Normalize():
            return _Standardise(step.mean, step.std)
        case MeanImage():
            return _Subtract(step.mean)
        case Flatten():
            return nn.Flatten()
        case PCA():
            return _Project(step.mean, step.components, step.scale)
        case OwnStep():
            return _Code(step)
        case _:
            raise AssertionError(f"{step.name} has no module")
