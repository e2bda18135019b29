"""SameBits takes the fastest way whose bits are those of each model; tests of StackedSequential compare the layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlassign.stacked.linear import SameBits


def test_a_way_of_other_bits_is_not_taken_and_the_fastest_of_the_others_is() -> None:
    asked: list[str] = []

    def way(name: str, error: float) -> Callable[[Tensor], Tensor]:
        return lambda x: asked.append(name) or x * 2 + error  # type: ignore[func-returns-value]

    same = SameBits([way("wrong", 1e-3), way("fast", 0.0), way("slow", 0.0)], way("alone", 0.0))
    state = torch.get_rng_state()
    x = torch.ones(3, 2)
    assert torch.equal(same(x), x * 2)
    assert asked == ["alone", "wrong", "fast", "fast"]
    assert torch.equal(same(x), x * 2)
    assert asked[4:] == ["fast"], "tried out once for each shape"
    assert torch.equal(SameBits([way("wrong", 1e-3)], way("alone", 0.0))(x), x * 2)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn that a run would draw"
