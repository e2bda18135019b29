"""Sizes of activations by formula, beside those of real layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dlassign.config.model import HeInit, NormalInit, PytorchInit, XavierInit
from dlassign.doctor.propagation import propagate, weight_std

LAYERS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "elu": nn.functional.elu}


@pytest.mark.parametrize("activation", LAYERS)
def test_sizes_are_those_of_real_layers(activation: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(300, 64)
    square, overlap = float((x**2).mean()), float((x.mean(0) ** 2).mean())
    named = [(64, 300, activation), (300, 300, activation), (300, 300, activation), (300, 200, "identity")]
    found = propagate(named, PytorchInit(name="pytorch"), square=square, overlap=overlap)
    h = x
    for layer, (fan_in, fan_out, _) in zip(found, named, strict=True):
        with torch.no_grad():
            z = nn.Linear(fan_in, fan_out)(h)
        h = LAYERS[activation](z)
        size = float((z**2).mean().sqrt())
        assert layer.std == pytest.approx(size, rel=0.25)
        assert layer.varies == pytest.approx(float(((z - z.mean(0)) ** 2).mean().sqrt()) / size, rel=0.25)


def test_he_keeps_the_size_of_a_relu_net() -> None:
    found = propagate([(100, 100, "relu")] * 30, HeInit(name="he"), square=0.5, overlap=0.25)
    assert found[0].std == pytest.approx(1.0)
    assert found[-1].std == pytest.approx(1.0, rel=0.02)


def test_standard_deviations_of_weights() -> None:
    assert weight_std(NormalInit(name="normal", std=0.3), 10, 5) == (0.3, 0.0)
    assert weight_std(XavierInit(name="xavier"), 30, 20) == (pytest.approx(0.2), 0.0)


def test_huge_and_vanishing_sizes_are_numbers() -> None:
    for std in (1e-200, 1e150):
        for layer in propagate([(9, 9, "sigmoid")] * 5, NormalInit(name="normal", std=std), square=1.0, overlap=0.0):
            assert np.isfinite(layer.varies)
