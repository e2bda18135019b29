"""Whole runs on the embedded digits: what they write, what they refuse, and how they go on."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import ConfigError, Diverged, Interrupted, UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import SCHEMA, Record, RunRecords
from dlassign.store.summary import finished_records, result_line
from dlassign.train import folder as folder_module
from dlassign.train.checkpoint import load_checkpoint, sealed, weights_sha256
from dlassign.train.experiment import only_writer, run_experiment
from dlassign.train.progress import Progress
from dlassign.train.saved import evaluate_run
from helpers.records import without_times
from helpers.runs import Stop, paths_of, stop_after_steps, with_changes


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "name": "digits",
            "split": {"train": 200, "val": 50, "test": 60},
            "preprocess": [{"name": "scale", "divisor": 16}],
        },
        "model": {"name": "mlp", "hidden": [12], "dropout": 0.1},
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {
            "steps": 24,
            "batch_size": 30,
            "log_every": {"steps": 5},
            "eval_every": {"steps": 8},
            "keep_checkpoints": "all",
        },
        "device": "cpu",
    }
    return RunConfig.model_validate(with_changes(values, changes))


def train(out: Path, changes: dict[str, Any] | None = None, **options: Any) -> tuple[RunPaths, RunRecords]:
    cfg = config(changes)
    paths = paths_of(cfg, out)
    return paths, run_experiment(cfg, paths, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunPaths, RunRecords]:
    """A finished run."""
    return train(tmp_path_factory.mktemp("done"))


def test_records_in_order(done: tuple[RunPaths, RunRecords]) -> None:
    lines = [json.loads(line) for line in done[0].log.read_text().splitlines()]
    chosen = lines[-1]["chosen"]["step"]
    assert [(line["kind"], line.get("step"), line.get("split"), line.get("final")) for line in lines] == [
        ("start", None, None, None),
        ("train", 5, None, None),
        ("eval", 8, "val", None),
        ("train", 10, None, None),
        ("train", 15, None, None),
        ("eval", 16, "val", None),
        ("train", 20, None, None),
        ("train", 24, None, None),
        ("eval", 24, "val", None),
        ("checkpoint", 24, None, None),
        ("checkpoint", chosen, None, None),
        ("eval", chosen, "val", True),
        ("eval", chosen, "test", True),
        ("end", None, None, None),
    ]
    assert sum(line["n"] for line in lines if line["kind"] == "train") == 3 * 200 + 3 * 30
    assert all(line["lr"] == 0.01 for line in lines if line["kind"] == "train")


def test_the_log_says_what_checkpoints_hold_and_the_manifest_how_it_ends(tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"train.keep_checkpoints": "all"})
    last, best = records.checkpoints
    assert records.end is not None
    assert (last["file"], best["file"]) == ("last", "best")
    assert last["weights_sha256"] == weights_sha256(load_checkpoint(paths.last)["learner"]["model"])
    assert best["weights_sha256"] == weights_sha256(load_checkpoint(paths.best)["weights"])
    assert last["weights_sha256"] == records.end["weights_sha256"]
    chain = sha256(paths.log.read_bytes()).hexdigest()[:16]
    assert json.loads(paths.manifest.read_text())["chain"] == chain


def test_a_run_that_another_process_has_finished_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    paths, records = train(tmp_path)
    before = paths.log.read_bytes()
    again = run_experiment(config(), paths)
    assert again.end == records.end
    assert paths.log.read_bytes() == before


def test_start_record(done: tuple[RunPaths, RunRecords]) -> None:
    start = done[1].start
    cfg = config()
    assert (start["schema"], start["name"], start["seed"]) == (SCHEMA, "tiny", 0)
    assert RunConfig.model_validate(start["config"]) == cfg
    assert start["n_params"] == 64 * 12 + 12 + 12 * 10 + 10
    assert (start["steps"], start["steps_per_epoch"]) == (24, 7)
    data = start["data"]
    assert (data["label"], data["sha256"], data["shape"]) == ("digits", fingerprint(cfg.data), [1, 8, 8])
    assert (data["n_train"], data["n_val"], data["n_test"]) == (200, 50, 60)
    assert data["classes"] == list("0123456789")
    environment = start["environment"]
    assert environment["packages"]["torch"] == version("torch")
    assert (environment["device"], environment["threads"]) == ("cpu", 1)


def test_end_record(done: tuple[RunPaths, RunRecords]) -> None:
    paths, records = done
    end, val = records.end, records.evaluations("val")
    assert end is not None
    assert (end["status"], end["steps"], end["test_evaluations"]) == ("finished", 24, 0)
    best = max(val, key=lambda record: record["accuracy"])  # max keeps the first of equals
    assert end["best"] == {"step": best["step"], "metric": "accuracy", "value": best["accuracy"]}
    assert end["chosen"] == {"weights": "best", "step": best["step"]}
    assert end["weights_sha256"] == weights_sha256(load_checkpoint(paths.last)["learner"]["model"])
    seconds = end["seconds"]
    assert seconds["total"] == pytest.approx(sum(value for key, value in seconds.items() if key != "total"))
    assert {"import", "data", "build", "train", "eval"} <= set(seconds)
    assert end["images_per_second"] == pytest.approx((3 * 200 + 3 * 30) / seconds["train"])


def test_finals_are_the_evaluation_with_the_chosen_weights(done: tuple[RunPaths, RunRecords]) -> None:
    records = done[1]
    final = records.finals["val"]
    (same,) = [record for record in records.evaluations("val") if record["step"] == final["step"]]
    assert (final["loss"], final["accuracy"]) == (same["loss"], same["accuracy"])
    for split, n in (("val", 50), ("test", 60)):
        confusion = np.array(records.finals[split]["confusion"])
        assert confusion.shape == (10, 10)
        assert confusion.sum() == n == records.finals[split]["n"]
        assert np.trace(confusion) / n == records.finals[split]["accuracy"]


def test_config_file_loads_back(done: tuple[RunPaths, RunRecords]) -> None:
    assert load_config(done[0].config) == config()


def test_manifest(done: tuple[RunPaths, RunRecords]) -> None:
    paths, records = done
    manifest = json.loads(paths.manifest.read_text())
    assert (manifest["schema"], manifest["status"], manifest["name"], manifest["seed"]) == (1, "finished", "tiny", 0)
    assert manifest["environment"] == records.start["environment"]
    assert manifest["data"] == {"label": "digits", "sha256": records.start["data"]["sha256"]}


def test_folder(done: tuple[RunPaths, RunRecords]) -> None:
    paths = done[0]
    assert names(paths.root) == ["checkpoints", "config.yaml", "log.jsonl", "manifest.json"]
    assert {"best.pt", "last.pt"} <= set(names(paths.checkpoints)) <= {"best.pt", "last.pt", "previous.pt"}
    assert paths.latest.resolve() == paths.root.resolve()


def digest(records: RunRecords) -> str:
    assert records.end is not None
    return str(records.end["weights_sha256"])


def test_same_seed_same_run(done: tuple[RunPaths, RunRecords], tmp_path: Path) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    assert without_times(train(tmp_path)[1]) == without_times(done[1])


def test_another_seed_another_run_on_the_same_split(done: tuple[RunPaths, RunRecords], tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"seed": 1})
    assert digest(records) != digest(done[1])
    assert paths.root.name[:8] == done[0].root.name[:8]
    assert paths.root.name.endswith("-s1")


def test_evaluating_on_test_is_marked(tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"train.evaluate": ["val", "test"]})
    assert [record["step"] for record in records.evaluations("test")] == [8, 16, 24]
    assert records.end is not None
    assert records.end["test_evaluations"] == 3
    marked = result_line(paths, records)["test_maximum"]
    assert marked["evaluations"] == 3
    assert marked["accuracy"] == max(record["accuracy"] for record in records.evaluations("test"))


def test_evaluating_only_test_keeps_the_last_weights(tmp_path: Path) -> None:
    _, records = train(tmp_path, {"train.evaluate": ["test"], "data.split": {"train": 200, "val": None, "test": 60}})
    assert records.end is not None
    assert records.end["chosen"] == {"weights": "last", "step": 24}
    assert records.end["best"] is None
    assert list(records.finals) == ["test"]
    assert records.finals["test"]["accuracy"] == records.evaluations("test")[-1]["accuracy"]


def test_keep_last(tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"train.keep": "last", "optimizer.lr": 0.3})
    assert records.end is not None
    assert (records.end["chosen"], records.end["best"]) == ({"weights": "last", "step": 24}, None)
    saved = load_checkpoint(paths.best)
    assert (saved["step"], saved["chosen"], weights_sha256(saved["weights"])) == (24, "last", digest(records))


def test_keep_best_goes_back_to_the_best_weights(tmp_path: Path) -> None:
    """A rate that explodes after 8 steps: the best evaluation is the first, and the final one repeats it."""
    schedule = {"name": "multistep", "milestones": [{"steps": 8}], "gamma": 100.0}
    paths, records = train(tmp_path, {"schedule": schedule, "train.metric": "loss"})
    assert records.end is not None
    assert records.end["chosen"] == {"weights": "best", "step": 8}
    val = records.evaluations("val")
    assert records.end["best"] == {"step": 8, "metric": "loss", "value": val[0]["loss"]}
    assert records.finals["val"]["loss"] == val[0]["loss"] < val[-1]["loss"]
    saved = load_checkpoint(paths.best)
    assert (saved["step"], saved["chosen"]) == (8, "best")
    assert weights_sha256(saved["weights"]) != digest(records)  # the digest is of the last weights


def test_early_stopping(tmp_path: Path) -> None:
    changes = {"train.early_stop": {"patience": 2, "min_delta": 0.999}, "train.steps": 1000}
    _, records = train(tmp_path, changes)
    assert records.end is not None
    assert (records.end["status"], records.end["steps"]) == ("finished", 24)
    assert [record["step"] for record in records.evaluations("val")] == [8, 16, 24]
    assert sum(record["n"] for record in records.train) == 3 * 200 + 3 * 30  # no step is missing from the log


@pytest.mark.parametrize("order", ["uva", "window", "with_replacement", "full"])
def test_orders(order: str, tmp_path: Path) -> None:
    _, records = train(tmp_path, {"train.order": order})
    assert records.start["steps_per_epoch"] == (1 if order == "full" else 200 // 30)
    assert [record["n"] for record in records.train] == [
        steps * (200 if order == "full" else 30) for steps in (5, 5, 5, 5, 4)
    ]
    first, last = records.train[0], records.train[-1]
    assert last["loss"] < first["loss"]


@pytest.mark.parametrize("order", ["full", "window", "with_replacement"])
def test_toy(order: str, tmp_path: Path) -> None:
    """No validation, no test: five samples, which 100 full steps get right."""
    changes = {"data": {"name": "toy"}, "train": {"steps": 100, "batch_size": 200, "order": order}}
    _, records = train(tmp_path, {**changes, "model.dropout": 0.0})
    assert (records.evals, records.start["data"]["n_train"]) == ([], 5)
    assert (records.train[-1]["accuracy"], records.start["n_params"]) == (1.0, 4 * 12 + 12 + 12 * 3 + 3)
    assert len(records.train) == 100, "an epoch is one step, and has a record"
    assert records.train[-1]["n"] == (200 if order == "with_replacement" else 5)


def test_a_finished_run_keeps_the_weights_of_its_result_alone(tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"train.keep_checkpoints": "best"})
    assert names(paths.checkpoints) == ["best.pt"]
    assert not {"learner", "hooks", "progress"} & set(load_checkpoint(paths.best)), "only training needs these"
    assert records.end is not None
    assert records.end["chosen"]["weights"] == "best"
    assert evaluate_run(paths, "val").evaluation.accuracy == records.finals["val"]["accuracy"]
    with pytest.raises(UserError, match=r"last weights no more: .*--again --set train.keep_checkpoints=all"):
        evaluate_run(paths, "val", weights="last")
    assert paths == train(tmp_path)[0], "what is kept is no part of what a run is"


def test_last_weights_that_were_chosen_are_there(tmp_path: Path) -> None:
    paths, _ = train(tmp_path, {"train.keep_checkpoints": "best", "train.keep": "last"})
    assert names(paths.checkpoints) == ["best.pt"]
    assert evaluate_run(paths, "test", weights="last") == evaluate_run(paths, "test")


@pytest.mark.parametrize(
    ("moment", "keep"), [("write_manifest", "best"), ("write_manifest", "all"), ("drop_checkpoints", "best")]
)
def test_a_kill_at_the_very_end_is_healed_by_the_same_command(
    moment: str, keep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = folder_module.write_manifest

    def killed(*args: Any, **values: Any) -> None:
        if moment == "drop_checkpoints" or values["status"] == "finished":
            raise KeyboardInterrupt
        write(*args, **values)

    changes = {"train.keep_checkpoints": keep}
    with monkeypatch.context() as patch:
        patch.setattr(folder_module if moment == "write_manifest" else RunPaths, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, changes)
    paths = paths_of(config(changes), tmp_path)
    assert {"best.pt", "last.pt"} <= set(names(paths.checkpoints))
    assert finished_records(paths) is not None
    assert json.loads(paths.manifest.read_text())["status"] == "finished"
    assert ("last.pt" in names(paths.checkpoints)) == (keep == "all")
    evaluate_run(paths, "test")


def test_checkpoints_of_earlier_versions_stay(tmp_path: Path) -> None:
    paths, _ = train(tmp_path)
    before = names(paths.checkpoints)
    paths.log.write_text(paths.log.read_text().replace(',"keep_checkpoints":"all"}', "}"))
    assert finished_records(paths) is not None
    assert names(paths.checkpoints) == before


def test_double_precision(tmp_path: Path) -> None:
    paths, records = train(tmp_path, {"train.precision": "fp64"})
    saved = load_checkpoint(paths.last)["learner"]["model"]
    assert {tensor.dtype for tensor in saved.values()} == {torch.float64}
    single = train(tmp_path / "single")[1]
    for double, other in zip(records.train, single.train, strict=True):
        assert double["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert double["loss"] != other["loss"]


def test_penalty_is_logged(tmp_path: Path) -> None:
    penalty = [{"name": "l2", "coefficient": 0.01}]
    _, records = train(tmp_path, {"loss": {"name": "cross_entropy", "penalty": penalty}})
    assert all(0 < record["penalty"] < record["loss"] for record in records.train)


def problem(out: Path, changes: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        train(out, changes)
    (found,) = caught.value.problems
    return found.path, found.message


def test_batch_normalisation_refuses_a_last_batch_of_one(tmp_path: Path) -> None:
    changes = {"model.norm": "batch", "train.batch_size": 199}
    path, message = problem(tmp_path, changes)
    assert path == "train.batch_size"
    assert "200 samples in batches of 199 leave a batch of 1" in message
    _, records = train(tmp_path, {**changes, "train.drop_last": True, "train.steps": 2})
    assert records.train[0]["n"] == 2 * 199


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_two_class_losses_refuse_ten_classes(loss: str, tmp_path: Path) -> None:
    path, message = problem(tmp_path, {"loss": {"name": loss}})
    assert path == "loss.name"
    assert message == f"{loss} is for 2 classes, the data has 10; use cross_entropy"


def test_logistic_regression_and_svm_on_two_classes(tmp_path: Path) -> None:
    """Two clouds that a line divides."""
    rows = ["x,y,label"]
    for i in range(40):
        rows += [f"{i % 7},{i % 5},low", f"{i % 7 + 9},{i % 5 + 9},high"]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    data = {"name": "csv_table", "path": str(table), "preprocess": [{"name": "normalize"}]}
    for loss in ("logistic", "hinge"):
        changes = {"data": data, "loss": {"name": loss}, "model": {"name": "mlp", "hidden": []}, "optimizer.lr": 0.1}
        _, records = train(tmp_path, changes)
        assert records.start["n_params"] == 3
        assert records.finals["test"]["accuracy"] == 1.0


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    path, message = problem(tmp_path, {"train.batch_size": 201})
    assert path == "train.batch_size"
    assert "201 is larger than the training split of 200; use at most 200" in message


def test_a_missing_cuda_device_is_refused(tmp_path: Path) -> None:
    path, message = problem(tmp_path, {"device": "cuda:93"})
    assert path == "device"
    assert "cuda:93 is not there, this machine has" in message
    assert "use cpu or auto" in message


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    paths = paths_of(config(), tmp_path)
    paths.root.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(paths.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"another process is training {paths.root}; wait for it"):
            train(tmp_path)
        assert names(paths.root) == []
        holder.communicate("\n", timeout=30)
    with only_writer(paths):
        assert paths.lock.exists()


def edit_start(paths: RunPaths, **changes: Any) -> None:
    first, *others = paths.log.read_text().splitlines()
    paths.log.write_text("\n".join([json.dumps({**json.loads(first), **changes}), *others]) + "\n")


def test_a_folder_of_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """The message sends the user to the manifest for the version that wrote it, so that must still be there."""
    paths, _ = train(tmp_path)
    edit_start(paths, schema=SCHEMA + 1)
    files = [paths.log, paths.manifest, paths.config, paths.last, paths.best]
    before = [path.read_bytes() for path in files]
    with pytest.raises(UserError, match=f"log schema {SCHEMA + 1}, this version of dlassign reads {SCHEMA}"):
        train(tmp_path)
    assert [path.read_bytes() for path in files] == before


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    return stop_after_steps(monkeypatch)


def test_interrupted_then_continued(done: tuple[RunPaths, RunRecords], tmp_path: Path, stop: type[Stop]) -> None:
    said: list[str] = []
    for after in (0, 7, 16, 19):
        stop.after = after
        message = rf"interrupted at step {after} of 24; a checkpoint was written, and the same command goes on"
        with pytest.raises(Interrupted, match=message):
            train(tmp_path, say=said.append)
        status = json.loads(paths_of(config(), tmp_path).manifest.read_text())["status"]
        assert status == "interrupted"
    stop.after = 10**9
    paths, records = train(tmp_path, say=said.append)
    assert stop.steps == 24  # no step was taken twice
    assert without_times(records) == without_times(done[1])
    assert [record["from_step"] for record in records.resumes] == [0, 7, 16, 19]
    assert said == [f"going on from step {step} of 24" for step in (0, 7, 16, 19)]
    assert records.warnings == []
    assert Progress(**load_checkpoint(paths.last)["progress"]).step == 24


def test_a_damaged_newest_checkpoint_is_told_and_costs_only_time(
    done: tuple[RunPaths, RunRecords], tmp_path: Path, stop: type[Stop]
) -> None:
    changes = {"train.checkpoint_seconds": 0}
    stop.after = 19
    with pytest.raises(Interrupted):
        train(tmp_path, changes)
    paths = paths_of(config(changes), tmp_path)
    paths.last.write_bytes(paths.last.read_bytes()[:-100])
    stop.after = 10**9
    said: list[str] = []
    _, records = train(tmp_path, changes, say=said.append)
    assert [record["from_step"] for record in records.resumes] == [16]
    assert f"the checkpoint {paths.last} is damaged" in said[0]
    assert said[0].endswith("; going on from the checkpoint before it")
    assert without_times(records)[1:] == without_times(done[1])[1:]  # the starts differ in `changes`


def _without_slots(state: dict[str, Any]) -> None:
    del state["learner"]["optimizer"]["slots"]


def _without_one_slot(state: dict[str, Any]) -> None:
    slots = state["learner"]["optimizer"]["slots"]
    del slots[next(iter(slots))]


def _with_small_slots(state: dict[str, Any]) -> None:
    """Slots of one value each, which copying would repeat until they fit."""
    slots = state["learner"]["optimizer"]["slots"]
    for name, kept in slots.items():
        small = {key: torch.zeros(1) for key in kept} if isinstance(kept, dict) else [torch.zeros(1) for _ in kept]
        slots[name] = small


def _with_slots_of_text(state: dict[str, Any]) -> None:
    state["learner"]["optimizer"]["slots"] = "all"


def _without_rng(state: dict[str, Any]) -> None:
    del state["learner"]["rng"]


def _without_one_best_weight(state: dict[str, Any]) -> None:
    weights = state["hooks"]["keep_best"]["weights"]
    del weights[next(iter(weights))]


def _with_small_best_weights(state: dict[str, Any]) -> None:
    kept = state["hooks"]["keep_best"]
    kept["weights"] = {name: torch.zeros(1) for name in kept["weights"]}


def _with_a_best_value_of_text(state: dict[str, Any]) -> None:
    state["hooks"]["keep_best"]["value"] = "high"


def _with_progress_of_text(state: dict[str, Any]) -> None:
    state["progress"]["losses"] = list("abc")


def _with_too_few_counts(state: dict[str, Any]) -> None:
    state["progress"]["counts"] = [*state["progress"]["counts"], 8]


@pytest.mark.parametrize("backend", ["torch", "numpy"])
@pytest.mark.parametrize(
    "damage",
    [
        *(_without_slots, _without_one_slot, _with_small_slots, _with_slots_of_text, _without_rng),
        *(_without_one_best_weight, _with_small_best_weights, _with_a_best_value_of_text),
        *(_with_progress_of_text, _with_too_few_counts),
    ],
)
def test_a_checkpoint_with_a_part_that_does_not_fit_is_told_and_costs_only_time(
    damage: Callable[[dict[str, Any]], None], backend: str, tmp_path: Path, stop: type[Stop]
) -> None:
    """Its seal is right: the run ended there, though the checkpoint before it was whole."""
    changes = {"train.checkpoint_seconds": 0, "backend": backend}
    stop.after = 19
    with pytest.raises(Interrupted):
        train(tmp_path, changes)
    paths = paths_of(config(changes), tmp_path)
    state = load_checkpoint(paths.last)
    damage(state)
    paths.last.write_bytes(sealed(state))
    before = paths.previous.read_bytes()
    stop.after = 10**9
    said: list[str] = []
    saves: list[bytes] = []
    _, records = train(
        tmp_path,
        changes,
        say=said.append,
        on_record=lambda record: saves.append(paths.previous.read_bytes()),
    )
    assert [record["from_step"] for record in records.resumes] == [16]
    assert f"a checkpoint in {paths.checkpoints} does not hold what this run saves" in said[0]
    assert said[0].endswith("; going on from the checkpoint before it")
    assert saves[0] == before
    assert without_times(records) == without_times(train(tmp_path / "whole", changes)[1])


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = paths_of(config(), tmp_path)
    paths.checkpoints.mkdir(parents=True)
    lines = done[0].log.read_bytes().split(b"\n")
    paths.log.write_bytes(b"\n".join(lines[:4]) + b'\n{"kind":"tr')
    _, records = train(tmp_path)
    assert [record["from_step"] for record in records.resumes] == [0]
    assert len(records.warnings) == 1
    assert without_times(records) == without_times(done[1])


def test_a_run_killed_while_writing_its_first_record_begins_again(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = paths_of(config(), tmp_path)
    paths.checkpoints.mkdir(parents=True)
    (paths.checkpoints / ".tmp-1-last.pt").touch()
    paths.log.write_bytes(done[0].log.read_bytes()[:100])
    _, records = train(tmp_path)
    assert records.resumes == []
    assert without_times(records) == without_times(done[1])
    assert not list(paths.checkpoints.glob(".tmp-*"))


@pytest.mark.parametrize(
    "content", [b"\0" * 3000, b"\0[]\nuser notes here", b"", None], ids=["zeros", "notes", "empty", "gone"]
)
@pytest.mark.parametrize("kept", ["checkpoints", "manifest.json"])
def test_a_run_whose_log_was_lost_is_not_trained_over(
    content: bytes | None, kept: str, done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = paths_of(config(), tmp_path)
    shutil.copytree(done[0].root, paths.root)
    shutil.rmtree(paths.checkpoints) if kept == "manifest.json" else paths.manifest.unlink()
    paths.log.unlink()
    if content is not None:
        paths.log.write_bytes(content)
    with pytest.raises(UserError, match=f"log.jsonl.*{kept}.* move .* away to train it anew") as error:
        train(tmp_path)
    assert "\n" not in str(error.value)
    assert (paths.log.read_bytes() if paths.log.exists() else None) == content


def test_a_run_killed_at_its_beginning_that_left_an_empty_log_begins_again(
    done: tuple[RunPaths, RunRecords], tmp_path: Path
) -> None:
    paths = paths_of(config(), tmp_path)
    paths.checkpoints.mkdir(parents=True)
    manifest = json.loads(done[0].manifest.read_text())
    paths.manifest.write_text(json.dumps({**manifest, "status": "running"}))
    paths.log.write_bytes(b"")
    assert without_times(train(tmp_path)[1]) == without_times(done[1])


def test_divergence(tmp_path: Path) -> None:
    changes = {"optimizer": {"name": "sgd", "lr": 1e30}, "train.log_every": {"steps": 100}}
    with pytest.raises(Diverged, match=r"at step [2-9] .*try a smaller optimizer\.lr"):
        train(tmp_path, changes)
    paths = paths_of(config(changes), tmp_path)
    lines = [json.loads(line) for line in paths.log.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["start", "train", "end"]
    assert lines[1]["nonfinite"] == ["loss"]
    assert (lines[2]["status"], lines[2]["steps"]) == ("diverged", 8)
    assert json.loads(paths.manifest.read_text())["status"] == "diverged"


def test_every_record_is_shown(tmp_path: Path) -> None:
    shown: list[Record] = []
    paths, _ = train(tmp_path, on_record=shown.append)
    assert [json.dumps(record) for record in shown] == [
        json.dumps(json.loads(line)) for line in paths.log.read_text().splitlines()
    ]


NUMPY: dict[str, dict[str, Any]] = {
    "mlp": {"backend": "numpy", "model.norm": "batch"},
    "convnet": {"backend": "numpy", "model": {"name": "eecs_convnet", "filters": 3, "kernel_size": 3, "dropout": 0.2}},
    "momentum": {
        "backend": "numpy",
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "train.precision": "fp64",
    },
}


@pytest.mark.parametrize("changes", NUMPY.values(), ids=NUMPY)
def test_a_numpy_run_goes_on_bit_for_bit(changes: dict[str, Any], tmp_path: Path, stop: type[Stop]) -> None:
    _, unbroken = train(tmp_path / "whole", changes)
    stop.steps = 0
    for after in (7, 16):
        stop.after = after
        with pytest.raises(Interrupted):
            train(tmp_path, changes)
    stop.after = 10**9
    _, records = train(tmp_path, changes)
    assert stop.steps == 24
    assert without_times(records) == without_times(unbroken)


def test_a_numpy_run_learns_and_is_evaluated_again(tmp_path: Path) -> None:
    changes = {"backend": "numpy", "model.dropout": 0.0, "train.steps": 300, "train.precision": "fp64"}
    paths, records = train(tmp_path, changes)
    assert records.finals["test"]["accuracy"] > 0.75
    again = evaluate_run(paths, "test").evaluation
    assert again.accuracy == records.finals["test"]["accuracy"]
    assert again.loss == records.finals["test"]["loss"]
    torch_records = train(tmp_path, {**changes, "backend": "torch"})[1]
    assert records.start["n_params"] == torch_records.start["n_params"]
    assert records.finals["test"]["accuracy"] == pytest.approx(torch_records.finals["test"]["accuracy"], abs=0.1)


SAME: dict[str, dict[str, Any]] = {
    "adam": {},
    "penalties": {
        "loss": {
            "name": "cross_entropy",
            "label_smoothing": 0.1,
            "penalty": [{"name": "l2", "coefficient": 0.01}, {"name": "l1", "coefficient": 1e-3, "on": "all"}],
        }
    },
    "schedule": {"schedule": {"name": "one_cycle", "warmup": {"steps": 5}}},
    "clip": {"train.clip": {"norm": 0.1}, "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9, "nesterov": True}},
    "early stopping": {
        "train.early_stop": {"patience": 2},
        "train.eval_every": {"steps": 2},
        "optimizer": {"name": "adam", "lr": 0.3},
        "train.metric": "loss",
    },
    "keep last": {
        "train.keep": "last",
        "train.order": "with_replacement",
        "optimizer": {"name": "rmsprop", "lr": 1e-3},
    },
    "norm": {"model.norm": "batch_from_zero", "model.activation": "elu", "optimizer": {"name": "sgd", "lr": 0.1}},
    "convnet": {"model": {"name": "eecs_convnet", "filters": 3, "kernel_size": 3, "hidden": 7}},
    "hinge": {"loss": {"name": "multiclass_hinge"}},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_both_backends_give_the_same_run_from_the_same_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    start = {"init": {"name": "legacy_normal", "std": 0.3}, "model.dropout": 0.0, "train.precision": "fp64"}
    given = {key: value for key, value in start.items() if not (key.startswith("model.") and "model" in changes)}
    runs = [train(tmp_path, {**given, **changes, "backend": name})[1] for name in ("numpy", "torch")]
    ours, theirs = ((*run.train, *run.evals) for run in runs)
    for a, b in zip(ours, theirs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
        assert (a["step"], a["accuracy"]) == (b["step"], b["accuracy"])
    ends = [run.end or {} for run in runs]
    assert ends[0]["steps"] == ends[1]["steps"]
    assert ends[0]["chosen"] == ends[1]["chosen"]
    if "train.early_stop" in changes:
        assert ends[0]["steps"] < 24


def test_a_diverging_numpy_run_is_told_without_warnings(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="the loss became"):
        train(tmp_path, {"backend": "numpy", "optimizer": {"name": "sgd", "lr": 1e30}})


def test_what_goes_wrong_while_a_folder_is_held_is_not_blamed_on_its_lock(tmp_path: Path) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "cat.png")
    with pytest.raises(UserError, match=r"^cat\.png: "), only_writer(RunPaths(tmp_path / "a" / "run")):
        raise missing
    with only_writer(RunPaths(tmp_path / "a" / "run")):  # and the lock is free again
        pass
