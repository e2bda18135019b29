"""Preprocessing is fitted on train alone and applied to every split; its state brings the same numbers back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from dlassign.data import preprocess_chain
from dlassign.data.bundle import Dataset, Split
from dlassign.data.prepare import Preprocess, fit_preprocess, prepare, preprocessed_shape
from dlassign.errors import ConfigError, DataError

SCALE = {"name": "scale", "divisor": 255.0}
MEASURED = {"name": "normalize", "mean": None, "std": None}
MEAN_IMAGE = {"name": "mean_image"}
FLATTEN = {"name": "flatten"}


def pca(components: int | float, *, whiten: bool = False) -> dict[str, Any]:
    return {"name": "pca", "components": components, "whiten": whiten}


def given_normalize(*values: float) -> dict[str, Any]:
    return {"name": "normalize", "mean": values, "std": values}


@pytest.fixture
def images() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (60, 3, 4, 5), dtype=np.uint8), rng.integers(0, 2, 60))


def test_no_steps_only_convert(images: Split) -> None:
    x = Preprocess().apply(images.x, "float32")
    assert x.dtype == np.float32
    assert_array_equal(x, images.x)


def test_scale_is_the_rounded_quotient(images: Split) -> None:
    x = fit_preprocess([SCALE], images).apply(images.x, "float32")
    assert_array_equal(x, images.x.astype(np.float32) / np.float32(255))


def test_normalize_with_given_numbers(images: Split) -> None:
    step = {"name": "normalize", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.1, 0.5)}
    x = fit_preprocess([SCALE, step], images).apply(images.x, "float64")
    mean, std = (np.array(step[k])[:, None, None] for k in ("mean", "std"))
    assert_allclose(x, (images.x / 255 - mean) / std, rtol=1e-14)


def test_normalize_measures_each_channel(images: Split) -> None:
    fitted = fit_preprocess([SCALE, MEASURED], images)
    assert_allclose(fitted.state()[1]["mean"], (images.x / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    assert_allclose(fitted.state()[1]["std"], (images.x / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_normalize_measures_each_feature_of_flat_samples() -> None:
    x = np.random.default_rng(0).normal(3, 5, (50, 6))
    split = Split(x, np.zeros(50, dtype=np.int64))
    assert_allclose(fit_preprocess([MEASURED], split).apply(x, "float64"), StandardScaler().fit_transform(x))


def test_constant_features_are_not_divided_by_zero() -> None:
    x = np.random.default_rng(0).normal(size=(9, 3))
    x[:, 1] = 0.1
    fitted = fit_preprocess([MEASURED], Split(x, np.zeros(9, dtype=np.int64)))
    assert_allclose(fitted.apply(x, "float64")[:, 1], 0, atol=1e-15)
    assert fitted.notes == ("data.preprocess.0: 1 of 3 features are constant on train; their std is taken as 1",)


def test_mean_image(images: Split) -> None:
    fitted = fit_preprocess([MEAN_IMAGE], images)
    assert_array_equal(fitted.state()[0]["mean"], images.x.sum(axis=0) / 60)
    assert_allclose(fitted.apply(images.x, "float64"), images.x - images.x.mean(axis=0), atol=1e-12)


def test_flatten_goes_channel_by_channel(images: Split) -> None:
    assert_array_equal(fit_preprocess([FLATTEN], images).apply(images.x), images.x.reshape(60, 60))


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("components", [5, 0.9])
def test_pca_is_that_of_scikit_learn(components: int | float, whiten: bool) -> None:
    x = np.random.default_rng(0).normal(size=(50, 20)) @ np.diag(np.arange(1, 21))
    fitted = fit_preprocess([pca(components, whiten=whiten)], Split(x, np.zeros(50, dtype=np.int64)))
    oracle = PCA(components, whiten=whiten, svd_solver="full").fit_transform(x)
    found = fitted.apply(x, "float64")
    assert_allclose(found, oracle, atol=1e-9)
    assert_array_equal(
        found,
        fit_preprocess([pca(components, whiten=whiten)], Split(x, np.zeros(50, int))).apply(x, "float64"),
    )


def test_pca_flattens_and_takes_few_samples(images: Split) -> None:
    few = Split(images.x[:10], images.y[:10])
    x = fit_preprocess([SCALE, pca(4)], few).apply(few.x, "float64")
    oracle = PCA(4, svd_solver="full").fit_transform(few.x.reshape(10, -1) / 255)
    assert_allclose(x, oracle, atol=1e-9)


def test_whitening_leaves_directions_without_variance_alone() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[:, 2] = x[:, 0]
    fitted = fit_preprocess([pca(3, whiten=True)], Split(x, np.zeros(50, dtype=np.int64)))
    assert np.abs(fitted.apply(x, "float64")[:, 2]).max() < 1e-6
    assert "1 of 3 components have no variance" in fitted.notes[0]


def test_results_do_not_depend_on_chunks(images: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [SCALE, MEASURED, MEAN_IMAGE]
    whole = fit_preprocess(steps, images)
    alone = [whole.apply(images.x[i : i + 1]) for i in range(60)]
    assert_array_equal(whole.apply(images.x), np.concatenate(alone))
    monkeypatch.setattr(preprocess_chain, "CHUNK_VALUES", 100)
    assert_array_equal(fit_preprocess(steps, images).apply(images.x), whole.apply(images.x))


def test_only_train_is_measured_and_every_split_changed(images: Split) -> None:
    other = Split(images.x[:7] // 2, images.y[:7])
    dataset = Dataset(train=images, val=other, classes=("a", "b"), sha256="0", label="images", notes=("read",))
    prepared, fitted = prepare(dataset, [MEAN_IMAGE], dtype="float64")
    assert prepared.val is not None
    assert prepared.test is None
    assert prepared.notes == ("read",)
    assert_allclose(prepared.val.x, other.x - images.x.mean(axis=0), atol=1e-12)
    assert_array_equal(Preprocess.from_state(fitted.state()).apply(other.x, "float64"), prepared.val.x)
    assert dataset.train.x.dtype == np.uint8


def test_state_is_plain_and_restores_the_same_numbers(images: Split) -> None:
    fitted = fit_preprocess([SCALE, MEASURED, FLATTEN, pca(6, whiten=True)], images)
    state = fitted.state()
    assert [step["name"] for step in state] == ["scale", "normalize", "flatten", "pca"]
    assert {type(v) for step in state for v in step.values()} <= {str, float, np.ndarray}
    assert_array_equal(Preprocess.from_state(state).apply(images.x), fitted.apply(images.x))


def test_the_input_is_never_changed_or_shared() -> None:
    x = np.ones((4, 2))
    result = fit_preprocess([MEAN_IMAGE], Split(x, np.zeros(4, dtype=np.int64))).apply(x, "float64")
    assert_array_equal(x, np.ones((4, 2)))
    assert not np.shares_memory(x, result)


def test_other_samples_than_fitted_on(images: Split) -> None:
    with pytest.raises(
        DataError, match=r"mean_image was fitted on samples of shape \(3, 4, 5\), but these have \(3, 8"
    ):
        fit_preprocess([MEAN_IMAGE], images).apply(np.zeros((2, 3, 8, 8)))


@pytest.mark.parametrize(
    ("shape", "steps", "expected"),
    [
        ((3, 32, 32), [], (3, 32, 32)),
        ((3, 32, 32), [SCALE, MEASURED, MEAN_IMAGE], (3, 32, 32)),
        ((3, 32, 32), [FLATTEN], (3072,)),
        ((3, 32, 32), [pca(640)], (640,)),
        ((3, 32, 32), [pca(0.99)], None),
        ((3, 32, 32), [pca(0.99), pca(5)], (5,)),
        ((20,), [given_normalize(*range(1, 21))], (20,)),
    ],
)
def test_shape_without_data(shape: tuple[int, ...], steps: list[Any], expected: tuple[int, ...] | None) -> None:
    assert preprocessed_shape(shape, steps) == expected


@pytest.mark.parametrize(
    ("shape", "steps", "path", "message"),
    [
        ((1, 8, 8), [SCALE, given_normalize(1, 1, 1)], "1.mean", "3 values, but the samples have 1 channel;"),
        ((3, 8, 8), [FLATTEN, given_normalize(1, 1, 1)], "1.mean", "flat rows of 192 features"),
        ((3, 8, 8), [pca(193)], "0.components", "193 components of samples with 192 values"),
        ((4,), [pca(5)], "0.components", "5 components"),
    ],
)
def test_steps_that_do_not_fit(shape: tuple[int, ...], steps: list[Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preprocessed_shape(shape, steps)
    [problem] = caught.value.problems
    assert problem.path == f"data.preprocess.{path}"
    assert message in problem.message


def test_more_components_than_samples(images: Split) -> None:
    with pytest.raises(ConfigError, match="11 components of 10 training samples; give at most 10"):
        fit_preprocess([pca(11)], Split(images.x[:10], images.y[:10]))


def test_normalize_after_pca_by_variance(images: Split) -> None:
    with pytest.raises(ConfigError, match=r"data\.preprocess\.1\.mean: 1 values, but the samples are flat rows"):
        fit_preprocess([pca(0.9), given_normalize(1)], images)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_looking_pixels_up_gives_the_bits_of_arithmetic(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (700, 3, 9, 7), dtype=np.uint8)
    steps = [
        {"name": "scale", "divisor": 255.0},
        {"name": "normalize", "mean": [0.4, 0.5, 0.3], "std": [0.2, 0.25, 0.3]},
        {"name": "normalize", "mean": None, "std": None},
    ]
    train = Split(x, np.zeros(len(x), dtype=np.int64))
    looked_up = fit_preprocess(steps, train)
    found = looked_up.apply(x, dtype)
    monkeypatch.setattr(preprocess_chain, "_has_table", lambda x, steps: False)
    computed = fit_preprocess(steps, train)
    for key in ("mean", "std"):
        assert_allclose(looked_up.state()[2][key], computed.state()[2][key], rtol=1e-12, atol=1e-15)
    assert_array_equal(found, looked_up.apply(x, dtype))


@pytest.mark.parametrize(
    ("column", "lost"),
    [
        (2.0**24 + np.arange(40) % 2, True),
        (1e-60 * (1 + np.arange(40) % 2), True),
        (1e300 * (1 + np.arange(40) % 2), True),
        (1.7e9 + 1e6 * np.sin(np.arange(40)), False),
        (1e-30 * np.sin(np.arange(40)), False),
        (np.full(40, 0.1), False),
    ],
)
def test_what_float32_does_not_tell_apart_is_noted(column: Any, lost: bool) -> None:
    x = np.column_stack([np.arange(40.0), column])
    notes = Preprocess().checked_in_float32(x).notes
    assert [note.partition(" (")[0] for note in notes] == ["of features 1"] * lost
    normalized = fit_preprocess([{"name": "normalize"}], Split(x, np.zeros(40, np.int64)))
    assert normalized.checked_in_float32(x).notes == normalized.notes


@pytest.mark.parametrize(
    "steps", [[], [{"name": "normalize"}], [{"name": "mean_image"}], [{"name": "pca", "components": 1}]]
)
def test_numbers_too_large_to_compute_with_are_told(steps: list[dict[str, Any]]) -> None:
    """They warned of an overflow, and training ended with a loss that is not finite, as of a learning rate."""
    x = np.array([[1.0, 1e308], [2.0, -1.7e308], [3.0, 1.5e308], [4.0, 1.7e308]])
    split = Split(x, np.array([0, 1, 0, 1]))
    data = Dataset(train=split, classes=("a", "b"), sha256="", label="huge")
    with pytest.raises(DataError, match=r"has|have values up to 1\.7e\+308, so preprocessed samples are not finite"):
        prepare(data, steps)
