"""Weights of classes: as scikit-learn balances them, and by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from dlassign.data.class_weights import class_weights
from dlassign.errors import ConfigError

Y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
CLASSES = ("ant", "bee", "cat")


@settings(deadline=None)  # scikit-learn imports much when it is first called
@given(st.lists(st.integers(0, 4), min_size=1, max_size=50))
def test_balanced_is_scikit_learns(labels: list[int]) -> None:
    y = np.array(labels)
    there = np.unique(y)
    found = class_weights("balanced", y, "abcde")
    assert found is not None
    assert [found[label] for label in there] == compute_class_weight("balanced", classes=there, y=y).tolist()
    assert sum(found[label] for label in labels) == pytest.approx(len(labels))
    assert {found[label] for label in range(5) if label not in there} <= {1.0}


def test_weights_by_name() -> None:
    assert class_weights({"cat": 5.0, "ant": 0.5}, Y, CLASSES) == (0.5, 1.0, 5.0)
    assert class_weights(None, Y, CLASSES) is None


def test_a_name_that_is_no_class() -> None:
    with pytest.raises(ConfigError) as caught:
        class_weights({"cat": 5.0, "bea": 2.0, "v1.2": 3.0}, Y, CLASSES)
    assert [problem.path for problem in caught.value.problems] == ["loss.class_weight.bea", "loss.class_weight"]
    assert caught.value.problems[0].message == (
        "the data has no class 'bea'. Did you mean 'bee'? Classes: ant, bee, cat"
    )
