"""Predictions of files are those of `evaluate`, from the run folder alone, and what is counted and kept of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.data.load import list_samples, names_of_run
from dlassign.deploy.classifier import RunClassifier, classifier_of_run, two_columns
from dlassign.deploy.predict import Doubtful, Prediction, Scored, Tally, predictions, score_sources, score_split
from dlassign.deploy.sources import Chunk, open_sources
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import open_saved, open_split

SMALL: dict[str, Any] = {
    "optimizer": {"name": "adam", "lr": 0.02},
    "train": {"steps": 6, "batch_size": 8, "eval_batch_size": 4, "metric": "loss", "precision": "fp32"},
    "device": "cpu",
}
CONVNET = {"name": "vgg", "stages": [[4]], "pool_size": 2, "pool_padding": 0, "norm": "batch"}


def odd_images(root: Path) -> None:
    """Images that are decoded in ways of their own: turned, transparent, of 10 bits, of other sizes."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 8), ("test", 6)):
        for name in ("b-side", "b", "ä"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                size = (int(rng.integers(6, 12)), int(rng.integers(6, 12)))
                if i % 3 == 0:
                    Image.fromarray(rng.integers(0, 1000, size).astype(np.uint16)).save(folder / f"{i}.png")
                elif i % 3 == 1:
                    Image.fromarray(rng.integers(0, 256, (*size, 4), dtype=np.uint8)).save(folder / f"{i}.png")
                else:
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
                    image.save(folder / f"{i}.jpg", exif=exif)


def folder_config(root: Path, **changes: Any) -> RunConfig:
    data = {
        "name": "image_folder",
        "root": str(root),
        "size": [8, 8],
        "background": "black",
        "split": {"val": 6},
        "cache": str(root.parent / "cache"),
        "preprocess": [{"name": "scale"}, {"name": "mean_image"}],
    }
    return RunConfig.model_validate({"name": "tiny", "data": data, "model": CONVNET, **SMALL, **changes})


def of_folder(classifier: RunClassifier, folder: Path) -> Scored:
    sources, _ = open_sources(
        [str(folder)], intake=classifier.intake, classes=classifier.labels, labels="folder", listed=()
    )
    return score_sources(classifier, sources)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_files_are_predicted_as_evaluate_counts_them_when_the_data_are_gone(backend: str, tmp_path: Path) -> None:
    odd_images(tmp_path / "data")
    paths = RunPaths(tmp_path / "run")
    model = CONVNET if backend == "torch" else {"name": "mlp", "hidden": [5], "norm": "batch"}
    records = run_experiment(folder_config(tmp_path / "data", backend=backend, model=model), paths)
    assert records.start["data"]["bits"] == 10
    opened = open_split(open_saved(paths), "test")
    evaluation, expected = opened.evaluate().evaluation, opened.scores()
    names = names_of_run(opened.saved.cfg.data, opened.dataset)["test"]
    own = list(score_split(opened, names).predictions(3))
    (tmp_path / "data" / "test").rename(tmp_path / "kept")
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / "cache")
    classifier = classifier_of_run(open_saved(paths))
    parts = list(of_folder(classifier, tmp_path / "kept").parts)
    np.testing.assert_array_equal(np.concatenate([scores for _, scores in parts]), expected)
    tally = Tally.of(3)
    found = list(of_folder(classifier, tmp_path / "kept").predictions(3, watch=[tally.add]))
    assert tuple(map(tuple, tally.confusion.tolist())) == evaluation.confusion
    # The same pictures in the same order, under the names of where they lie now.
    assert [row._replace(name="") for row in found] == [row._replace(name="") for row in own]
    moved = [row.name.replace(str(tmp_path / "kept"), str(tmp_path / "data" / "test")) for row in found]
    assert moved == [row.name for row in own]


