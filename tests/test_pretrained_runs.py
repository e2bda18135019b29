"""Runs that start from weights trained before: what they take over, what they train, and how they go on."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from dlassign.checks.shapes import check_fit
from dlassign.cli.main import main
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Interrupted, UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import evaluate_run
from dlassign.train.torch_learner import TorchLearner
from helpers.runs import paths_of, weights_after_steps, with_changes

HEAD = {"head.weight", "head.bias"}
STEPS = 12


def make_images(root: Path, classes: str, seed: int) -> Path:
    """Write 24 training and 6 test images of 8x8 pixels a class, each class of its own brightness."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", 24), ("test", 6)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(60 * label, 60 * label + 80, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


class Place:
    """A folder with the images of two tasks, and a finished run on the first of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.first = make_images(root / "first", "ab", 0)
        self.second = make_images(root / "second", "cde", 1)
        self.paths, self.records = self.train(
            root / "source", {"data.preprocess": [{"name": "normalize"}], "init": {"name": "pytorch"}}, data=self.first
        )
        self.weights: dict[str, Tensor] = load_checkpoint(self.paths.best)["weights"]

    def values(self, changes: dict[str, Any] | None = None, *, data: Path | None = None) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": "tiny",
            "data": {
                "name": "image_folder",
                "root": str(data or self.second),
                "cache": str(self.root / "cache"),
                "split": {"val": 6},
            },
            "model": {"name": "vgg", "stages": [[4], [6]]},
            "init": {"name": "pretrained", "weights": str(self.root / "source" / "tiny" / "latest")},
            "optimizer": {"name": "adam", "lr": 0.01},
            "train": {
                "steps": STEPS,
                "batch_size": 9,
                "eval_every": {"steps": 4},
                "checkpoint_seconds": 0,
                "keep_checkpoints": "all",
            },
            "device": "cpu",
        }
        return with_changes(values, changes)

    def config(self, changes: dict[str, Any] | None = None, **options: Any) -> RunConfig:
        return RunConfig.model_validate(self.values(changes, **options))

    def train(
        self, out: Path, changes: dict[str, Any] | None = None, *, data: Path | None = None, **options: Any
    ) -> tuple[RunPaths, RunRecords]:
        cfg = self.config(changes, data=data)
        paths = paths_of(cfg, out)
        return paths, run_experiment(cfg, paths, **options)

    def command(self, folder: Path, changes: dict[str, Any] | None = None, *, out: Path) -> Any:
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.values(changes)))
        return CliRunner().invoke(main, ["train", "--config", str(path), "--out", str(out), "--json"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def last(paths: RunPaths) -> dict[str, Tensor]:
    return load_checkpoint(paths.last)["learner"]["model"]


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {name for name, value in a.items() if value.shape != b[name].shape or not torch.equal(value, b[name])}


def beginning(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Return a dictionary that gets the weights of the next run before its first step."""
    seen: dict[str, Tensor] = {}
    step = TorchLearner.step

    def first(self: TorchLearner, *args: Any) -> Any:
        if not seen:
            seen.update({name: value.clone() for name, value in self.model.state_dict().items()})
        return step(self, *args)

    monkeypatch.setattr(TorchLearner, "step", first)
    return seen


def interrupt_at(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Press Ctrl-C during a step."""
    import signal

    step = TorchLearner.step
    count = 0

    def pressing(self: TorchLearner, *args: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            signal.raise_signal(signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(TorchLearner, "step", pressing)


class TestFromARun:
    def test_all_but_the_head_and_the_report(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, said = beginning(monkeypatch), []
        _, records = place.train(tmp_path, say=said.append)
        assert differing(seen, place.weights) == HEAD
        report = records.start["pretrained"]
        assert report["source"] == str(place.root / "source" / "tiny" / "latest")
        assert set(report["loaded"]) == set(seen) - HEAD
        assert (report["missing"], report["unexpected"], set(report["replaced"])) == ([], [], HEAD)
        assert f"{len(report['loaded'])} tensors loaded from {report['source']}; new: head.weight" in "\n".join(said)
        assert records.start["data"]["classes"] == ["c", "d", "e"]

    def test_preprocessing_is_the_run_s_own(self, place: Place, tmp_path: Path) -> None:
        paths, _ = place.train(tmp_path)
        ours, theirs = (load_checkpoint(p.best)["preprocess"] for p in (paths, place.paths))
        assert ours[0]["name"] == "normalize"
        assert torch.equal(ours[0]["mean"], theirs[0]["mean"])
        other, _ = place.train(tmp_path, {"data.preprocess": [{"name": "normalize"}]})
        assert not torch.equal(load_checkpoint(other.best)["preprocess"][0]["mean"], theirs[0]["mean"])

    def test_the_head_is_that_of_a_run_from_scratch(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = beginning(monkeypatch)
        place.train(tmp_path)
        pretrained = dict(seen)
        seen.clear()
        place.train(tmp_path, {"init": {"name": "pytorch"}})
        assert not differing(pretrained, seen) & HEAD
        assert "conv1.weight" in differing(pretrained, seen)

    def test_evaluation_needs_no_source(self, place: Place, tmp_path: Path) -> None:
        source = shutil.copytree(place.paths.root, tmp_path / "source")
        paths, records = place.train(tmp_path / "out", {"init.weights": str(source)})
        shutil.rmtree(source)
        report = evaluate_run(paths, "test")
        [final] = [record for record in records.evals if record["split"] == "test"]
        assert (report.evaluation.accuracy, report.evaluation.loss) == (final["accuracy"], final["loss"])
        done = CliRunner().invoke(main, ["evaluate", str(paths.root)])
        assert done.exit_code == 0, done.output


class TestFromAFile:
    @pytest.mark.parametrize("kind", ["pt", "safetensors"])
    def test_like_from_the_run(self, kind: str, place: Place, tmp_path: Path) -> None:
        path = tmp_path / f"w.{kind}"
        weights = {name: value.contiguous() for name, value in place.weights.items()}
        save_file(weights, path) if kind == "safetensors" else torch.save(weights, path)
        steps = load_checkpoint(place.paths.best)["preprocess"]
        fixed = {"name": "normalize", "mean": steps[0]["mean"].tolist(), "std": steps[0]["std"].tolist()}
        paths, records = place.train(tmp_path, {"init.weights": str(path), "data.preprocess": [fixed]})
        expected, _ = place.train(tmp_path, {"data.preprocess": [fixed]})
        assert paths.root != expected.root
        assert differing(last(paths), last(expected)) == set()
        assert records.start["pretrained"]["source"] == str(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert records.start["pretrained"]["weights"] == f"sha256:{digest}"

    def test_without_a_run_nothing_is_done_to_the_samples(self, place: Place, tmp_path: Path) -> None:
        torch.save(place.weights, tmp_path / "w.pt")
        paths, _ = place.train(tmp_path, {"init.weights": str(tmp_path / "w.pt")})
        assert load_checkpoint(paths.best)["preprocess"] == []


class TestIdentity:
    def test_the_content_counts_and_not_the_path(self, place: Place, tmp_path: Path) -> None:
        moved = shutil.copytree(place.paths.root, tmp_path / "moved")
        link = place.config()
        cfg = place.config({"init.weights": str(moved)})
        assert paths_of(cfg, tmp_path).root == paths_of(link, tmp_path).root
        shutil.copy(moved / "checkpoints" / "last.pt", moved / "checkpoints" / "best.pt")
        assert paths_of(cfg, tmp_path).root != paths_of(link, tmp_path).root

    def test_a_file_that_is_overwritten(self, place: Place, tmp_path: Path) -> None:
        path = tmp_path / "w.pt"
        cfg = place.config({"init.weights": str(path)})
        found = []
        for content in (b"a", b"b", b"a"):
            path.write_bytes(content)
            found.append(paths_of(cfg, tmp_path).root)
        assert found[0] == found[2] != found[1]

    def test_downloading_does_not_count_and_needs_no_file(self, tmp_path: Path) -> None:
        def root(download: bool) -> Path:
            init = {"name": "pretrained", "weights": "imagenet", "download": download}
            config = {
                "name": "a",
                "data": {"name": "digits"},
                "model": {"name": "resnet18"},
                "init": init,
                "optimizer": {"name": "adam"},
                "train": {"steps": 1},
            }
            return RunPaths.of(tmp_path, RunConfig.model_validate(config).model_dump(mode="json"), "f").root

        assert root(True) == root(False)


class TestFreezing:
    def test_only_the_head_changes(self, place: Place, tmp_path: Path) -> None:
        paths, _ = place.train(tmp_path, {"train.freeze": "body"})
        assert differing(last(paths), place.weights) == HEAD
        slots = load_checkpoint(paths.last)["learner"]["optimizer"]["slots"]
        assert sorted({int(step) for step in slots["step"]}) == [0, STEPS]

    def test_everything_changes_after_unfreezing(self, place: Place, tmp_path: Path) -> None:
        paths, _ = place.train(tmp_path, {"train.freeze": "body", "train.unfreeze_at": {"steps": 5}})
        assert differing(last(paths), place.weights) == set(place.weights)
        slots = load_checkpoint(paths.last)["learner"]["optimizer"]["slots"]
        assert sorted({int(step) for step in slots["step"]}) == [STEPS - 5, STEPS]

    def test_until_it_is_unfrozen_it_is_the_frozen_run(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at = weights_after_steps(monkeypatch)
        place.train(tmp_path, {"train.freeze": "body", "train.unfreeze_at": {"steps": 5}})
        thawed = dict(at)
        at.clear()
        place.train(tmp_path, {"train.freeze": "body"})
        assert differing(thawed[5], at[5]) == set()
        assert differing(thawed[5], place.weights) == HEAD
        assert "conv1.weight" in differing(thawed[6], place.weights)

    @pytest.mark.parametrize("at", [3, 5, 6, 9], ids=["frozen", "last-frozen", "first-unfrozen", "unfrozen"])
    def test_an_interrupted_run_goes_on_exactly(
        self, at: int, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changes = {"train.freeze": "body", "train.unfreeze_at": {"steps": 5}}
        unbroken, expected = place.train(tmp_path / "unbroken", changes)
        with monkeypatch.context() as patch:
            interrupt_at(patch, at)
            with pytest.raises(Interrupted, match=f"interrupted at step {at} "):
                place.train(tmp_path / "broken", changes)
        paths, records = place.train(tmp_path / "broken", changes)
        assert differing(last(paths), last(unbroken)) == set()
        assert records.end is not None
        assert expected.end is not None
        assert records.end["weights_sha256"] == expected.end["weights_sha256"]

    def test_patterns_and_groups(self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One step of plain SGD: a change is the rate times the gradient."""
        changes = {"optimizer": {"name": "sgd", "lr": 0.01}, "train.steps": 1, "train.freeze": ["conv1", "norm1"]}
        seen = beginning(monkeypatch)
        plain, _ = place.train(tmp_path, changes)
        before = dict(seen)
        grouped, _ = place.train(
            tmp_path,
            {**changes, "optimizer": {"name": "sgd", "lr": 0.01, "groups": [{"params": ["head*"], "lr_factor": 10}]}},
        )
        moved, moved_more = (
            {name: value - before[name] for name, value in last(paths).items()} for paths in (plain, grouped)
        )
        still = {name for name, change in moved.items() if not change.any()}
        assert {name for name in moved if name.startswith(("conv1.", "norm1."))} <= still
        for name in ("head.weight", "head.bias"):
            assert torch.allclose(moved_more[name], 10 * moved[name], rtol=1e-3, atol=1e-6)
        assert torch.equal(moved_more["norm2.weight"], moved["norm2.weight"])
        assert moved["norm2.weight"].any()

    def test_a_pattern_that_matches_nothing(self, place: Place, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"train\.freeze: 'layr1' matches no parameter; the model has conv1"):
            place.train(tmp_path, {"train.freeze": ["layr1"]})


class TestWrongWeights:
    def test_another_architecture(self, place: Place, tmp_path: Path) -> None:
        done = place.command(tmp_path, {"model.stages": [[4], [7]]}, out=tmp_path / "out")
        assert done.exit_code == 1
        source = place.root / "source" / "tiny" / "latest"
        assert f"the weights of {source} belong to another architecture: of " in done.stderr
        assert "conv2.weight: found (6, 4, 3, 3), expected (7, 4, 3, 3)" in done.stderr
        assert list((tmp_path / "out" / "tiny").glob("*-s0")) == []

    @pytest.mark.parametrize("again", [False, True])
    def test_missing_imagenet_weights(self, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        values = {
            "name": "small",
            "data": {"name": "digits", "preprocess": []},
            "model": {"name": "resnet18", "resize": 32},
            "init": {"name": "pretrained", "weights": "imagenet"},
            "optimizer": {"name": "adam"},
            "train": {"steps": 1},
            "device": "cpu",
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        command = ["train", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(main, [*command, *["--again"] * again])
        assert done.exit_code == 1
        for part in ("resnet18-f37072fd.pth", str(tmp_path / "torch" / "hub"), "dlassign data fetch resnet18-imagenet"):
            assert part in done.stderr
        assert not (tmp_path / "out").exists()

    def test_missing_file(self, place: Place, tmp_path: Path) -> None:
        done = place.command(tmp_path, {"init.weights": str(tmp_path / "w.pt")}, out=tmp_path / "out")
        assert done.exit_code == 1
        assert f"there are no weights at {tmp_path / 'w.pt'}: no such file or run folder" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_a_run_that_is_not_finished(self, place: Place, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        with pytest.raises(UserError, match=r"init.weights: .*run holds no finished run \(there is no .*best.pt\)"):
            place.train(tmp_path, {"init.weights": str(tmp_path / "run")})


def test_a_checkpoint_given_as_a_file_counts_as_its_run(place: Place, tmp_path: Path) -> None:
    _, by_folder = place.train(tmp_path / "run")
    _, by_file = place.train(tmp_path / "file", {"init.weights": str(place.paths.best)})
    assert by_folder.end is not None
    assert by_file.end is not None
    assert by_file.end["weights_sha256"] == by_folder.end["weights_sha256"]


def test_the_rows_of_a_run_with_pca(place: Place, tmp_path: Path) -> None:
    """Its fitted components are taken over, and their number is that of the samples' values."""
    pca = {"data.preprocess": [{"name": "pca", "components": 5}], "model": {"name": "mlp", "hidden": [8]}}
    paths, _ = place.train(tmp_path / "source", {**pca, "init": {"name": "pytorch"}}, data=place.first)
    changes = {"model": {"name": "mlp", "hidden": [8]}, "init.weights": str(paths.root)}
    assert check_fit(place.config(changes)).in_shape == (5,)
    _, records = place.train(tmp_path / "next", changes)
    assert records.start["data"]["shape"] == [5]


@pytest.mark.parametrize("order", ["full", "window"])
def test_decoupled_rates_go_by_the_samples_that_a_step_sees(place: Place, tmp_path: Path, order: str) -> None:
    """The batch size of the config plays no part where the whole split, or all of it that there is, makes a batch."""
    digests = []
    for size in (66, 1000):
        changes = {
            "init": {"name": "pytorch"},
            "optimizer": {"name": "sgd", "lr": 1.0, "parametrization": "decoupled"},
            "train.order": order,
            "train.batch_size": size,
            "data.shuffle_seed": 0,
        }
        _, records = place.train(tmp_path / str(size), changes)
        assert records.end is not None
        digests.append(records.end["weights_sha256"])
    assert digests[0] == digests[1]
