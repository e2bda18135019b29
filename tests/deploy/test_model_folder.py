"""A model folder is read as it was written, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dlassign.deploy.export import export_run
from dlassign.deploy.from_run import trained_of
from dlassign.deploy.model_folder import ModelFolder, _sealed, read_model, write_model
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.train.saved import open_saved
from helpers.exporting import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    steps = [{"name": "normalize"}, {"name": "mean_image"}, {"name": "pca", "components": 7, "whiten": True}]
    return train(tmp_path_factory.mktemp("run") / "r", {"data.preprocess": steps})


@pytest.fixture(scope="module")
def whole(run: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, tmp_path_factory.mktemp("out") / "model", kinds=[]).folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> ModelFolder:
    return ModelFolder(shutil.copytree(whole, tmp_path / "model"))


def test_what_is_read_is_what_was_written(run: RunPaths, tmp_path: Path) -> None:
    folder, trained = ModelFolder(tmp_path), trained_of(open_saved(run))
    write_model(folder, trained)
    found = read_model(folder)
    assert (found.architecture, found.labels, found.intake) == (trained.architecture, trained.labels, trained.intake)
    assert (found.n_outputs, found.facts) == (trained.n_outputs, trained.facts)
    assert {name: tensor.tolist() for name, tensor in found.weights.items()} == {
        name: tensor.tolist() for name, tensor in trained.weights.items()
    }
    x = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
    # Every bit: preprocessing is written as text.
    np.testing.assert_array_equal(found.preprocess.apply(x, "float64"), trained.preprocess.apply(x, "float64"))


def test_the_graph_prepares_as_the_run_does(run: RunPaths) -> None:
    trained = trained_of(open_saved(run))
    x = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
    with torch.no_grad():
        found = trained.graph().preprocess(torch.from_numpy(x).double()).float().numpy()
    np.testing.assert_allclose(found, trained.preprocess.apply(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_file_is_missing(name: str, folder: ModelFolder) -> None:
    (folder.root / name).unlink()
    with pytest.raises(UserError, match=rf"^there is no .*{name}; the folder of a model holds config\.json, prepro"):
        read_model(folder)


def test_weights_that_were_changed(folder: ModelFolder) -> None:
    weights = load_file(folder.weights)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, folder.weights)
    with pytest.raises(UserError, match=r"model\.safetensors is not the file that was exported \(its SHA-256"):
        read_model(folder)


def change(folder: ModelFolder, edit: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(folder.config.read_text())
    edit(values)
    folder.config.write_text(json.dumps(values))


def test_labels_in_another_order(folder: ModelFolder) -> None:
    change(folder, lambda values: values["label_names"].reverse())
    with pytest.raises(UserError, match=r"config\.json is not as it was exported \(its digest is another\)"):
        read_model(folder)


def test_a_newer_version(folder: ModelFolder) -> None:
    change(folder, lambda values: values.update(format=2, dlassign_version="9.1", model=None))
    message = r"has format 2, written by dlassign 9\.1; this is dlassign .*formats up to 1: update dlassign"
    with pytest.raises(UserError, match=message):
        read_model(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is no config of a model that dlassign exported"),
        ('{"model_type": "vit"}', "it has no `format`"),
        ('{"format": 1}', "is damaged .model: is missing"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_another_config(text: str, message: str, folder: ModelFolder) -> None:
    folder.config.write_text(text)
    with pytest.raises(UserError, match=message):
        read_model(folder)


def test_any_flipped_byte_is_told(folder: ModelFolder) -> None:
    rng = np.random.default_rng(0)
    for path in (folder.config, folder.preprocessor, folder.weights):
        content = path.read_bytes()
        for place in rng.integers(0, len(content), 40):
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with pytest.raises(UserError):
                read_model(folder)
        path.write_bytes(content)
    assert read_model(folder)


def forge(folder: ModelFolder, where: str, value: Any) -> None:
    """Change one value, such as `input.shape` of the config or `steps.0.mean`, and seal the folder again."""
    config, preprocessor = json.loads(folder.config.read_text()), json.loads(folder.preprocessor.read_text())
    config.pop("sha256")
    *path, last = where.split(".")
    found: Any = preprocessor if path and path[0] in ("decoding", "steps") else config
    for key in path:
        found = found[int(key) if key.isdigit() else key]
    found[last] = value
    folder.preprocessor.write_text(json.dumps(preprocessor))
    config["files"][folder.preprocessor.name] = hashlib.sha256(folder.preprocessor.read_bytes()).hexdigest()
    folder.config.write_text(_sealed(config))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *(("label_names", names) for names in ([], ["a", "b"], ["a"] * 10, list("abcdefghijk"))),
        *(("input.shape", shape) for shape in ([1, -8, -8], [1, 10**6, 10**6], [1, 0, 8], [8, 8], [])),
        *(("input.white", white) for white in (0, -3, 256)),
        *(("decoding.size", size) for size in (None, [9, 8], [8])),
        *(("steps.0.mean", mean) for mean in ("x", [float("nan")], None)),
        ("steps.0.std", [0.0]),
        ("decoding.fit", "zzz"),
        ("decoding.background", [1]),
        ("decoding.background", [1, 2, 300]),
        ("model.hidden", [10**9]),
        ("num_scores", 0),
    ],
)
def test_a_sealed_folder_with_values_that_no_export_writes(where: str, value: Any, folder: ModelFolder) -> None:
    forge(folder, where, value)
    with pytest.raises(UserError, match="is damaged"):
        read_model(folder)


@pytest.mark.parametrize("number", [0, -5, True, 1.0])
def test_a_format_that_never_was(number: Any, folder: ModelFolder) -> None:
    forge(folder, "format", number)
    with pytest.raises(UserError, match="it has no `format`"):
        read_model(folder)


def test_weights_of_whole_numbers(folder: ModelFolder) -> None:
    save_file({name: tensor.int() for name, tensor in load_file(folder.weights).items()}, folder.weights)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder.weights, folder.preprocessor)
    }
    forge(folder, "files", digests)
    with pytest.raises(UserError, match=r"is damaged \(.* is torch.int32\)"):
        read_model(folder)
