"""What a call changes of the process around it is given back."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dlassign.train.given_back import given_back


def changed() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(torch.get_num_threads() + 1)


def state() -> tuple[object, ...]:
    return (
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # type: ignore[union-attr]
        torch.get_rng_state().numpy().tobytes(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
    )


def test_everything_is_given_back() -> None:
    before = state()
    with given_back():
        changed()
        assert state() != before
    assert state() == before


def fail_inside() -> None:
    with given_back():
        changed()
        raise RuntimeError("mine")


def test_it_is_given_back_after_an_error_too() -> None:
    before = state()
    with pytest.raises(RuntimeError, match="mine"):
        fail_inside()
    assert state() == before
