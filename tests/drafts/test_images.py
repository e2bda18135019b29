"""Configs that are fitted to folders of images: they load, fit what lies there, and train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlassign.checks.shapes import Fit, check_fit
from dlassign.config.data import ImageFolder
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.drafts.images import Look, choose, draft_images
from dlassign.errors import DataError
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from helpers.odd_photos import make_odd_photos

Place = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Put images of one size into some folders below `pets`; return `pets`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def make(*folders: str, n: int = 12, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> str:
        for folder in folders:
            Path("pets", folder).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                Image.new("RGB", size, (9, 20 * i, 30)).convert(mode).save(Path("pets", folder, f"{i}.png"))
        return "pets"

    return make


def drafted(root: str) -> tuple[RunConfig, Fit, list[str]]:
    """Write the draft, load it, check it as `dlassign check` does, and return what came of it."""
    text, seen = draft_images(root, file="pets.yaml")
    Path("pets.yaml").write_text(text)
    cfg = load_config("pets.yaml")
    assert isinstance(cfg.data, ImageFolder)
    return cfg, check_fit(cfg), seen


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (["cat", "dog"], (".", None, None)),
        (["Training/cat", "Training/dog"], ("Training", None, None)),
        (["train/cat", "train/dog", "test/cat", "test/dog"], ("train", None, "test")),
        (["train/cat", "train/dog", "valid/cat", "valid/dog"], ("train", "valid", None)),
        (["train/cat", "train/dog", "test/cat"], ("train", None, "test")),
        (["cat", "dog", "test/cat"], (".", None, "test")),
        (["train/cat", "train/dog", "val/cat", "val/dog", "test/cat", "test/dog"], ("train", "val", "test")),
        (["inner: a/cat", "inner: a/dog"], (".", None, None)),
    ],
)
def test_every_layout_has_three_parts(place: Place, folders: list[str], parts: tuple[str | None, ...]) -> None:
    cfg, fit, _ = drafted(place(*folders))
    data = cfg.data
    assert isinstance(data, ImageFolder)
    assert (data.train, data.val, data.test) == parts
    assert min(fit.info.n_train, fit.info.n_val, fit.info.n_test) > 0
    assert fit.info.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("folders", "why"),
    [
        (
            ["train/cat", "train/dog", "test/cat", "test/dog", "test/fox"],
            "pets/test is left out: it has the class fox, which pets/train lacks",
        ),
        (
            ["train/cat", "train/dog", "test/cat", "test/fox"],
            "pets/test is left out: it lacks the class dog of pets/train, and has the class fox, which",
        ),
        (
            ["cat", "dog", "test/fox"],
            "pets/test is read as a class: it lacks the classes cat, dog of pets, and has the",
        ),
        (["train/cat", "train/dog", "test"], "pets/test is left out: its images lie in no class folders"),
    ],
)
def test_a_part_of_other_classes_is_told_on_screen_and_in_the_config(
    place: Place, folders: list[str], why: str
) -> None:
    cfg, fit, seen = drafted(place(*folders))
    assert isinstance(cfg.data, ImageFolder)
    assert cfg.data.test is None
    assert ("test" in fit.info.classes) == ("read as a class" in why)
    [told] = [line for line in seen if line.startswith(why)]
    assert f"# {told}" in Path("pets.yaml").read_text().splitlines()


@pytest.mark.parametrize("n", [5, 6, 7, 8, 10, 16, 30, 43])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (28, 28), (200, 100)])
def test_any_number_and_size_passes_the_check(place: Place, n: int, size: tuple[int, int]) -> None:
    cfg, fit, _ = drafted(place("cat", "dog", n=n, size=size))
    assert fit.info.shape[1:] == tuple(max(1, round(side * min(1, 64 / max(size)))) for side in size[::-1])
    assert cfg.train.batch_size <= fit.info.n_train


def test_gray_images_are_read_gray_and_not_mirrored(place: Place) -> None:
    cfg, fit, seen = drafted(place("one", "two", mode="L"))
    assert fit.info.shape[0] == 1
    assert all(step.name != "flip" for step in cfg.data.augment)
    assert any("gray" in line for line in seen)


def test_large_sets_have_larger_batches_and_fewer_epochs() -> None:
    look = Look(sizes=((300, 400),), gray=False, bad=())
    small, large, huge = (choose(look, n_train=n) for n in (150, 5000, 100_000))
    assert small.batch_size < large.batch_size < huge.batch_size
    assert small.epochs > large.epochs >= huge.epochs
    assert (small.size, huge.size) == ((48, 64), (24, 32))


def test_odd_photos_are_looked_at_and_train(place: Place, tmp_path: Path) -> None:
    root = make_odd_photos(tmp_path / "pets", 60, side=20)
    (root / "apple" / "broken.jpg").write_bytes(b"no image")
    cfg, _, seen = drafted("pets")
    assert isinstance(cfg.data, ImageFolder)
    assert cfg.data.skip_bad
    assert cfg.data.fit == "crop"
    text = "\n".join(seen)
    assert "pets: 60 images of 3 classes (apple, banana, cherry), 20 of each" in text, "a broken file is no image"
    assert "cannot be read as images, and left out: pets/apple/broken.jpg" in text
    assert "1 image lies in pets itself, in no class folder, and was left out: stray.jpg" in text
    cfg = load_config("pets.yaml", ["train.epochs=1"])
    assert run_experiment(cfg, RunPaths(tmp_path / "run")).end is not None


def test_a_class_of_one_image_trains(place: Place, tmp_path: Path) -> None:
    place("cat", "dog", n=8)
    place("fox", n=1)
    cfg, fit, seen = drafted("pets")
    assert "1 to 8 of each" in seen[0]
    assert fit.info.n_classes == 3
    assert cfg.loss.class_weight == "balanced"  # type: ignore[union-attr]
    short = load_config("pets.yaml", ["train.epochs=1"])
    assert run_experiment(short, RunPaths(tmp_path / "run")).end is not None


def test_what_cannot_be_learnt_from_is_one_message(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"pets has no class folders; it must hold one folder for each class"):
        draft_images(place("."), file="pets.yaml")
    with pytest.raises(DataError, match=r"pets has 4 images to train on; give at least 10"):
        draft_images(place("cat", "dog", n=2), file="pets.yaml")
    monkeypatch.chdir("pets")
    with pytest.raises(DataError, match=r"would be taken for a class; .* `cd \.\.`, then `dlassign init pets`"):
        draft_images(".", file="pets.yaml")


def test_files_that_are_all_no_images(place: Place) -> None:
    for path in Path(place("cat", "dog")).rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 24 files in pets can be read as an image"):
        draft_images("pets", file="pets.yaml")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("train/dog", "pets/train/dog: none of its files can be read as an image; mend them, or take the class out"),
        ("test", "pets/test: none of its files can be read as an image; mend them, or move the folder away"),
    ],
)
def test_a_folder_whose_files_are_no_images_is_named(place: Place, folder: str, message: str) -> None:
    place("train/cat", "train/dog", "test/cat", "test/dog")
    for path in Path("pets", folder).rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=message):
        draft_images("pets", file="pets.yaml")


def test_a_camera_that_was_held_upright_counts_as_such(place: Place) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for path in list(Path(place("cat", "dog")).rglob("*.png")):
        Image.fromarray(np.zeros((30, 60, 3), np.uint8)).save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    cfg, _, _ = drafted("pets")
    assert isinstance(cfg.data, ImageFolder)
    assert cfg.data.size == (60, 30)
