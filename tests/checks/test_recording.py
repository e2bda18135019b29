"""Differences of recorded arrays, and max-pools that pass gradients to the values that the NumPy layer chose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlassign.checks.recording import LargestOf, difference
from dlassign.numpy_nets.pooling import MaxPool2d


@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [
        ([1.0, -2.0], [1.0, -2.5], 0.2),
        ([0.0], [0.0], 0.0),
        ([], [], 0.0),
        ([math.nan, math.inf, 2.0], [math.nan, math.inf, 1.0], 0.5),
        ([math.nan, 1.0], [1.0, 1.0], math.inf),
        ([math.inf], [-math.inf], math.inf),
        ([1.0, 2.0], [1.0], math.inf),
        ([1e308], [-1e308], math.inf),
    ],
)
def test_difference(ours: list[float], theirs: list[float], size: float) -> None:
    assert difference([np.array(ours)], [np.array(theirs)]) == size


def test_difference_is_by_the_largest_value_of_the_layer() -> None:
    assert difference([np.array([4.0]), np.array([1e-9])], [np.array([4.0]), np.array([3e-9])]) == pytest.approx(5e-10)


def test_values_that_are_equal_but_for_rounding_share_the_largest() -> None:
    layer, x = MaxPool2d(2), np.ones((1, 1, 2, 2))
    layer.forward(x, train=True)
    rounded = torch.from_numpy(x.copy())
    rounded[0, 0, 0, 1] += 2.0**-52
    rounded.requires_grad_()
    LargestOf(layer, torch.nn.MaxPool2d(2)).train()(rounded).sum().backward()
    assert rounded.grad is not None
    assert rounded.grad.flatten().tolist() == [1, 0, 0, 0]