def test_views_are_those_of_evaluate(tmp_path: Path) -> None:
    odd_images(tmp_path / "data")
    paths = RunPaths(tmp_path / "run")
    train = {**SMALL["train"], "test_time_augmentation": {"flip": True, "shift": 1}}
    run_experiment(folder_config(tmp_path / "data", train=train), paths)
    saved = open_saved(paths, views=True)
    opened = open_split(saved, "test")
    found = np.concatenate(
        [scores for _, scores in of_folder(classifier_of_run(saved, views=True), tmp_path / "data" / "test").parts]
    )
    np.testing.assert_array_equal(found, opened.scores(views=True))
    assert not np.array_equal(found, opened.scores())


def test_a_single_score_says_yes_or_no(tmp_path: Path) -> None:
    rows = [f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,label", *rows]) + "\n")
    data = {"name": "csv_table", "path": str(tmp_path / "a.csv")}
    paths = RunPaths(tmp_path / "run")
    model = {"name": "mlp", "hidden": []}
    values = {"name": "a", "data": data, "model": model, "loss": {"name": "logistic"}, **SMALL}
    run_experiment(RunConfig.model_validate(values), paths)
    opened = open_split(open_saved(paths), "test")
    names = [name for name, _ in list_samples(opened.saved.cfg.data)["test"]]
    tally = Tally.of(2)
    found = list(score_split(opened, names).predictions(2, watch=[tally.add]))
    assert tuple(map(tuple, tally.confusion.tolist())) == opened.evaluate().evaluation.confusion
    score = float(opened.scores()[0, 0])
    assert dict(zip(found[0].classes, found[0].probabilities, strict=True))[1] == pytest.approx(
        1 / (1 + np.exp(-score))
    )
    number = int(names[0].removeprefix(f"{tmp_path}/a.csv:")) - 2  # the first line is the header
    assert opened.samples.x[0].tolist() == [number % 7, number % 5]


def test_a_log_of_an_early_version_says_so(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    data = {"name": "digits", "split": {"train": 30, "val": 10, "test": 10}}
    run_experiment(RunConfig.model_validate({"name": "a", "data": data, "model": CONVNET, **SMALL}), paths)
    text = paths.log.read_text()
    paths.log.write_text(text.replace('"raw_shape"', '"former_shape"'))
    with pytest.raises(UserError, match="was written by an early version and does not say what samples"):
        classifier_of_run(open_saved(paths))


def test_of_equal_scores_the_first_class_is_predicted() -> None:
    x = np.zeros((2, 1, 2, 2), np.uint8)
    scores = np.array([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    found = predictions(Chunk(["a", "bad", "b"], x, [1, 0, None], {1: "why"}), scores, top=2)
    assert [(row.name, row.classes, row.true, row.error) for row in found] == [
        ("a", (1, 2), 1, ""),
        ("bad", (), 0, "why"),
        ("b", (0, 1), None, ""),
    ]
    assert found[0].probabilities == pytest.approx((0.468, 0.468), abs=1e-3)
    assert not any(row.wrong for row in found)
    tally = Tally.of(3)
    tally.add(found, x)
    assert (tally.samples, tally.unread, tally.first_errors) == (3, 1, ["bad: why"])
    assert tally.confusion.sum() == 1


def test_the_most_doubtful_are_kept_in_order() -> None:
    rng = np.random.default_rng(0)
    kept, values = Doubtful(3), rng.permutation(20) / 20
    for start in range(0, 20, 5):
        rows = [Prediction(str(i), (0,), (values[i],)) for i in range(start, start + 5)]
        kept.add(rows, np.arange(start, start + 5).reshape(5, 1, 1, 1))
    found = [(row.probabilities[0], int(picture[0, 0, 0]), row.name) for row, picture in kept.pictures()]
    assert found == [
        (v, int(np.flatnonzero(values == v)[0]), str(np.flatnonzero(values == v)[0])) for v in (0, 0.05, 0.1)
    ]


def test_equally_doubtful_pictures_keep_their_order() -> None:
    kept = Doubtful(2)
    rows = [Prediction(name, (0,), (0.5,)) for name in "abc"]
    kept.add(rows, np.zeros((3, 1, 1, 1)))
    assert [row.name for row, _ in kept.pictures()] == ["a", "b"]


def test_splits_are_listed_as_they_are_dealt(tmp_path: Path) -> None:
    odd_images(tmp_path / "data")
    (tmp_path / "data" / "train" / "b" / "7.png").write_bytes(b"no image")
    cfg = folder_config(tmp_path / "data").data.model_copy(update={"skip_bad": True, "shuffle_seed": 3})
    from dlassign.data.load import load_dataset

    listed, dataset = list_samples(cfg), load_dataset(cfg)
    assert {part: len(names) for part, names in listed.items()} == {"train": 17, "val": 6, "test": 18}
    for part, names in listed.items():
        split: Split = dataset.splits[part]
        assert [dataset.classes[label] for label in split.y] == [name for _, name in names]
        assert [Path(path).parent.name for path, _ in names] == [name for _, name in names]
    assert not any(path.endswith("b/7.png") for path, _ in listed["train"])


def test_two_columns_leaves_others_alone() -> None:
    scores = np.ones((2, 3), np.float32)
    assert two_columns(scores) is scores
    assert two_columns(np.array([[2.0], [-1.0]])).tolist() == [[0.0, 2.0], [0.0, -1.0]]


@pytest.mark.parametrize("plain", [True, False])
def test_a_table_is_predicted_as_evaluate_counts_its_rows(plain: bool, tmp_path: Path) -> None:
    def row(i: int) -> tuple[str, str, str]:
        return str(i % 7), str(i % 5) if plain else "uvw"[i % 3], "ab"[i % 2]

    head = ("x", "y", "label")
    (tmp_path / "a.csv").write_text("\n".join(",".join(cells) for cells in (head, *map(row, range(60)))) + "\n")
    data: dict[str, Any] = {"name": "csv_table", "path": str(tmp_path / "a.csv")}
    data |= {} if plain else {"columns": {"y": "one_hot"}}
    paths = RunPaths(tmp_path / "run")
    values = {"name": "a", "data": data, "model": {"name": "mlp", "hidden": [3]}, **SMALL}
    run_experiment(RunConfig.model_validate(values), paths)
    opened = open_split(open_saved(paths), "test")
    expected, evaluation = opened.scores(), opened.evaluate().evaluation
    lines = [int(name.rpartition(":")[2]) - 2 for name, _ in list_samples(opened.saved.cfg.data)["test"]]
    (tmp_path / "a.csv").unlink()
    # The columns in another order, a new one beside them, a number that float32 cannot hold, and a cell that is none.
    new = [
        ("label", "y", "new", "x"),
        ("", "1", "?", "-1e300"),
        *((label, y, "?", x) for x, y, label in map(row, lines)),
        ("", "1", "?", "much"),
    ]
    (tmp_path / "new.csv").write_text("\n".join(map(",".join, new)) + "\n")
    classifier = classifier_of_run(open_saved(paths))
    places = [str(tmp_path / "new.csv")]
    sources, _ = open_sources(places, intake=classifier.intake, classes=classifier.labels, labels=None, listed=())
    np.testing.assert_array_equal(np.concatenate([s for _, s in score_sources(classifier, sources).parts]), expected)
    tally = Tally.of(2)
    first, *_, last = score_sources(classifier, sources).predictions(1, watch=[tally.add])
    assert first.error == "feature 'x' is -1e+300, too large for the net, whose numbers are float32"
    assert (tally.unread, tally.samples) == (2, len(new) - 1)
    assert tuple(map(tuple, tally.confusion.tolist())) == evaluation.confusion
    assert last.name == f"{tmp_path}/new.csv:{len(new)}"
    assert "column 'x'" in last.error
    (tmp_path / "new.csv").write_text("x,y,label\n1,1,c\n")
    with pytest.raises(UserError, match=r"new.csv:2: the label 'c' is no class of the net; its classes are a, b"):
        open_sources(places, intake=classifier.intake, classes=classifier.labels, labels=None, listed=())
    sources, _ = open_sources(places, intake=classifier.intake, classes=classifier.labels, labels="none", listed=())
    assert len(sources[0]) == 1
