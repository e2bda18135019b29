"""Changed copies of training images: which they are, who gets them, and that a checkpoint brings them back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import TypeAdapter

from dlassign.config.data import Data
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data import preprocess_chain
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import describe
from dlassign.data.on_device import can_run
from dlassign.data.prepare import Preprocess, fit_preprocess, prepare, preprocessed_shape
from dlassign.data.preprocess_steps import make_steps
from dlassign.data.variants import AppendVariants, training_size
from dlassign.errors import ConfigError
from dlassign.store.paths import RunPaths
from dlassign.train.checkpoint import to_numpy, to_tensors
from dlassign.train.experiment import assemble, run_experiment

MEAN_IMAGE = {"name": "mean_image"}
APPEND = {"name": "append_variants", "seed": 10}
MEASURED = {"name": "normalize", "mean": None, "std": None}
FLATTEN = {"name": "flatten"}


@pytest.fixture
def images() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (60, 3, 4, 5), dtype=np.uint8), rng.integers(0, 2, 60))


def variants_of(image: np.ndarray) -> list[np.ndarray]:
    """The three copies that an image can have, by loops over its pixels."""
    channels, height, width = image.shape
    down, mirrored, faded = np.empty((3, *image.shape))
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                down[c, i, j] = image[c, height - 1 - i, j]
                mirrored[c, i, j] = image[c, i, width - 1 - j]
                faded[c, i, j] = 0.7 * image[c, i, j]
    return [down, mirrored, faded]


def which(copy: np.ndarray, image: np.ndarray) -> int:
    """Return which of its variants an image's copy is; fails if it is none, or several."""
    fits = [k for k, variant in enumerate(variants_of(image)) if np.allclose(copy, variant, rtol=1e-12)]
    assert len(fits) == 1
    return fits[0]


def test_each_image_is_there_and_a_changed_copy_of_it(images: Split) -> None:
    train = fit_preprocess([MEAN_IMAGE, APPEND], images).apply_to_train(images, "float64")
    assert len(train) == 120
    assert_array_equal(train.y, np.tile(images.y, 2))
    centred = images.x - images.x.mean(axis=0)
    assert_allclose(train.x[:60], centred, atol=1e-12)
    kinds = [which(copy, image) for copy, image in zip(train.x[60:], centred, strict=True)]
    assert_array_equal(kinds, AppendVariants(10).draw_kinds(60))


def test_kinds_are_drawn_evenly_and_by_the_seed_alone() -> None:
    assert_array_equal(AppendVariants(10).draw_kinds(3000), AppendVariants(10).draw_kinds(3000))
    assert np.any(AppendVariants(10).draw_kinds(3000) != AppendVariants(11).draw_kinds(3000))
    counts = Counter(AppendVariants(10).draw_kinds(3000).tolist())
    assert set(counts) == {0, 1, 2}
    assert max(abs(n - 1000) for n in counts.values()) < 4 * np.sqrt(3000 * 2 / 9)  # four standard errors


def test_later_steps_measure_on_the_originals_and_change_the_copies(images: Split) -> None:
    plain = fit_preprocess([MEAN_IMAGE, FLATTEN, {"name": "pca", "components": 4, "whiten": False}], images)
    steps = [MEAN_IMAGE, APPEND, FLATTEN, {"name": "pca", "components": 4, "whiten": False}]
    fitted = fit_preprocess(steps, images)
    assert_array_equal(fitted.state()[3]["components"], plain.state()[2]["components"])
    train = fitted.apply_to_train(images, "float64")
    assert_array_equal(train.x[:60], plain.apply(images.x, "float64"))
    centred = images.x - images.x.mean(axis=0)
    kinds = AppendVariants(10).draw_kinds(60)
    copies = np.stack([variants_of(image)[kind] for image, kind in zip(centred, kinds, strict=True)])
    expected = (copies.reshape(60, -1) - fitted.state()[3]["mean"]) @ fitted.state()[3]["components"].T
    assert_allclose(train.x[60:], expected, rtol=1e-9, atol=1e-9)


def test_only_train_is_doubled(images: Split) -> None:
    other = Split(images.x[:7], images.y[:7])
    dataset = Dataset(train=images, val=other, test=other, classes=("a", "b"), sha256="0", label="images")
    prepared, fitted = prepare(dataset, [MEAN_IMAGE, APPEND])
    assert prepared.val is not None
    assert prepared.test is not None
    assert [len(split) for split in (prepared.train, prepared.val, prepared.test)] == [120, 7, 7]
    assert_allclose(prepared.val.x, other.x - images.x.mean(axis=0), rtol=1e-6, atol=1e-5)
    assert_array_equal(fitted.apply(images.x), fit_preprocess([MEAN_IMAGE], images).apply(images.x))


