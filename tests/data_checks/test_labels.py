"""Labels that may be wrong: confident learning on probabilities made by hand."""

from __future__ import annotations

import numpy as np

from dlassign.data_checks.labels import HALF, candidates, label_flaw


def test_a_class_must_be_as_probable_as_it_is_for_its_own_samples() -> None:
    """Class 0 is predicted with .8 on average, class 1 with .5: so .6 is much for class 1, and little for class 0."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.5, 0.5]])
    y = np.array([0, 0, 0, 1, 1, 1])
    mean_0, mean_1 = probabilities[:3, 0].mean(), probabilities[3:, 1].mean()
    assert mean_0 > 0.6
    assert mean_1 == 0.5
    rows, better = candidates(probabilities, y)
    assert (rows.tolist(), better.tolist()) == ([], [])
    probabilities[2] = [0.45, 0.55]
    rows, better = candidates(probabilities, y)
    assert (rows.tolist(), better.tolist()) == ([2], [1])


def test_the_surest_come_first_and_of_several_classes_the_most_probable_counts() -> None:
    probabilities = np.eye(3).repeat(4, axis=0) * 0.6 + 0.1
    y = np.arange(3).repeat(4)
    probabilities[0] = [0.05, 0.2, 0.75]
    probabilities[5] = [0.9, 0.05, 0.05]
    rows, better = candidates(probabilities, y)
    assert (rows.tolist(), better.tolist()) == ([5, 0], [0, 2])


def test_a_class_without_samples_suits_nobody() -> None:
    probabilities = np.array([[0.2, 0.2, 0.6], [0.2, 0.3, 0.5]])
    assert len(candidates(probabilities, np.array([0, 1]))[0]) == 0


def test_what_is_said_of_them() -> None:
    y = np.array([0, 0, 0, 1])
    flaw = label_flaw(np.array([2, 0]), np.array([1, 1]), y, classes=("cat", "dog"))
    assert flaw is not None
    assert flaw.text == (
        "2 of 4 labels of train may be wrong, by nets that had not seen the samples, most often cat that looks like "
        f"dog (2); {HALF}"
    )
    assert (flaw.level, flaw.samples) == ("warning", ((("train", 2),), (("train", 0),)))
    assert label_flaw(np.array([], int), np.array([], int), y, classes=("cat", "dog")) is None
