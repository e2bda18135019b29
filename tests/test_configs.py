"""Every config that is shipped loads, has a header, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.augment import Resize
from dlassign.config.data import PCA, CSVTable
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.config.transfer import PretrainedInit
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import describe
from dlassign.deploy.classifier import classifier_of_run, two_columns
from dlassign.deploy.predict import Tally, predictions
from dlassign.deploy.sources import Chunk
from dlassign.store.paths import RunPaths
from dlassign.train import experiment
from dlassign.train import saved as saved_weights
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import open_saved, open_split

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(file for file in CONFIGS.rglob("*.yaml") if file.parent.name not in ("sweeps", "tables"))


def relative(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


def random_data(cfg: RunConfig) -> Dataset:
    """Random samples of the shape and classes that the config's data has, as few as it can do with."""
    info = describe(cfg.data)
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        n = min(n, max(40, cfg.train.batch_size))
        x = (
            rng.integers(0, 256, (n, *info.shape), dtype=np.uint8)
            if len(info.shape) == 3
            else rng.random((n, *info.shape))
        )
        return Split(x, rng.integers(0, info.n_classes, n))

    val, test = (split(n) if n else None for n in (info.n_val, info.n_test))
    return Dataset(train=split(info.n_train), val=val, test=test, classes=info.classes, sha256="0" * 64, label="random")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the table of EECS 598: 1,000 rows of 20 features and a label."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rng = np.random.default_rng(0)
    rows = [",".join([*map("{:.3f}".format, rng.random(20)), str(rng.integers(2))]) for _ in range(1000)]
    path.write_text("\n".join([",".join([*(f"x{i}" for i in range(20)), "label"]), *rows]))
    return path


def load(file: Path, table: Path, overrides: list[str] | None = None) -> RunConfig:
    """Load a config whose table, if it has one, is the stand-in."""
    cfg = load_config(file, overrides or [])
    return load_config(file, [*(overrides or []), f"data.path={table}"]) if isinstance(cfg.data, CSVTable) else cfg


def test_there_are_configs() -> None:
    names = {"quickstart.yaml", "mnist_mlp.yaml", "cifar10_mlp.yaml", "toy.yaml", "numpy_mlp.yaml", "convnet.yaml"}
    assert names <= {file.name for file in FILES}
    assert {folder.name for folder in (CONFIGS / "reports").iterdir()} == {"uva2018", "uva2020", "hlcv", "eecs598"}


def in_seconds(file: Path) -> Any:
    """Mark the networks of which two steps take seconds as slow."""
    large = load_config(file).model.name in ("preact_resnet", "resnet34", "vgg")
    return pytest.param(file, marks=pytest.mark.slow) if large else file


def check_that_predict_equals_evaluate(paths: RunPaths, *, in_chunks: bool) -> None:
    """The classifier of a run, made from its folder alone, has the bits of an evaluation of its data."""
    size = 16 if in_chunks else 1000
    saved = open_saved(paths, overrides=(f"train.eval_batch_size={size}",))
    for split in {"train", *saved.records.finals}:
        opened = open_split(saved, split)
        classifier = classifier_of_run(saved)
        x = opened.samples.x
        scores = np.concatenate([classifier.scores(x[start : start + size]) for start in range(0, len(x), size)])
        np.testing.assert_array_equal(scores, two_columns(opened.scores()))
        names = [str(row) for row in range(len(x))]
        found = Tally.of(len(classifier.labels))
        found.add(predictions(Chunk(names, x, opened.samples.y.tolist()), scores), x)
        assert tuple(map(tuple, found.confusion.tolist())) == opened.evaluate().evaluation.confusion


@pytest.mark.parametrize("file", list(map(in_seconds, FILES)), ids=relative)
def test_trains_two_steps_and_predicts_what_evaluate_counts(
    file: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["train.epochs=null", "train.steps=2", "train.log_every={steps: 1}", "train.batch_size=10"]
    cfg = load(file, table, short)
    pca = [place for place, step in enumerate(cfg.data.preprocess or ()) if isinstance(step, PCA)]
    short += [f"data.preprocess.{place}.components=8" for place in pca]  # there are few samples
    resizes = [(place, one) for place, one in enumerate(cfg.data.augment) if isinstance(one, Resize)]
    short += [f"data.augment.{place}.until={{steps: 1}}" for place, _ in resizes]
    short += [f"data.augment.{place}.sizes=[{one.sizes[0]}]" for place, one in resizes]
    cfg = load(file, table, short)
    if isinstance(cfg.init, PretrainedInit):  # whose weights are not here; tests/test_pretrained_runs.py has some
        cfg = load(file, table, [*short, "init={name: pytorch}"])
    for module in (experiment, saved_weights):
        monkeypatch.setattr(module, "load_dataset", lambda data, **_: random_data(cfg))
    paths = RunPaths(tmp_path / "run")
    records = run_experiment(cfg, paths)
    assert [record["step"] for record in records.train] == [1, 2]
    assert records.end is not None
    assert records.end["status"] == "finished"
    # A product with the components of a PCA may round otherwise in a chunk of another size.
    check_that_predict_equals_evaluate(paths, in_chunks=not pca)


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_header_says_what_to_expect(file: Path, table: Path) -> None:
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert header[0].startswith("# yaml-language-server: $schema=")
    schema = file.parent / header[0].split("=", 1)[1]
    assert schema.resolve() == CONFIGS / "schema.json"
    text = "\n".join(header)
    for word in ("Expected:", "Parameters:", "Time:", "Command:"):
        assert f"# {word}" in text
    assert f"--config configs/{file.relative_to(CONFIGS)}" in text
    fit = check_fit(load(file, table))
    assert f"Parameters: {fit.n_params:,}" in text
