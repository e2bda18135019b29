"""What an export writes computes what the run computes, or nothing is written."""

from __future__ import annotations

import errno
import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlassign.config.load import load_config
from dlassign.data.load import load_dataset
from dlassign.deploy import export, onnx_file
from dlassign.deploy.classifier import probabilities
from dlassign.deploy.export import export_run
from dlassign.deploy.from_run import own_scores
from dlassign.deploy.model import load_model
from dlassign.deploy.model_folder import ModelFolder
from dlassign.errors import DataError, UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.train.saved import open_saved, open_split
from helpers.exporting import make_images, make_pictures, predict_onnx, train

BASE = ["config.json", "labels.txt", "model.safetensors", "parity.json", "preprocessor_config.json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return train(tmp_path_factory.mktemp("run") / "name" / "01234567-s0")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_weights_and_configs_are_always_written(run: RunPaths, tmp_path: Path) -> None:
    done = export_run(run, tmp_path / "deep" / "model", kinds=["safetensors"])
    assert names(tmp_path / "deep") == ["model"]
    assert names(done.folder) == list(done.files) == BASE
    assert (done.folder / "labels.txt").read_text().split() == list("0123456789")
    config = json.loads((done.folder / "config.json").read_text())
    assert config["id2label"]["7"] == "7"
    assert config["run"]["folder"] == "name/01234567-s0"
    assert config["run"]["results"]["test"]["n"] == 60
    [(name, found)] = done.parity.files.items()
    assert (name, found.samples, found.largest) == ("model.safetensors", 4 * 10 + 256, 0.0)
    parity = json.loads((done.folder / "parity.json").read_text())
    assert parity["contents"] == ["real", "random", "all 0", "all 16", "mixed"]
    assert parity["real_samples"] == "the first of the val split of digits"


def test_an_empty_folder_is_no_obstacle(run: RunPaths, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert names(export_run(run, tmp_path / "model", kinds=[]).folder) == BASE


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_is_there_stays(what: str, run: RunPaths, tmp_path: Path) -> None:
    out = tmp_path / "model"
    if what == "link":
        out.symlink_to("nowhere")
    else:
        out.mkdir() if what == "folder" else out.write_text("mine")
        (out / "mine").touch() if what == "folder" else None
    with pytest.raises(UserError, match="model exists already; give another --out, or move it away"):
        export_run(run, out, kinds=[])
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "parity.json", "README.md"])
def test_a_full_disk_leaves_nothing(file: str, run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name.endswith(f"-{file}"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"^cannot write {tmp_path}/model/{file}: no space left on the disk"):
        export_run(run, tmp_path / "model", kinds=["hf"])
    assert not names(tmp_path)


def test_what_a_killed_export_left_goes(run: RunPaths, tmp_path: Path) -> None:
    ended = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(ended, 0)
    left, alive = tmp_path / f".tmp-{ended}-ab-model", tmp_path / f".tmp-{os.getpid()}-cd-model"
    for folder in (left, alive):
        (folder / "inner").mkdir(parents=True)
    export_run(run, tmp_path / "model", kinds=[])
    assert names(tmp_path) == [alive.name, "model"]


def test_a_file_that_computes_something_else_is_not_written(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(export.Model):
        def scores(self, x: Any) -> Any:
            return super().scores(x) + np.where(len(x) == 7, 0.01, 0.0)

    monkeypatch.setattr(export, "Model", Wrong)
    with pytest.raises(
        UserError, match=r"model.safetensors does not compute what the run computes: on a batch of 7 \("
    ):
        export_run(run, tmp_path / "model", kinds=[])
    assert not names(tmp_path)


def test_the_last_weights(tmp_path: Path) -> None:
    changes = {"train": {"steps": 24, "batch_size": 40, "eval_every": {"steps": 8}, "metric": "loss"}}
    changes["train"]["keep_checkpoints"] = "all"
    changes["schedule"] = {"name": "multistep", "milestones": [{"steps": 8}], "gamma": 100.0}
    run = train(tmp_path / "run", changes)
    facts = {}
    for weights in ("best", "last"):
        folder = export_run(run, tmp_path / weights, kinds=["hf"], weights=weights).folder
        facts[weights] = json.loads((folder / "config.json").read_text())["run"]
    assert (facts["best"]["step"], facts["last"]["step"]) == (8, 24)
    # The results of the log are those of the best weights.
    assert facts["best"]["results"]
    assert not facts["last"]["results"]
    assert "model-index" not in (tmp_path / "last" / "README.md").read_text()


def test_averaged_weights_leave_the_run(tmp_path: Path) -> None:
    """Those that the run was measured with, and not those that were trained."""
    run = train(tmp_path / "run", {"train.average": {"name": "ema", "decay": 0.9}})
    folder = export_run(run, tmp_path / "model", kinds=[]).folder
    test = load_dataset(load_config(run.config).data).test
    assert test is not None
    final = read_records(run.log).finals["test"]
    assert (load_model(folder).scores(test.x).argmax(1) == test.y).mean() == final["accuracy"]


def test_an_export_is_compared_with_the_scores_of_evaluate(run: RunPaths) -> None:
    opened = open_split(open_saved(run), "test")
    scores, how = own_scores(open_saved(run))
    np.testing.assert_array_equal(scores(opened.samples.x), opened.scores())
    assert how == "the run's own net in fp32 on the CPU"


def test_an_edited_config_is_refused(run: RunPaths, tmp_path: Path) -> None:
    edited = RunPaths(tmp_path / "run")
    shutil.copytree(run.root, edited.root)
    edited.config.write_text(edited.config.read_text().replace("dropout: 0.1", "dropout: 0.2"))
    with pytest.raises(UserError, match="has been edited since the run was trained"):
        export_run(edited, tmp_path / "model", kinds=[])
    assert names(tmp_path) == ["run"]


def test_a_run_without_weights(run: RunPaths, tmp_path: Path) -> None:
    bare = RunPaths(tmp_path / "bare")
    bare.root.mkdir()
    for path in (run.log, run.config):
        (bare.root / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="has no checkpoint yet"):
        export_run(bare, tmp_path / "model", kinds=[])
    assert names(tmp_path) == ["bare"]


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    from dlassign.train.checkpoint import CheckpointStore, load_checkpoint

    state = load_checkpoint(run.best)
    next(iter(state["weights"].values())).fill_(torch.nan)
    CheckpointStore(run).save_best(state, step=state["step"])
    with pytest.raises(UserError, match="are not finite numbers: training diverged"):
        export_run(run, tmp_path / "model", kinds=[])


def test_statistics_of_the_batch_cannot_leave_the_run(tmp_path: Path) -> None:
    run = train(tmp_path / "run", {"model.norm": "batch_without_running"})
    with pytest.raises(UserError, match=r"\(norm1: BatchNorm1d\), so what it says of one sample depends on the others"):
        export_run(run, tmp_path / "model", kinds=[])


def test_without_the_data(tmp_path: Path) -> None:
    make_images(tmp_path / "d", size=(8, 8))
    data = {"name": "image_folder", "root": str(tmp_path / "d"), "cache": str(tmp_path / "k"), "split": {"val": 4}}
    run = train(tmp_path / "run", {"data": data, "train.batch_size": 8})
    (tmp_path / "d").rename(tmp_path / "moved")
    done = export_run(run, tmp_path / "model", kinds=["hf"])
    [note] = done.notes
    assert note.startswith("note: no real samples are compared, for the run's data is not there or has changed; ")
    assert done.parity.real == "none: the run's data was not there, or had changed"
    for file in done.folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
    assert done.parity.contents == ("random", "all 0", "all 255", "mixed")
    there = (f"data.root={tmp_path / 'moved'}",)
    assert export_run(run, tmp_path / "again", kinds=[], overrides=there).parity.contents[0] == "real"
    with pytest.raises(DataError, match=r"data\.root"):
        export_run(run, tmp_path / "third", kinds=[], overrides=("data.root=elsewhere",))


def test_onnx_that_is_not_installed(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("no_such_package",))
    message = r"for ONNX no_such_package is missing: pip install 'dlassign\[export\]'"
    with pytest.raises(UserError, match=message):
        export_run(run, tmp_path / "model", kinds=["onnx"])
    assert export.installed_kinds() == ("safetensors", "pt2", "hf")
    assert not names(tmp_path)


def same(scores: Any, expected: Any) -> None:
    """Both predict the same, but for ties, with scores within 1e-4."""
    np.testing.assert_array_less(np.abs(scores - expected), 1e-4 * np.maximum(1, np.abs(expected)))
    differ = scores.argmax(1) != expected.argmax(1)
    top = np.sort(expected[differ], axis=1)
    assert (top[:, -1] - top[:, -2] < 2e-4 * np.maximum(1, np.abs(top[:, -1]))).all()


NETS: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [12, 8], "norm": "batch", "activation": "gelu", "dropout": 0.2},
    "mlp_layer": {"name": "mlp", "hidden": [12], "norm": "layer", "activation": "elu"},
    "mlp_layer_manual": {"name": "mlp", "hidden": [12], "norm": "layer_manual", "activation": "tanh"},
    "mlp_layer_autograd": {"name": "mlp", "hidden": [12], "norm": "layer_autograd", "activation": "silu"},
    "mlp_from_zero": {
        "name": "mlp",
        "hidden": [12],
        "norm": "batch_from_zero",
        "dropout": 0.2,
        "dropout_scale": "evaluation",
        "activation": "leaky_relu",
    },
    "linear": {"name": "mlp", "hidden": []},
    "eecs_convnet": {"name": "eecs_convnet", "filters": 4, "norm": "batch", "dropout": 0.1},
    "eecs_cifar_base": {"name": "eecs_cifar_base"},
    "eecs_cifar_improved": {"name": "eecs_cifar_improved"},
    "vgg": {"name": "vgg", "stages": [[4], [8, 8]], "hidden": [10], "dropout": 0.2},
    "vgg_avg": {"name": "vgg", "stages": [[4], [8]], "pool": "avg", "global_pool": "avg", "norm": "none"},
    "preact_resnet": {"name": "preact_resnet", "widths": [4, 8], "blocks": [1, 1]},
    "resnet18": {"name": "resnet18", "stem": "cifar"},
    "resnet18_resized": {"name": "resnet18", "resize": 40, "dropout": 0.1},
    "resnet50": {"name": "resnet50"},
    "whitened_cnn": {"name": "whitened_cnn", "widths": [8, 8], "depths": [1, 2]},
}
STEPS: dict[str, list[dict[str, Any]]] = {
    "mlp": [{"name": "scale"}, {"name": "mean_image"}, {"name": "pca", "components": 10, "whiten": True}],
    "mlp_layer": [{"name": "flatten"}, {"name": "normalize"}, {"name": "pca", "components": 0.5}],
    "resnet18": [{"name": "normalize"}, {"name": "append_variants"}],
    "vgg": [{"name": "mean_image"}, {"name": "normalize"}],
}


