"""What is measured on the training samples: the same from a table of pixel values as from arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from dlassign.data.preprocess_chain import TrainSamples, apply_steps, pixel_table
from dlassign.data.preprocess_steps import make_steps

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 4, 5), dtype=np.uint8)
SCALE = make_steps([{"name": "scale", "divisor": 4.0}])


def test_moments_of_bytes_are_those_of_the_same_floats() -> None:
    bytes_, floats = (TrainSamples(x, SCALE).moments() for x in (PIXELS, PIXELS.astype(np.float64)))
    assert_allclose(bytes_, floats, rtol=1e-12)
    assert_allclose(bytes_[0], (PIXELS / 4).mean(axis=(0, 2, 3)), rtol=1e-12)
    assert_allclose(bytes_[1], (PIXELS / 4).std(axis=(0, 2, 3)), rtol=1e-12)


def test_samples_as_a_step_meets_them() -> None:
    flat = TrainSamples(PIXELS, (*SCALE, *make_steps([{"name": "flatten"}])))
    assert flat.shape() == (60,)
    assert_array_equal(flat.rows(), (PIXELS / 4).reshape(30, 60))
    assert_array_equal(flat.mean_sample(), (PIXELS / 4).sum(axis=0).reshape(60) / 30)


def test_a_table_has_the_result_of_each_pixel_value() -> None:
    assert_array_equal(pixel_table(3, SCALE), np.repeat(np.arange(256.0)[:, None] / 4, 3, axis=1))
    assert_array_equal(apply_steps(PIXELS, SCALE, "float64"), PIXELS / 4)
