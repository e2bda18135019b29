"""What scores mean as probabilities."""

from __future__ import annotations

import numpy as np

from dlassign.deploy.classifier import probabilities


def test_probabilities_are_softmax_and_survive_large_scores() -> None:
    found = probabilities(np.array([[0.0, np.log(3.0)], [1e4, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(found, [[0.25, 0.75], [1.0, 0.0]], atol=1e-7)
    assert found.dtype == np.float64


def test_two_columns_of_a_single_score_are_its_logistic() -> None:
    np.testing.assert_allclose(probabilities(np.array([[0.0, -2.0]]))[0, 1], 1 / (1 + np.exp(2.0)))