def exported(net: str, precision: str, tmp_path: Path, *, backend: str = "torch") -> None:
    """Train a net for three steps, export it, and classify with predict_onnx.py."""
    # Larger than the net takes, so that both resize.
    files = make_images(tmp_path / "d", size=(40, 36))[::3]
    data = {"name": "image_folder", "root": str(tmp_path / "d"), "cache": str(tmp_path / "k"), "size": [32, 32]}
    data |= {"split": {"val": 6}, "preprocess": STEPS.get(net, [{"name": "normalize"}])}
    changes = {"data": data, "model": NETS[net], "backend": backend}
    changes["train"] = {"steps": 3, "batch_size": 8, "precision": precision}
    run = train(tmp_path / "run", changes)
    done = export_run(run, tmp_path / "model")
    assert names(done.folder) == sorted([*BASE, "README.md", "model.onnx", "model.pt2", "predict_onnx.py"])
    dataset = load_dataset(load_config(run.config).data)
    own, how = own_scores(open_saved(run))
    assert ("training was in bf16" in how) == (precision == "bf16")
    expected = own(dataset.test.x)[::3]  # files lie in the order of the classes, then of the names
    scores, rows = predict_onnx(done.folder, files, tmp_path)
    same(scores, expected)
    labels = ["bright", "dark"]
    assert [row[:2] for row in rows] == [
        [str(file), labels[i]] for file, i in zip(files, scores.argmax(1), strict=True)
    ]
    same(load_model(done.folder).scores(dataset.test.x), own(dataset.test.x))