def test_results_do_not_depend_on_chunks(images: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [APPEND, MEASURED]
    whole = fit_preprocess(steps, images).apply_to_train(images)
    monkeypatch.setattr(preprocess_chain, "CHUNK_VALUES", 7 * 60)
    assert_array_equal(fit_preprocess(steps, images).apply_to_train(images).x, whole.x)
    assert_array_equal(images.x, np.random.default_rng(0).integers(0, 256, (60, 3, 4, 5), dtype=np.uint8))


def test_a_checkpoint_brings_the_same_copies_back(images: Split) -> None:
    fitted = fit_preprocess([MEAN_IMAGE, APPEND], images)
    restored = Preprocess.from_state(to_numpy(to_tensors(fitted.state())))
    assert_array_equal(restored.apply_to_train(images).x, fitted.apply_to_train(images).x)


def test_sizes_are_known_without_data(images: Split) -> None:
    assert training_size(49_000, make_steps([MEAN_IMAGE, APPEND])) == 98_000
    assert training_size(49_000, make_steps([MEAN_IMAGE])) == 49_000
    info = describe(config("mean_image", "append_variants"))
    assert (info.n_train, info.n_val, info.n_test) == (98_000, 1000, 10_000)
    assert preprocessed_shape((3, 32, 32), [MEAN_IMAGE, APPEND]) == (3, 32, 32)
    assert not can_run(fit_preprocess([MEAN_IMAGE, APPEND], images).steps, np.uint8, (3, 32, 32))


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((3, 4, 5), [FLATTEN, APPEND], "data.preprocess.1: .* the samples are rows of 60 values; put append_variants"),
        ((20,), [APPEND], "data.preprocess.0: .* rows of 20 values"),
        (
            (3, 4, 5),
            [{"name": "pca", "components": 0.9}, APPEND],
            "data.preprocess.1: .* the samples are rows, or known only",
        ),
    ],
)
def test_rows_cannot_be_turned(shape: tuple[int, ...], steps: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preprocessed_shape(shape, steps)


def config(*names: str, **more: Any) -> Data:
    fields = {"name": "cifar10", "split": {"val": 1000}, "preprocess": [{"name": name} for name in names]}
    parsed: Data = TypeAdapter(Data).validate_python(fields | more)
    return parsed


def test_once_and_not_beside_augmentation() -> None:
    with pytest.raises(ValueError, match="append_variants stands twice; remove one"):
        config("append_variants", "append_variants")
    with pytest.raises(ValueError, match=r"append_variants and data\.augment do not go together"):
        config("append_variants", augment=[{"name": "flip"}])


RUN = """
name: copies
backend: {backend}
data:
  name: digits
  preprocess: [{{name: mean_image}}, {{name: append_variants}}]
model: {{name: mlp, hidden: [5]}}
optimizer: {{name: sgd, lr: 0.01}}
train: {{epochs: 1, batch_size: 500, evaluate: [train, val], log_every: {{steps: 1}}}}
"""


def run_config(tmp_path: Path, text: str, **values: str) -> RunConfig:
    (tmp_path / "config.yaml").write_text(text.format(**values))
    return load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_run_trains_on_both(backend: str, tmp_path: Path) -> None:
    cfg = run_config(tmp_path, RUN, backend=backend)
    records = run_experiment(cfg, RunPaths(tmp_path / "run"))
    dealt = 1797 - round(0.15 * 1797) - round(0.2 * 1797)
    assert records.start["data"]["n_train"] == 2 * dealt == describe(cfg.data).n_train
    assert sum(record["n"] for record in records.train) == 2 * dealt
    assert {record["split"]: record["n"] for record in records.evals if not record.get("final")} == {
        "train": 2 * dealt,
        "val": round(0.15 * 1797),
    }


def test_later_weights_start_without_the_copies(tmp_path: Path) -> None:
    run_experiment(run_config(tmp_path, RUN, backend="torch"), RunPaths(tmp_path / "first"))
    init = f"init: {{{{name: pretrained, weights: {tmp_path / 'first'}}}}}\n"
    text = RUN.replace("  preprocess: [{{name: mean_image}}, {{name: append_variants}}]\n", "") + init
    parts = assemble(run_config(tmp_path, text, backend="torch"), torch.device("cpu"))
    assert [step.name for step in parts.preprocess.steps] == ["mean_image"]
    assert len(parts.splits["train"]) == len(parts.dataset.train)
