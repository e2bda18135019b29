"""What counts as the same scores, and what is compared."""

from __future__ import annotations

import numpy as np
import pytest

from dlassign.deploy.parity import BATCHES, compare
from dlassign.errors import UserError

X = np.zeros((2, 3))
EXPECTED = np.array([[1.0, 5.0, -2.0], [2.0, 2.00001, 0.0]], dtype=np.float32)
BATCH = [("random", X, EXPECTED)]


def test_the_same_scores() -> None:
    found = compare("file", BATCH, lambda x: EXPECTED + np.float32(1e-5))
    assert (found.samples, found.ties) == (2, 0)
    assert 0.9e-5 < found.largest < 1.2e-5
    assert found.relative <= found.largest


def test_a_tie_may_fall_either_way() -> None:
    other = EXPECTED.copy()
    other[1, :2] = other[1, 1::-1]
    assert compare("file", BATCH, lambda x: other).ties == 1


@pytest.mark.parametrize("off", [2e-3, np.nan, np.inf])
def test_other_scores(off: float) -> None:
    other = EXPECTED.copy()
    other[0, 1] += off
    message = r"^model\.onnx does not compute what the run computes: on a batch of 2 \(random\) a score is"
    with pytest.raises(UserError, match=message):
        compare("model.onnx", BATCH, lambda x: other)


def test_the_bound_grows_with_the_score() -> None:
    large = EXPECTED[:1] * 1000
    assert compare("file", [("random", X[:1], large)], lambda x: large + 0.05).relative < 1e-4
    with pytest.raises(UserError):
        compare("file", [("random", X[:1], large)], lambda x: large + 0.6)


def test_what_is_not_finite_in_both_is_the_same() -> None:
    both = EXPECTED.copy()
    both[0] = [np.nan, np.inf, -np.inf]
    assert compare("file", [("random", X, both)], lambda x: both.copy()).largest == 0


def test_another_number_of_scores() -> None:
    with pytest.raises(UserError, match=r"it gives scores \(2, 1\), the run \(2, 3\)"):
        compare("file", BATCH, lambda x: EXPECTED[:, :1])


def test_the_batches() -> None:
    assert BATCHES == (1, 2, 7, 256)
