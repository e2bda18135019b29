"""predict says where photos were shrunk, enlarged or made gray to fit a net that was trained on other images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlassign.config.data import Data, Digits, ImageFolder
from dlassign.data.image_pixels import Decoding
from dlassign.deploy.classifier import Intake
from dlassign.deploy.fitting import notes_of_fitting
from dlassign.deploy.sources import open_sources
from helpers.images import save


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A gray image of 8x8, a colour one of 40x32, one of 3x3 in colours, and one that cannot be read."""
    for name, shape in (("a", (8, 8)), ("b", (40, 32, 3)), ("c", (3, 3, 3))):
        (tmp_path / "new").mkdir(exist_ok=True)
        save(tmp_path / "new" / f"{name}.png", np.full(shape, 7, np.uint8))
    (tmp_path / "new" / "d.png").write_bytes(b"no image")
    return tmp_path / "new"


def notes(photos: Path, data: Data | None, *, channels: int = 1) -> list[str]:
    intake = Intake(shape=(channels, 8, 8), decoding=Decoding(size=(8, 8), grayscale=channels == 1))
    sources, _ = open_sources([str(photos)], intake=intake, classes=("x", "y"), labels="none", listed=())
    return notes_of_fitting(sources, data)


def test_each_reason_is_told_once_with_its_count(photos: Path) -> None:
    told = [
        f"note: 1 of 4 images is shrunk to 8x8 (height x width) to fit the net, such as {photos}/b.png (40x32, RGB)",
        f"note: 1 of 4 images is enlarged to 8x8 (height x width) to fit the net, such as {photos}/c.png (3x3, RGB)",
        f"note: 2 of 4 images are saved in colour, and made gray to fit the net, such as {photos}/b.png (40x32, RGB)",
    ]
    assert notes(photos, Digits(name="digits")) == told
    assert notes(photos, None) == told, "an exported net does not say what its images were"
    assert notes(photos, None, channels=3) == told[:2]


def test_what_the_images_of_training_went_through_as_well_is_not_told(photos: Path) -> None:
    folder = ImageFolder.model_validate({"name": "image_folder", "root": "r", "grayscale": True})
    assert len(notes(photos, folder)) == 2, "images of training had this size from the beginning"
    assert notes(photos, folder.model_copy(update={"size": (8, 8)})) == []


def test_images_that_fit_have_no_note(photos: Path) -> None:
    for name in "bcd":
        (photos / f"{name}.png").unlink()
    save(photos / "e.png", np.zeros((10, 12), np.uint8))
    assert notes(photos, Digits(name="digits")) == []
