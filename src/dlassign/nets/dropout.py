"""Dropout, in the two forms that the reports have."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropoutScaledInEval(nn.Module):
    """Dropout that makes up for what it drops in evaluation, not in training as torch.nn.Dropout does.

    Training: y = x * mask, each entry of the mask 1 with probability 1 - p, else 0. Evaluation: y = (1 - p) * x, the
    mean of y over the masks. Masks are drawn from torch's global generator, as those of torch.nn.Dropout are.

    Args:
        p: probability to drop a value. The homework's own p is the probability to keep one, 1 - p here.

    Raises:
        ValueError: p is not a probability.

    Source: EECS 598, homework 1, dropout; evaluation as in the report's question 7.2.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}; a probability lies between 0 and 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of x's shape; any shape will do."""
        if not self.training:
            return x * (1 - self.p)
        mask = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - self.p)  # bool: a byte a value kept for backward
        return x * mask

    def extra_repr(self) -> str:
        """Return what print shows between the brackets."""
        return f"p={self.p}"


def dropout(p: float, *, inverted: bool) -> nn.Module:
    """Return a module that drops values with probability p.

    inverted: divide the values kept by 1 - p in training (torch.nn.Dropout); else multiply all by 1 - p in evaluation
    (DropoutScaledInEval).

    Raises:
        ValueError: p is not a probability.
    """
    return nn.Dropout(p) if inverted else DropoutScaledInEval(p)
