"""Batch and layer normalisation as the reports have them: by autograd, and with a backward of their own.

For x and y of shape (N, C), in the letters of the formulas below,

    y = gamma * xhat + beta,  xhat = (x - mu) * r,  r = 1 / sqrt(var + eps),

with mu and var, the biased variance (divided by the number of values, not by one less), taken over the samples for
batch norm and over the features for layer norm. Batch norm also takes images (N, C, H, W); its mu and var are then
taken over N, H and W. Modules name gamma `weight` and beta `bias`, as torch.nn does. Apart from BatchNormFromZero they
have no running statistics: training and evaluation compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, None]
SAMPLES = {2: (0,), 4: (0, 2, 3)}
"""The axes that batch norm takes its statistics over, all but the features, by the number of axes of x."""
FEATURES = (1,)
"""Those of layer norm."""


class _Affine(nn.Module):
    """What the modules of this file share: gamma, beta, and the check of x.

    Args:
        num_features: C.
        eps: added to the variance, inside the root.
        spatial: take (N, C, H, W) instead of (N, C); batch norm alone.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, spatial: bool = False) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.spatial = spatial
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def check(self, x: Tensor) -> None:
        """Raise ValueError if x has the wrong number of axes or of features."""
        _check_input(type(self).__name__, x, self.num_features, spatial=self.spatial)


class BatchNormAutograd(_Affine):
    """Batch norm by plain tensor operations, differentiated by autograd; (N, C) to (N, C).

    A batch of one gives y = bias, where torch.nn.BatchNorm1d refuses it.

    Source: UvA 2018, question 3.1, with the biased variance of its formula; the author's code has the unbiased one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        self.check(x)
        xhat, _ = _standardise(x, SAMPLES[x.ndim], self.eps)
        return _across(self.weight, x) * xhat + _across(self.bias, x)


class BatchNormFunction(Function):
    """Batch norm with its own backward: apply(x, gamma, beta, eps).

    With d = dL/dy, and mean and sum over the samples (N, or N, H and W; m of them):

        dx = gamma * r * (d - mean(d) - xhat * mean(d * xhat)),  dgamma = sum(d * xhat),  dbeta = sum(d)

    Derivation: dL/dxhat_j = gamma d_j and dxhat_j/dx_i = r (delta_ij - 1/m - xhat_i xhat_j / m), the 1/m by way of mu
    and the last term by way of var; dx_i is their product summed over j.

    Source: UvA 2018, questions 3.2 a and b.
    Derivation: docs/derivations/batch_norm.md.
    """

    # Only inputs are saved, and xhat and r are computed again in backward: two passes over x. Were they saved, then
    # a backward through the backward would take them for constants and miss their dependence on x, since autograd
    # follows a saved tensor only if it is an input or an output. This also keeps no more alive than x and gamma.

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
        """Return y, of x's shape; x: (N, C) or (N, C, H, W), gamma and beta: (C,).

        Raises:
            ValueError: the shapes are others.
        """
        _check_input("BatchNormFunction", x, gamma.numel(), spatial=x.ndim == 4)
        _check_parameters("BatchNormFunction", gamma, beta)
        _save_what_backward_needs(ctx, x, gamma, eps)
        xhat, _ = _standardise(x, SAMPLES[x.ndim], eps)
        return _across(gamma, x) * xhat + _across(beta, x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        """Return dx, dgamma, dbeta and, for eps, None; None also for what is not wanted. dy: of y's shape."""
        wants_dx, wants_dgamma, wants_dbeta = ctx.needs_input_grad[:3]
        x, gamma = ctx.saved_tensors
        over = SAMPLES[dy.ndim]
        dx = dgamma = None
        if x is not None:
            xhat, r = _standardise(x, over, ctx.eps)
            dgamma = (dy * xhat).sum(over) if wants_dgamma else None
            dx = _across(gamma, x) * _through_statistics(dy, xhat, r, over) if wants_dx else None
        return dx, dgamma, dy.sum(over) if wants_dbeta else None, None


class BatchNormManual(_Affine):
    """Batch norm with the backward of BatchNormFunction; (N, C) to (N, C). Source: UvA 2018, question 3.2 c."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        self.check(x)
        y: Tensor = BatchNormFunction.apply(x, self.weight, self.bias, self.eps)
        return y


class LayerNormAutograd(_Affine):
    """Layer norm by plain tensor operations and autograd; (N, C) to (N, C). Source: UvA 2020, question 3.1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        self.check(x)
        xhat, _ = _standardise(x, FEATURES, self.eps)
        return self.weight * xhat + self.bias


