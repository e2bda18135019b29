"""Which known word a user may have meant."""

from __future__ import annotations

import pytest

from dlassign.config.suggestion import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("stepz", ["steps", "epochs"], " Did you mean 'steps'?"),
        ("Linear-Layer", ["linear_layer"], " Did you mean 'linear_layer'?"),
        ("silu", ["SiLU"], " Did you mean 'SiLU'?"),
        ("learning_rate", ["lr", "rate"], " Did you mean 'lr'?"),
        ("zzz", ["steps"], ""),
        ("", [], ""),
    ],
)
def test_the_nearest_word(word: str, known: list[str], expected: str) -> None:
    assert did_you_mean(word, known) == expected


def test_several_words() -> None:
    assert did_you_mean("steps", ["step", "stepsize"], most=2) == " Did you mean 'step' or 'stepsize'?"