@pytest.mark.extra
@pytest.mark.parametrize(
    ("net", "precision"),
    # Norms with statistics or gradients of their own compute in the precision of the weights.
    [(net, precision) for net in NETS for precision in ("fp32", "bf16") if precision == "fp32" or "layer_" not in net],
)
def test_every_family(net: str, precision: str, tmp_path: Path) -> None:
    exported(net, precision, tmp_path)


@pytest.mark.extra
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("gray", [False, True])
def test_pictures_of_all_kinds_are_decoded_as_in_training(fit: str, gray: bool, tmp_path: Path) -> None:
    make_images(tmp_path / "d", size=(20, 30))
    data = {"name": "image_folder", "root": str(tmp_path / "d"), "cache": str(tmp_path / "k"), "size": [12, 10]}
    data |= {"split": {"val": 4}, "grayscale": gray, "fit": fit, "background": "#204060", "bits": 12}
    run = train(tmp_path / "run", {"data": data, "train.batch_size": 8})
    folder = export_run(run, tmp_path / "model", kinds=["onnx"]).folder
    files = make_pictures(tmp_path)
    scores, rows = predict_onnx(folder, files, tmp_path)
    model = load_model(folder)
    odds = model.predict_proba(files)
    assert [row[1] for row in rows] == model.predict(files).tolist()
    np.testing.assert_allclose(probabilities(scores), odds, atol=1e-5)
    np.testing.assert_array_equal(load_model(run.root).predict_proba(files), odds)


