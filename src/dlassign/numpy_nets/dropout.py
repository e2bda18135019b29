"""Dropout, in the form of torch.nn and in that of EECS 598."""

from __future__ import annotations

import numpy as np

from dlassign.numpy_nets.arguments import only, real
from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input


class Dropout:
    """y = m x, with a random multiplier m for every element; dL/dx = m dL/dy, as m does not depend on x.

    In training m is 0 with probability p. Otherwise it is 1/(1 - p), and evaluation is the identity: the expected y is
    x in both. With inverted=False a kept element stays as it is (m = 1), and evaluation multiplies by the probability
    of keeping, 1 - p: the expected y is (1 - p) x in both.
    Sources: Srivastava et al. 2014; EECS 598 (2019), homework 1, whose own `p` is the probability to KEEP: its p = 0.8
    is p = 0.2 here.
    Derivation: docs/derivations/dropout.md.

    Args:
        p: probability to drop an element, as in torch.nn.Dropout; at least 0 and below 1.
        inverted: whether training (True) or evaluation (False) makes up for the dropped elements.
        rng: draws the masks; its owner saves and restores it. None is a generator seeded with 0.

    Attributes:
        mask: m of the last forward(train=True), of the shape and type of x; None before.

    Raises:
        ValueError: p is not in [0, 1).
    """

    params = grads = buffers = NOTHING

    def __init__(
        self, p: float = 0.5, inplace: bool = False, *, inverted: bool = True, rng: np.random.Generator | None = None
    ) -> None:
        only(self, inplace=(inplace, False))
        self.p = real(self, "p", p)
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected p, the probability to drop, in [0, 1); got {p}")
        self.inverted = inverted
        self.rng = rng or np.random.default_rng(0)
        self.mask: Array | None = None
        self._mask = Saved[Array](self)

    def __repr__(self) -> str:
        return f"Dropout(p={self.p}, inverted={self.inverted})"

    def forward(self, x: Array, *, train: bool) -> Array:
        """x: any shape. Returns the same shape."""
        check_input(self, x, ["any"] * x.ndim)
        if not train:
            y = x.copy() if self.inverted else x * (1 - self.p)
            self._mask.keep(y, y, train=False)
            return y
        self.mask = self._drawn(x)
        y = x * self.mask
        self._mask.keep(self.mask, y, train=True)
        return y

    def backward(self, dy: Array) -> Array:
        """dy: the shape of x. Returns the same shape."""
        # The mask of forward, not a new one: an element that was dropped had no part in the loss.
        return dy * self._mask.take(dy)

    def _drawn(self, x: Array) -> Array:
        # Draw in the type of x: float32 numbers take half as many random bits, and the masks of a run depend on it.
        dtype = np.float32 if x.dtype == np.float32 else np.float64
        uniform: Array = self.rng.random(x.shape, dtype=dtype)
        # u >= p, not u > p: u lies in [0, 1), so this keeps with probability 1 - p, and p = 0 drops nothing.
        mask: Array = np.greater_equal(uniform, self.p, out=uniform)
        if self.inverted:
            mask *= 1 / (1 - self.p)
        return mask
