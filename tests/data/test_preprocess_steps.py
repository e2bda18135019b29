"""Each preprocessing step by itself: its state, its operations on images, and its way back for weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from dlassign.data.bundle import Split
from dlassign.data.prepare import Preprocess, fit_preprocess
from dlassign.data.preprocess_steps import make_steps
from dlassign.errors import ConfigError

STEPS: list[dict[str, Any]] = [
    {"name": "scale", "divisor": 3.0},
    {"name": "normalize", "mean": None, "std": None},
    {"name": "mean_image"},
    {"name": "flatten"},
    {"name": "pca", "components": 4, "whiten": False},
    {"name": "pca", "components": 4, "whiten": True},
    {"name": "append_variants", "seed": 10},
]
KEYS = {
    "scale": ["name", "divisor"],
    "normalize": ["name", "mean", "std"],
    "mean_image": ["name", "mean"],
    "flatten": ["name"],
    "append_variants": ["name", "seed"],
}


def samples() -> Split:
    x = np.random.default_rng(0).integers(0, 256, (40, 2, 3, 3), dtype=np.uint8)
    return Split(x, np.zeros(40, dtype=np.int64))


def name_of(step: dict[str, Any]) -> str:
    return f"{step['name']}{' whitened' if step.get('whiten') else ''}"


@pytest.mark.parametrize("described", STEPS, ids=name_of)
def test_the_state_has_the_keys_of_old_checkpoints_in_their_order(described: dict[str, Any]) -> None:
    fitted = fit_preprocess([described], samples())
    [state] = fitted.state()
    scale = ["scale"] if described.get("whiten") else []
    assert list(state) == KEYS.get(described["name"], ["name", "mean", "components", *scale])
    again = Preprocess.from_state([state])
    assert_array_equal(again.apply(samples().x, "float64"), fitted.apply(samples().x, "float64"))
    assert list(again.state()[0]) == list(state)


@pytest.mark.parametrize("described", STEPS, ids=name_of)
def test_operations_are_the_step_where_the_result_is_an_image(described: dict[str, Any]) -> None:
    split = samples()
    fitted = fit_preprocess([described], split)
    operations = fitted.steps[0].operations()
    assert (operations is not None) == (described["name"] in ("scale", "normalize", "mean_image"))
    if operations is not None:
        x = split.x.astype(np.float64)
        for how, value in operations:
            x = x - value if how == "subtract" else x / value
        assert_array_equal(x, fitted.apply(split.x, "float64"))


@pytest.mark.parametrize("described", STEPS[:-1], ids=name_of)
def test_weights_that_are_pulled_back_give_the_same_scores_but_for_a_constant(described: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    flat = Split(rng.normal(size=(40, 6)), np.zeros(40, dtype=np.int64))
    fitted = fit_preprocess([described], flat)
    after = fitted.apply(flat.x, "float64")
    weights = rng.normal(size=(5, after.shape[1]))
    difference = after @ weights.T - flat.x @ fitted.steps[0].pull_back(weights).T
    assert_allclose(difference, np.tile(difference[0], (40, 1)), atol=1e-10)


def test_before_the_first_pca_steps_are_left_alone() -> None:
    chain = [STEPS[0], STEPS[5], STEPS[1]]
    fitted = fit_preprocess(chain, samples())
    weights = np.random.default_rng(1).normal(size=(5, 4))
    found, components = fitted.before_pca(weights)
    assert components == 4
    assert_array_equal(found, fitted.steps[1].pull_back(fitted.steps[2].pull_back(weights)))
    unchanged, none = fit_preprocess(chain[:1], samples()).before_pca(weights)
    assert unchanged is weights
    assert none is None


def test_a_step_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no preprocessing is called 'sharpen'"):
        make_steps([{"name": "sharpen"}])


@pytest.mark.parametrize("size", [1e-300, 1e-19, 1.0, 1e15, 1e300])
def test_a_column_is_constant_by_its_own_size_not_by_its_unit(size: float) -> None:
    x = size * np.array([[1.0, 1.0, 3.0], [2.0, 1.0, 3.0], [1.0, 1.0, 3.0 * (1 + 2**-52)], [2.0, 1.0, 3.0]])
    preprocess = fit_preprocess([{"name": "normalize"}], Split(x, np.zeros(4, np.int64)))
    assert preprocess.notes == ("data.preprocess.0: 2 of 3 features are constant on train; their std is taken as 1",)
    np.testing.assert_allclose(preprocess.apply(x, "float64")[:, 0], [-1, 1, -1, 1])
    assert not preprocess.apply(x, "float64")[:, 1].any()


def test_whole_numbers_around_a_large_one_are_not_constant() -> None:
    x = 1e15 + np.array([[0.0], [1.0], [1.0], [0.0]])
    preprocess = fit_preprocess([{"name": "normalize"}], Split(x, np.zeros(4, np.int64)))
    assert preprocess.notes == ()
    np.testing.assert_array_equal(preprocess.apply(x)[:, 0], [-1, 1, 1, -1])


def test_a_large_constant_becomes_zero_whatever_its_sum_rounds() -> None:
    x = np.full((100_000, 2), [1.7e18 + 0.1, 0.1])
    preprocess = fit_preprocess([{"name": "normalize"}], Split(x, np.zeros(len(x), np.int64)))
    assert not preprocess.apply(x[:3], "float64").any()


def test_directions_without_variance_are_constant_after_pca() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)) @ np.random.default_rng(1).normal(size=(3, 6))
    preprocess = fit_preprocess(
        [{"name": "pca", "components": 5}, {"name": "normalize"}], Split(x, np.zeros(50, np.int64))
    )
    assert preprocess.notes == ("data.preprocess.1: 2 of 5 features are constant on train; their std is taken as 1",)


@pytest.mark.parametrize("size", [1e-200, 1e-19, 1e200])
def test_components_do_not_depend_on_the_unit_of_the_samples(size: float) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    steps = [{"name": "pca", "components": 0.9, "whiten": True}]
    found = [fit_preprocess(steps, Split(given, np.zeros(50, np.int64))) for given in (x, size * x)]
    assert_allclose(np.abs(found[1].apply(size * x, "float64")), np.abs(found[0].apply(x, "float64")), rtol=1e-9)


@pytest.mark.parametrize("components", [1, 0.9])
def test_samples_that_are_all_equal_have_no_components(components: int | float) -> None:
    with pytest.raises(ConfigError, match="all equal, so they have no components; leave pca out") as caught:
        fit_preprocess([{"name": "pca", "components": components}], Split(np.ones((9, 3)), np.zeros(9, np.int64)))
    assert caught.value.problems[0].path == "data.preprocess.0"
