"""load_model: what it takes, what it refuses, and that it predicts what the run predicts."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dlassign
from dlassign.data.load import load_dataset
from dlassign.deploy.export import export_run
from dlassign.deploy.from_run import own_scores
from dlassign.deploy.model import Model, load_model
from dlassign.errors import ConfigError, DataError, UserError
from dlassign.store.paths import RunPaths
from dlassign.train.saved import open_saved
from helpers.exporting import make_images, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run on 12x10 images of two classes, resized from 24x20."""
    root = tmp_path_factory.mktemp("run")
    make_images(root / "d", size=(24, 20))
    data = {"name": "image_folder", "root": str(root / "d"), "cache": str(root / "k"), "size": [12, 10]}
    return train(root / "name" / "r", {"data": data | {"split": {"val": 4}}, "train.batch_size": 8})


@pytest.fixture(scope="module")
def folder(run: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, tmp_path_factory.mktemp("out") / "model", kinds=[]).folder


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder)


@pytest.fixture
def files(run: RunPaths) -> list[Path]:
    return sorted((run.root.parents[1] / "d" / "test").rglob("*.png"), key=lambda path: (path.parent.name, path.stem))


def test_paths_pictures_and_arrays_are_the_same(model: Model, files: list[Path], run: RunPaths) -> None:
    pictures = [Image.open(file) for file in files]
    small = [np.asarray(image.resize((10, 12), Image.Resampling.BILINEAR)) for image in pictures]
    expected = model.predict_proba(files)
    assert expected.shape == (len(files), 2)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0)
    same: list[Any] = [tuple(map(str, files)), pictures, [np.asarray(image) for image in pictures], small]
    same += [np.stack(small), np.stack([np.asarray(image) for image in pictures])]
    for images in same:
        np.testing.assert_array_equal(model.predict_proba(images), expected)
    for one in (files[3], str(files[3]), pictures[3], small[3]):
        np.testing.assert_allclose(model.predict_proba(one), expected[3:4], rtol=1e-5)
    assert set(model.predict(files)) <= {"bright", "dark"}
    assert model.predict(files).tolist() == [model.labels[i] for i in expected.argmax(axis=1)]


def test_of_a_folder_and_of_its_run(model: Model, run: RunPaths) -> None:
    from dlassign.config.load import load_config

    test = load_dataset(load_config(run.config).data).test
    assert test is not None
    own = own_scores(open_saved(run))[0](test.x)
    np.testing.assert_allclose(model.scores(test.x), own, atol=1e-5)
    np.testing.assert_array_equal(load_model(str(run.root)).scores(test.x), model.scores(test.x))
    assert model.scores(test.x[:0]).shape == (0, 2)
    assert model.predict([]).tolist() == []


