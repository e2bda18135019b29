"""The formulas of docs/derivations/hinge_logistic.md, evaluated as written, are what the losses compute."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from dlassign.numpy_nets.losses import hinge, logistic, softmax_cross_entropy
from helpers.agreement import assert_close_to, normal

N = 7
S = 2 * normal(N, 1)
Y = np.array([0, 1, 1, 0, 1, 0, 0])
T = [2 * int(y) - 1 for y in Y]


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def test_logistic() -> None:
    """dL/ds_n = -t_n sigmoid(-t_n s_n) / N."""
    loss, ds = logistic(S, Y)
    assert loss == pytest.approx(sum(log(1 + exp(-T[n] * S[n, 0])) for n in range(N)) / N, rel=1e-12)
    assert_close_to(ds, [[-T[n] * sigmoid(-T[n] * S[n, 0]) / N] for n in range(N)])


def test_logistic_with_labels_0_and_1() -> None:
    """dL/ds_n = (sigmoid(s_n) - y_n) / N."""
    assert_close_to(logistic(S, Y)[1], [[(sigmoid(S[n, 0]) - Y[n]) / N] for n in range(N)])


def test_logistic_is_softmax_of_0_and_s() -> None:
    loss, ds = softmax_cross_entropy(np.hstack([np.zeros((N, 1)), S]), Y)
    assert logistic(S, Y)[0] == pytest.approx(loss, rel=1e-12)
    assert_close_to(logistic(S, Y)[1], ds[:, 1:])


def test_stable_form() -> None:
    """log(1 + exp(z)) = max(0, z) + log(1 + exp(-abs(z)))."""
    for z in (-30.0, -2.0, 0.0, 3.0, 30.0):
        assert max(0, z) + log(1 + exp(-abs(z))) == pytest.approx(log(1 + exp(z)), rel=1e-12)
    loss, ds = logistic(np.array([[-1000.0], [1000.0]]), np.array([1, 1]))
    assert loss == (1000 + 0) / 2
    assert_close_to(ds, [[-1 / 2], [0.0]])
    with pytest.raises(OverflowError):
        exp(1000)


def test_hinge() -> None:
    """dL/ds_n = -t_n [1 - t_n s_n > 0] / N, and 0 at the kink."""
    s = S.copy()
    s[0, 0] = T[0]
    loss, ds = hinge(s, Y)
    assert loss == pytest.approx(sum(max(0, 1 - T[n] * s[n, 0]) for n in range(N)) / N, rel=1e-12)
    assert_close_to(ds, [[-T[n] * (1 - T[n] * s[n, 0] > 0) / N] for n in range(N)])
    assert ds[0, 0] == 0


def test_labels_in_place_of_signs_teach_half_of_the_data() -> None:
    right = logistic(S, Y)[1], hinge(S, Y)[1]
    wrong_logistic = np.array([[-Y[n] * sigmoid(-Y[n] * S[n, 0]) / N] for n in range(N)])
    wrong_hinge = np.array([[-Y[n] * (1 - Y[n] * S[n, 0] > 0) / N] for n in range(N)])
    for wrong, ds in zip((wrong_logistic, wrong_hinge), right, strict=True):
        assert not wrong[Y == 0].any()
        assert_close_to(wrong[Y == 1], ds[Y == 1])
        assert ds[Y == 0].any()


def test_a_lost_axis_gives_a_square() -> None:
    assert (S - Y).shape == (N, N)
    with pytest.raises(ValueError, match=r"expected y \(7,\) integers"):
        logistic(S, Y[:, None])
