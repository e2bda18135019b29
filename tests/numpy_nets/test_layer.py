"""What all layers share: what is kept for one backward, and what is said of a wrong input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlassign.numpy_nets.layer import NOTHING, Array, Saved, check_input, described, zeros_like

X = np.ones((2, 3), np.float32)


class TestSaved:
    def test_gives_the_value_once(self) -> None:
        saved = Saved[Array]("layer")
        saved.keep(X, X, train=True)
        assert saved.take(np.zeros_like(X)) is X
        with pytest.raises(RuntimeError, match=r"^layer: backward twice after one forward; call forward"):
            saved.take(X)

    def test_evaluation_drops_what_training_kept(self) -> None:
        saved = Saved[Array]("layer")
        saved.keep(X, X, train=True)
        saved.keep(X, X, train=False)
        with pytest.raises(RuntimeError, match="keeps nothing"):
            saved.take(X)

    @pytest.mark.parametrize("dy", [X[:1], X.T, X.astype(np.float64)], ids=["rows", "transposed", "type"])
    def test_keeps_the_value_when_the_gradient_does_not_fit(self, dy: Array) -> None:
        saved = Saved[Array]("layer")
        saved.keep(X, X, train=True)
        with pytest.raises(ValueError, match=r"^layer: backward expects .*\(2, 3\) float32; got"):
            saved.take(dy)
        assert saved.take(X) is X


@pytest.mark.parametrize(
    ("expected", "dtype", "message"),
    [
        (("N", 4), None, r"expected input \(N, 4\) float32 or float64; got \(2, 3\) float32"),
        (("N", 3, "W"), None, r"expected input \(N, 3, W\)"),
        (("N", 3), np.float64, r"expected input \(N, 3\) float64; got \(2, 3\) float32"),
    ],
)
def test_a_wrong_input_is_described(expected: tuple[int | str, ...], dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_input("layer", X, expected, dtype=dtype)


def test_a_right_input_passes() -> None:
    check_input("layer", X, ("N", "D"))
    check_input("layer", X, (2, 3), dtype=np.float32)


def test_a_shape_of_one_axis_reads_as_a_tuple() -> None:
    assert described((5,), "integers") == "(5,) integers"


def test_nothing_is_shared_and_so_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        NOTHING["weight"] = X  # type: ignore[index]


def test_gradients_lie_in_memory_as_their_parameters_do() -> None:
    grads = zeros_like({"weight": np.asfortranarray(np.ones((3, 2)))})
    assert grads["weight"].flags.f_contiguous
    assert not grads["weight"].any()