def test_grayscale_alpha_and_orientation_are_as_in_training(model: Model, tmp_path: Path, files: list[Path]) -> None:
    pixels = np.asarray(Image.open(files[0]))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    Image.merge("RGBA", (*Image.fromarray(pixels).split(), Image.new("L", (20, 24), 255))).save(tmp_path / "alpha.png")
    expected = model.predict_proba(files[0])
    for name in ("turned.png", "alpha.png"):
        np.testing.assert_array_equal(model.predict_proba(tmp_path / name), expected)
        np.testing.assert_array_equal(model.predict_proba(Image.open(tmp_path / name)), expected)
    gray = pixels[:, :, 0]
    as_colours = np.repeat(gray[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(model.predict_proba(gray), model.predict_proba(as_colours))


WRONG = {
    "from 0 to 1": (
        np.zeros((12, 10, 3), np.float32),
        r"uint8 from 0 to 255, and these are float32 \(0 to 1\).*\* 255",
    ),
    "floats of which some are not numbers": (
        np.full((12, 10, 3), np.nan),
        "these are float64, and some are not finite",
    ),
    "infinite": (np.full((12, 10, 3), np.inf, np.float32), "these are float32, and some are not finite"),
    "no pixels": (np.zeros((0, 0, 3), np.uint8), "an image of 0x0 .* has no pixels"),
    "no height": (np.zeros((0, 5, 3), np.uint8), "an image of 0x5 .* has no pixels"),
    "no width": (np.zeros((5, 0), np.uint8), "an image of 5x0 .* has no pixels"),
    "a picture without pixels": (Image.new("RGB", (0, 4)), "an image of 4x0 .* has no pixels"),
    "floats": (np.full((12, 10, 3), 7.0), r"these are float64 \(up to 7\)"),
    "whole numbers": (np.zeros((12, 10, 3), np.int64), "these are int64; if all values are from 0 to 255, give"),
    "channels first": (np.zeros((3, 12, 10), np.uint8), r"expected \(height, width, channels\).*trained on 12x10x3"),
    "no file": ("missing.png", "missing.png cannot be read as an image: there is no such file"),
    "a folder": (str(Path(__file__).parent), "deploy is a folder; give its files"),
    "no image": (__file__, r"test_model.py cannot be read as an image"),
    "normalised": (np.full((12, 10, 3), -0.5), "float64 from -0.5 to 0; preprocessing is part of the model"),
    "nothing": (None, "a NoneType is no image; give a path"),
}


@pytest.mark.parametrize(("images", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_image_is_refused_in_a_sentence(images: Any, message: str, model: Model) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(images)
    with pytest.raises(DataError, match=message):
        model.predict([images])


def test_tensors_and_arrays_of_paths_are_images_too(model: Model, files: list[Path]) -> None:
    pixels = np.asarray(Image.open(files[0]))
    expected = model.predict_proba(files)
    one = model.predict_proba(files[0])
    np.testing.assert_array_equal(model.predict_proba(torch.from_numpy(pixels.copy())), one)
    np.testing.assert_array_equal(model.predict_proba([torch.from_numpy(pixels.copy())]), one)
    np.testing.assert_array_equal(model.predict_proba(np.array(list(map(str, files)))), expected)
    with pytest.raises(DataError, match="float32"):
        model.predict(torch.zeros(12, 10, 3, dtype=torch.bfloat16))
    with pytest.raises(DataError, match="a dict is no image"):
        model.predict({"path": 1})  # type: ignore[arg-type,dict-item]


def test_a_module_in_training_mode_predicts_as_before(model: Model, files: list[Path]) -> None:
    expected = model.predict_proba(files)
    model.module.train()
    np.testing.assert_array_equal(model.predict_proba(files), expected)
    assert not any(module.training for module in model.module.modules())


def test_deep_pixels_that_training_did_not_have(model: Model, tmp_path: Path) -> None:
    Image.fromarray(np.full((24, 20), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="its pixels have more than 8 bits"):
        model.predict(tmp_path / "deep.png")


def test_the_message_says_which_of_a_list_is_no_image(model: Model, files: list[Path]) -> None:
    with pytest.raises(DataError, match=r"^image 2 \(counted from 0\): a float is no image"):
        model.predict([files[0], files[1], 0.5])


def test_digits_have_sixteen_levels(tmp_path: Path) -> None:
    run = train(tmp_path / "name" / "run")
    model = load_model(run.root)
    raw = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8)
    expected = model.predict_proba(list(raw))
    np.testing.assert_array_equal(model.predict_proba(raw[..., None]), expected)
    pictures = [Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)) for image in raw]
    np.testing.assert_array_equal(model.predict_proba(pictures), expected)
    with pytest.raises(DataError, match="pixels go up to 255; the model was trained on 0 to 16"):
        model.predict(np.full((8, 8), 255, np.uint8))


def test_rows_of_a_table(tmp_path: Path) -> None:
    run = train(
        tmp_path / "name" / "run",
        {"data": {"name": "toy"}, "model.norm": "none", "train": {"steps": 3, "order": "full"}},
    )
    model = load_model(run.root)
    rows = np.random.default_rng(0).normal(size=(6, 4))
    expected = model.predict_proba(rows)
    np.testing.assert_allclose(model.predict_proba(rows.tolist()), expected)
    np.testing.assert_allclose(model.predict_proba(rows[2].tolist()), expected[2:3])
    np.testing.assert_allclose(model.predict_proba(rows[2]), expected[2:3])
    with pytest.raises(DataError, match=r"a row has the shape \(3,\); the model takes rows of 4 numbers"):
        model.predict(rows[:, :3])
    with pytest.raises(DataError, match=r"table.csv is no row; give numbers, or read a table with `dlassign predict`"):
        model.predict("table.csv")
    with pytest.raises(DataError, match="a row is not made of numbers"):
        model.predict([["a", "b", "c", "d"]])


NO_ROWS: dict[str, tuple[Any, str]] = {
    "nan": ([np.nan, 1, 2, 3], r"value 0 of a row \(counted from 0\) is nan, not a finite number"),
    "inf": ([1.0, 2.0, -np.inf, 3.0], "value 2 of a row .* is -inf, not a finite number"),
    "not finite in float32": ([1, 1e300, 2, 3], r"value 1 \(counted from 0\) is 1e\+300, too large for the net"),
    "not finite in float64": (np.full(4, np.longdouble("1e400")), "is inf, not a finite number"),
    "a whole number of 400 digits": ([10**400, 1, 2, 3], "a row is not made of numbers"),
    "nothing": ([None] * 4, r"a row is not made of numbers \(it holds NoneType\)"),
    "a gap": ([1.0, None, 2.0, 3.0], r"it holds NoneType\)"),
    "texts": (["1"] * 4, r"it holds str_\)"),
    "times": (np.zeros(4, "datetime64[s]"), r"it holds datetime64\)"),
    "complex": (np.ones(4, complex), r"it holds complex128\)"),
}


@pytest.fixture(scope="module", params=["relu", "tanh"])
def of_rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of rows of 4 numbers; tanh makes finite scores of infinite numbers."""
    changes = {"data": {"name": "toy"}, "model.norm": "none", "train": {"steps": 3, "order": "full"}}
    run = train(tmp_path_factory.mktemp("toy") / "r", changes | {"model.activation": request.param})
    return load_model(run.root)


@pytest.mark.parametrize(("row", "message"), NO_ROWS.values(), ids=NO_ROWS)
def test_what_is_no_row_of_finite_numbers(row: Any, message: str, of_rows: Model) -> None:
    for rows in (row, [row], [[1.0, 2.0, 3.0, 4.0], row]):
        with pytest.raises(DataError, match=message):
            of_rows.predict(rows)


def test_a_row_that_overflows_in_the_net(of_rows: Model) -> None:
    model = deepcopy(of_rows)
    for weights in model.module.parameters():
        weights.data.fill_(3e38)
    with pytest.raises(DataError, match=r"value 2 \(counted from 0\) is 3e\+38, too large for the net"):
        model.predict([[1, 2, 3e38, 4]])


def test_numbers_of_other_kinds_are_numbers(of_rows: Model) -> None:
    expected = of_rows.predict_proba([[1.0, 2.0, 0.0, 1.0]])
    for row in ([Decimal(1), Fraction(2), False, 10**0], torch.tensor([[1.0, 2.0, 0.0, 1.0]]).numpy(), [1, 2, 0, True]):
        np.testing.assert_array_equal(of_rows.predict_proba(row), expected)


def test_cells_of_a_table_with_text(tmp_path: Path) -> None:
    rows = [f"{i % 7 or ''},{('red', 'blue')[i % 2]},{i % 2}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["age,colour,label", *rows]) + "\n")
    data = {"name": "csv_table", "path": str(tmp_path / "t.csv"), "columns": {"colour": "one_hot"}, "missing": "mean"}
    run = train(tmp_path / "name" / "run", {"data": data, "model.norm": "none", "train.batch_size": 10})
    (tmp_path / "t.csv").unlink()
    model, moved = load_model(run.root), load_model(export_run(run, tmp_path / "model", kinds=["hf"]).folder)
    assert moved.intake == model.intake
    assert moved.intake.table is not None
    cells = [{"age": 3, "colour": "red"}, {"colour": "blue", "age": None, "more": 1}, {"age": "NA", "colour": "pink"}]
    expected = moved.predict_proba(moved.intake.table.encode([["3", "red"], ["", "blue"], ["NA", "pink"]]))
    with pytest.warns(UserWarning, match="texts that train does not have: 'pink'"):
        np.testing.assert_array_equal(moved.predict_proba(cells), expected)
    # A row alone is multiplied as a vector, which may give other last bits than beside other rows.
    alone = moved.predict_proba(moved.intake.table.encode([["3", "red"]]))
    np.testing.assert_array_equal(model.predict_proba(cells[0]), alone)
    for row, message in (
        ({"age": 3}, "the row lacks columns that the model takes: 'colour'"),
        ({"age": 1e300, "colour": "red"}, r"feature 'age' is 1e\+300, too large for the net"),
        ({"age": "old", "colour": "red"}, "column 'age' is 'old', not a finite number"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(row)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "\nAn mlp that tells 2 classes apart" in card
    assert "preprocessor_config.json says: age, colour=blue, colour=red" in card


@pytest.mark.gpu
def test_on_a_gpu(folder: Path, model: Model) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 12, 10)).astype(np.uint8)
    allowed = torch.backends.cudnn.allow_tf32
    found = load_model(folder, device="cuda").scores(x)
    np.testing.assert_allclose(found, model.scores(x), rtol=1e-4, atol=1e-4)
    assert torch.backends.cudnn.allow_tf32 == allowed


def test_no_such_place_and_no_such_device(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cuda:7 is not there"):
        load_model(folder, device="cuda:7")
    for name in ("xpu9", "meta", "gpu", "cuda:", "cuda:-1", ""):
        with pytest.raises(ConfigError, match=f"'{name}' is no device; expected auto, cpu, cuda or cuda:N"):
            load_model(folder, device=name)


def test_the_package_fetches_it_lazily(folder: Path) -> None:
    assert dlassign.load_model is load_model
    assert not hasattr(dlassign, "no_such_name")
    line = "import dlassign, sys; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules), sorted(sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], check=False).returncode == 0