@pytest.mark.extra
@pytest.mark.parametrize("net", ["mlp", "mlp_from_zero", "eecs_convnet"])
def test_numpy_networks(net: str, tmp_path: Path) -> None:
    exported(net, "fp32", tmp_path, backend="numpy")


@pytest.mark.extra
@pytest.mark.parametrize("loss", ["hinge", "logistic"])
def test_a_table_with_a_single_score(loss: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(5, [1, 100, 1e-3], (100, 3))
    y = (rows[:, 0] > 5).astype(int)
    lines = [",".join([*map(repr, map(float, row)), "ab"[label]]) for row, label in zip(rows, y, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["p,q,r,label", *lines]))
    data = {"name": "csv_table", "path": str(tmp_path / "table.csv"), "preprocess": [{"name": "normalize"}]}
    run = train(tmp_path / "run", {"data": data, "loss": {"name": loss}, "model": {"name": "mlp", "hidden": []}})
    folder = export_run(run, tmp_path / "model").folder
    np.savetxt(tmp_path / "new.csv", rows, delimiter=",", fmt="%.17g")
    scores, found = predict_onnx(folder, [tmp_path / "new.csv"], tmp_path)
    same(scores, own_scores(open_saved(run))[0](rows))
    assert not scores[:, 0].any()
    assert [row[1] for row in found] == load_model(folder).predict(rows).tolist()


@pytest.mark.extra
def test_onnx_of_a_small_net_and_what_its_script_cannot_read(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = export_run(run, tmp_path / "model", kinds=["onnx"])
    assert done.parity.files["model.onnx"].relative <= 1e-4
    assert names(done.folder) == sorted([*BASE, "model.onnx", "predict_onnx.py"])
    good, table = tmp_path / "good.png", tmp_path / "t.csv"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(good)
    table.write_text("a,b\n1,2\n")
    for files, code in (([table, tmp_path / "none.png", good], 1), ([], 2)):
        monkeypatch.setattr(sys, "argv", ["predict_onnx.py", *map(str, files)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(done.folder / "predict_onnx.py"), run_name="__main__")
        assert stopped.value.code == code
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [(row[0], bool(row[1])) for row in rows] == [(str(file), file == good) for file in files]
        if rows:
            assert rows[0][3].startswith("cannot identify image file")


def test_the_program_of_torch(run: RunPaths, tmp_path: Path) -> None:
    done = export_run(run, tmp_path / "model", kinds=["pt2"])
    kept = {"labels": "", "preprocessing": ""}
    program = torch.export.load(ModelFolder(done.folder).pt2, extra_files=kept)
    assert json.loads(kept["labels"]) == list("0123456789")
    assert program.module()(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)


@pytest.mark.extra
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("config", ["mnist_mlp.yaml", "fast/cifar10_82.yaml"])
def test_a_thousand_real_images(config: str, real_data: Path, tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "configs" / config
    data = ["data.name=image_folder", f"data.root={real_data / 'cifar10-jpeg'}", f"data.cache={tmp_path}"]
    data = [f"data.root={real_data}"] if "mnist" in config else data
    cfg = load_config(file, [*data, "data.augment=[]", "train.epochs=null", "train.steps=150", "train.precision=fp32"])
    from dlassign.train.experiment import run_experiment

    run = RunPaths(tmp_path / "run")
    run_experiment(cfg, run)
    folder = export_run(run, tmp_path / "model").folder
    test = load_dataset(cfg.data).test
    assert test is not None
    chosen = np.random.default_rng(0).permutation(len(test))[:1000]
    x, y = test.x[chosen], test.y[chosen]
    expected = own_scores(open_saved(run))[0](x)
    for scores_of in (onnx_file.OnnxScores(folder / "model.onnx"), load_model(folder).scores):
        scores = scores_of(x)
        same(scores, expected)
        assert (scores.argmax(1) == y).mean() == (expected.argmax(1) == y).mean()
    assert (expected.argmax(1) == y).mean() > 0.4
