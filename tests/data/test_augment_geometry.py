"""Where the rectangle of CutMix lies, and the shape of images after augmentation."""

from __future__ import annotations

import pytest

from dlassign.data.augment_geometry import check_augment, cut_box, resized_shape, shape_before_resize
from dlassign.errors import ConfigError


def test_the_box_has_the_area_unless_the_border_cuts_it() -> None:
    assert cut_box((32, 32), share=0.75, at=(0.5, 0.5)) == (8, 24, 8, 24)
    assert cut_box((32, 16), share=0.0, at=(0.5, 0.5)) == (0, 32, 0, 16)
    assert cut_box((32, 32), share=1.0, at=(0.1, 0.9)) == (3, 3, 28, 28)
    assert cut_box((32, 32), share=0.75, at=(0.0, 0.999)) == (0, 8, 23, 32)


def test_a_crop_decides_the_shape_of_what_follows() -> None:
    crop = {"name": "crop", "pixels": 0, "size": (4, 4), "padding": "zeros"}
    check_augment((3, 8, 8), [crop, {"name": "cutout", "size": 4}])
    assert shape_before_resize((3, 8, 8), [crop, {"name": "cutout", "size": 4}]) == (3, 4, 4)
    with pytest.raises(ConfigError, match="a square of 5 in an image of 4x4"):
        check_augment((3, 8, 8), [crop, {"name": "cutout", "size": 5}])


def test_proportions_stay() -> None:
    assert resized_shape((3, 32, 32), 20) == (3, 20, 20)
    assert resized_shape((1, 48, 32), 20) == (1, 30, 20)
    assert resized_shape((1, 2, 33), 1) == (1, 1, 16)


def test_sizes_are_those_of_the_cropped_image() -> None:
    crop = {"name": "crop", "pixels": 0, "size": (4, 4), "padding": "zeros"}
    with pytest.raises(ConfigError, match="5 is not smaller than the images, whose shorter side is 4") as caught:
        check_augment((3, 8, 8), [{"name": "resize", "sizes": (3, 5)}, crop])
    assert caught.value.problems[0].path == "data.augment.0.sizes.1"


def test_tables_have_no_images() -> None:
    check_augment((4,), ())
    with pytest.raises(ConfigError, match="rows of 4 values"):
        check_augment((4,), [{"name": "flip"}])