class LayerNormFunction(Function):
    """Layer norm with its own backward: apply(x, gamma, beta, eps).

    With d = dL/dy, g = d * gamma, mean over the features of a sample and sum over the samples:

        dx = r * (g - mean(g) - xhat * mean(g * xhat)),  dgamma = sum(d * xhat),  dbeta = sum(d)

    Derivation: as for batch norm, with features in the place of samples; gamma differs between them, so that it stays
    inside the means.

    Source: UvA 2020, questions 3.2 a and b; the report's derivation of dx repeats factors, the line above does not.
    Derivation: docs/derivations/layer_norm.md.
    """

    # Only inputs are saved, for the reason given in BatchNormFunction.

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
        """Return y, of x's shape; x: (N, C), gamma and beta: (C,).

        Raises:
            ValueError: the shapes are others.
        """
        _check_input("LayerNormFunction", x, gamma.numel())
        _check_parameters("LayerNormFunction", gamma, beta)
        _save_what_backward_needs(ctx, x, gamma, eps)
        xhat, _ = _standardise(x, FEATURES, eps)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        """Return dx, dgamma, dbeta and, for eps, None; None also for what is not wanted. dy: (N, C)."""
        wants_dx, wants_dgamma, wants_dbeta = ctx.needs_input_grad[:3]
        x, gamma = ctx.saved_tensors
        dx = dgamma = None
        if x is not None:
            xhat, r = _standardise(x, FEATURES, ctx.eps)
            dgamma = (dy * xhat).sum(0) if wants_dgamma else None
            dx = _through_statistics(dy * gamma, xhat, r, FEATURES) if wants_dx else None
        return dx, dgamma, dy.sum(0) if wants_dbeta else None, None


class LayerNormManual(_Affine):
    """Layer norm with the backward of LayerNormFunction; (N, C) to (N, C). Source: UvA 2020, question 3.2 c."""

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape."""
        self.check(x)
        y: Tensor = LayerNormFunction.apply(x, self.weight, self.bias, self.eps)
        return y


class BatchNormFromZero(_Affine):
    """torch.nn.BatchNorm but for its running statistics: both start at 0, and the variance is the biased one.

    In training running = (1 - momentum) * running + momentum * batch; the homework's own momentum, 0.9, is the share
    that stays. torch.nn.BatchNorm starts the running variance at 1 and gives it the unbiased variance of the batch.
    Evaluation uses the running statistics.

    Args:
        num_features, eps, spatial: as for the others.
        momentum: share of the batch in the running statistics.

    Source: EECS 598, homework 1, batch norm.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, spatial: bool = False) -> None:
        super().__init__(num_features, eps, spatial=spatial)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape.

        Raises:
            ValueError: x has the wrong number of axes or of features, or, in training, one value a feature.
        """
        self.check(x)
        if not self.training:
            mean, var = self.running_mean, self.running_var
            return functional.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)
        # torch's operation computes the statistics anyway; it leaves momentum times the unbiased variance in `share`.
        share = torch.zeros_like(self.running_var)
        y = functional.batch_norm(
            x, self.running_mean, share, self.weight, self.bias, training=True, momentum=self.momentum, eps=self.eps
        )
        values = x.numel() // self.num_features
        self.running_var.mul_(1 - self.momentum).add_(share, alpha=(values - 1) / values)
        return y


NORMS_1D: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "batch_autograd": BatchNormAutograd,
    "batch_from_zero": BatchNormFromZero,
    "batch_manual": BatchNormManual,
    "batch_without_running": partial(nn.BatchNorm1d, track_running_stats=False),
    "layer": nn.LayerNorm,
    "layer_autograd": LayerNormAutograd,
    "layer_manual": LayerNormManual,
}
"""From the number of features to a module for (N, C)."""
NORMS_2D: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "batch_autograd": partial(BatchNormAutograd, spatial=True),
    "batch_from_zero": partial(BatchNormFromZero, spatial=True),
    "batch_manual": partial(BatchNormManual, spatial=True),
    "batch_without_running": partial(nn.BatchNorm2d, track_running_stats=False),
}
"""From the number of channels to a module for (N, C, H, W)."""


def _across(p: Tensor, x: Tensor) -> Tensor:
    """Return p, one number a feature, in a shape that stands along the features of x."""
    return p[:, None, None] if x.ndim == 4 else p


def _standardise(x: Tensor, over: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Return xhat, of x's shape, and r, with size 1 along the axes `over`."""
    centred = x - x.mean(over, keepdim=True)
    r = (centred.square().mean(over, keepdim=True) + eps).rsqrt()
    return centred * r, r


def _through_statistics(g: Tensor, xhat: Tensor, r: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return dL/dx from g = dL/dxhat: r * (g - mean(g) - xhat * mean(g * xhat)), means over the axes `over`."""
    return r * (g - g.mean(over, keepdim=True) - xhat * (g * xhat).mean(over, keepdim=True))


def _save_what_backward_needs(ctx: Any, x: Tensor, gamma: Tensor, eps: float) -> None:
    """Save x for dx and dgamma, gamma for dx, nothing for dbeta."""
    wants_dx, wants_dgamma, _ = ctx.needs_input_grad[:3]
    ctx.save_for_backward(x if wants_dx or wants_dgamma else None, gamma if wants_dx else None)
    ctx.eps = eps


def _check_input(owner: str, x: Tensor, num_features: int, *, spatial: bool = False) -> None:
    """Raise ValueError unless x is (N, num_features), or (N, num_features, H, W) if spatial."""
    if x.ndim != (4 if spatial else 2) or x.shape[1] != num_features:
        expected = f"(N, {num_features}, H, W)" if spatial else f"(N, {num_features})"
        raise ValueError(f"{owner}: expected input {expected}; got {tuple(x.shape)}")


def _check_parameters(name: str, gamma: Tensor, beta: Tensor) -> None:
    """Raise ValueError unless both have one number a feature, as the check of the input found their count right."""
    if gamma.ndim != 1 or gamma.shape != beta.shape:
        expected = f"gamma and beta ({gamma.numel()},)"
        raise ValueError(f"{name}: expected {expected}; got {tuple(gamma.shape)} and {tuple(beta.shape)}")
