"""What `train`, `evaluate`, `runs` and `plot` say of time, precision and test-time augmentation."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.plots import panel
from dlassign.stats.text import share_text
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import PHASES, read_records
from dlassign.store.summary import summarise
from dlassign.train import arithmetic

CONFIG = """\
name: small
data: {name: digits, split: {train: 100, val: 50, test: 60}, preprocess: [{name: scale, divisor: 16}]}
model: {name: vgg, stages: [[4]], pool_size: 2, pool_padding: 0}
optimizer: {name: sgd, lr: 0.1}
train:
  steps: 8
  batch_size: 25
  log_every: {steps: 2}
  eval_every: {steps: 4}
  test_time_augmentation: {shift: 1}
"""
NEW_KEYS = (
    *("accumulate", "average", "freeze", "freeze_at", "unfreeze_at"),
    *("channels_last", "compile", "test_time_augmentation"),
)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Result]:
    """A folder with a run, and what `train` says of it, in words and in JSON."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "a.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "cpu_flags", lambda: {"avx512_bf16"})
        patch.setattr("dlassign.store.clock.since_process_start", lambda: 5.0)
        words = run("train", "--config", str(folder / "a.yaml"), "--out", str(folder / "out"))
    return (
        folder / "out",
        words,
        run("train", "--config", str(folder / "a.yaml"), "--out", str(folder / "out"), "--json"),
    )


@pytest.fixture
def out(trained: tuple[Path, Result, Result], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "out", symlinks=True))


@pytest.fixture
def old(out: Path) -> RunPaths:
    """The run as an earlier version would have left it."""
    [paths] = find_runs(out)
    copy = RunPaths(Path(shutil.copytree(paths.root, out / "old" / "0123abcd-s0")))
    lines = [json.loads(line) for line in copy.log.read_text().splitlines()]
    start, end = lines[0], lines[-1]
    for key in ("arithmetic", "pretrained"):
        del start[key]
    start["config"]["train"] = {k: v for k, v in start["config"]["train"].items() if k not in NEW_KEYS}
    start["config"]["train"]["precision"] = "fp32"
    for line in lines:
        line.pop("wall", None)
        line.pop("chain", None)
    del end["seconds"]["other"]
    kept = [json.dumps(line) for line in lines if line["kind"] not in ("tta", "checkpoint")]
    copy.log.write_text("\n".join(kept) + "\n")
    text = copy.config.read_text().replace("precision: auto", "precision: fp32")
    keys = "|".join(NEW_KEYS)
    text = re.sub(rf"^  (?:{keys}):.*\n(?:    .*\n)*", "", text, flags=re.MULTILINE)
    assert "test_time" not in text
    copy.config.write_text(text)
    return copy


def test_train_says_precision_and_views(trained: tuple[Path, Result, Result]) -> None:
    _, words, as_json = trained
    result = json.loads(as_json.stdout)
    assert (result["precision"], result["precision_why"]) == ("bf16", "auto: convolutions on a CPU with avx512_bf16")
    parameters = 9 * 4 + 4 + 4 + 4 + 16 * 4 * 10 + 10
    lines = words.stdout.splitlines()
    assert f"model  {parameters} parameters, bf16 (auto: convolutions on a CPU with avx512_bf16)" in lines
    for split in ("val", "test"):
        plain, views = result[split], result[f"{split}_tta"]
        assert views["views"] == 6
        assert plain["loss"] != views["loss"]
        place = next(i for i, line in enumerate(lines) if line.startswith(split))
        accuracy = share_text(plain["accuracy"], plain["n"])
        assert lines[place].startswith(f"{split:<6} accuracy {accuracy}, loss {plain['loss']:.4f} (best")
        accuracy = share_text(views["accuracy"], views["n"])
        beside = f"{split:<6} accuracy {accuracy}, loss {views['loss']:.4f} (6 views of each image)"
        assert lines[place + 1] == beside


def test_the_clock_of_a_run_begins_with_the_process(trained: tuple[Path, Result, Result]) -> None:
    [paths] = find_runs(trained[0])
    records = read_records(paths.log)
    seconds = (records.end or {})["seconds"]
    assert records.train[0]["wall"] > 5.0
    assert seconds["other"] > 5.0 - seconds["import"] - 0.1
    assert seconds["total"] > records.train[-1]["wall"]


def evaluate(paths: RunPaths, *arguments: str) -> Any:
    result = run("evaluate", str(paths.root), "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_evaluate_with_views_gives_both_results_of_the_run(out: Path) -> None:
    [paths] = find_runs(out)
    records = read_records(paths.log)
    found = evaluate(paths, "--views")
    assert (found["accuracy"], found["loss"]) == tuple(records.finals["test"][key] for key in ("accuracy", "loss"))
    assert found["tta"] == {key: records.augmented["test"][key] for key in ("loss", "accuracy", "views")}
    assert "tta" not in evaluate(paths)
    lines = run("evaluate", str(paths.root), "--views").stdout.splitlines()
    assert lines[1].startswith(f"accuracy {share_text(found['accuracy'], found['n'])}, ")
    tta = found["tta"]
    assert (
        lines[3]
        == f"accuracy {share_text(tta['accuracy'], found['n'])}, loss {tta['loss']:.4f} (6 views of each image)"
    )


def test_evaluate_keeps_the_precision_of_the_run_unless_told_otherwise(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [paths] = find_runs(out)
    monkeypatch.setattr(arithmetic, "cpu_flags", set)
    loss = read_records(paths.log).finals["test"]["loss"]
    assert evaluate(paths)["loss"] == loss
    single = evaluate(paths, "--set", "train.precision=fp32")["loss"]
    assert single != loss
    assert single == pytest.approx(loss, rel=0.03)


def test_a_cpu_without_bf16_is_told_before_training(
    trained: tuple[Path, Result, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, slow = str(trained[0].parent / "a.yaml"), "computes in fp32, since this CPU has no amx_bf16 or avx512_bf16"
    monkeypatch.setattr(arithmetic, "cpu_flags", lambda: {"avx512_bf16"})
    assert "computes in" not in run("check", config).stdout
    monkeypatch.setattr(arithmetic, "cpu_flags", set)
    assert f"{config}: {slow}" in run("check", config).stdout
    words = run("train", "--config", config, "--out", str(tmp_path), "--set", "train.steps=2")
    assert words.stderr.count(slow) == 1


def test_evaluate_needs_views_to_evaluate(old: RunPaths) -> None:
    result = run("evaluate", str(old.root), "--views")
    assert result.exit_code == 2
    cure = "--set 'train.test_time_augmentation={}'"
    assert f"the run has no test-time augmentation; say which with {cure}" in result.stderr
    assert evaluate(old, "--views", "--set", "train.test_time_augmentation={flip: false}")["tta"]["views"] == 3


def test_a_run_of_fp16_is_evaluated_on_a_cpu_in_another_precision(out: Path) -> None:
    [paths] = find_runs(out)
    first, *others = paths.log.read_text().splitlines()
    start = json.loads(first)
    start["arithmetic"] |= {"precision": "fp16", "compile": True}
    paths.log.write_text("\n".join([json.dumps(start), *others]) + "\n")
    result = run("evaluate", str(paths.root), "--device", "cpu")
    assert result.exit_code == 2
    assert "fp16 is for GPUs; on the CPU use bf16, fp32 or auto" in result.stderr
    assert evaluate(paths, "--set", "train.precision=fp32", "--device", "cpu")["n"] == 60


def test_runs_knows_precision_views_and_phases(old: RunPaths, out: Path) -> None:
    [new] = [paths for paths in find_runs(out) if paths.root != old.root]
    records = read_records(new.log)
    end = records.end or {}
    columns = "precision,test_tta,val_tta,seconds.train,seconds.data,seconds.compile"
    found = json.loads(run("runs", str(out), "--columns", "run," + columns, "--json", "--sort", "precision").stdout)
    assert [row["run"] for row in found] == [str(new.root), str(old.root)]
    assert found[0] == {
        "run": str(new.root),
        "precision": "bf16",
        "test_tta": 100 * records.augmented["test"]["accuracy"],
        "val_tta": 100 * records.augmented["val"]["accuracy"],
        "seconds.train": end["seconds"]["train"],
        "seconds.data": end["seconds"]["data"],
        "seconds.compile": None,
    }
    assert (found[1]["precision"], found[1]["test_tta"]) == ("fp32", None)
    head, *rows = run("runs", str(out), "--columns", columns).stdout.splitlines()
    assert re.split("  +", head) == [
        "precision", "test_tta %", "val_tta %", "seconds.train", "seconds.data", "seconds.compile"
    ]  # fmt: skip
    assert f"{100 * records.augmented['test']['accuracy']:.2f}" in rows[0] + rows[1]
    assert json.loads(run("runs", str(out), "--where", "test_tta>=0", "--json").stdout)[0]["precision"] == "bf16"
    whole = summarise(new)
    assert sum(whole.seconds_by_phase.values()) == pytest.approx(whole.seconds)
    assert set(whole.seconds_by_phase) == {*PHASES} - {"compile"}
    shown = " ".join(run("runs", "--help").stdout.split())
    for word in ("precision", "test_tta", "val_tta", "seconds.PHASE", *PHASES):
        assert word in shown


def test_runs_are_sorted_by_the_seconds_of_a_phase(old: RunPaths, out: Path) -> None:
    lines = old.log.read_text().splitlines()
    end = json.loads(lines[-1])
    end["seconds"]["eval"] = 1e6
    old.log.write_text("\n".join([*lines[:-1], json.dumps(end)]) + "\n")
    for sort, place in (("seconds.eval", -1), ("-seconds.eval", 0)):
        found = json.loads(run("runs", str(out), "--sort", sort, "--json", "--columns", "run,seconds.eval").stdout)
        assert found[place] == {"run": str(old.root), "seconds.eval": 1e6}
    message = run("runs", str(out), "--sort", "seconds.tain").stderr
    assert "Did you mean 'seconds.train'" in message


def test_plot_against_wall_clock_time(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [paths] = find_runs(out)
    drawn: list[tuple[str, float, float]] = []
    frame = panel.Panel.frame

    def noted(self: panel.Panel, *arguments: Any) -> None:
        frame(self, *arguments)
        xs = [x for line in self.axes.lines for x in line.get_xdata()]
        drawn.append((self.axes.get_xlabel(), min(xs), max(xs)))

    monkeypatch.setattr(panel.Panel, "frame", noted)
    result = run("plot", str(paths.root), "--x", "wall")
    assert result.exit_code == 0, result.output
    records = read_records(paths.log)
    first, last = records.train[0]["wall"], records.evaluations("val")[-1]["wall"]
    assert drawn == [("time since the run was started (seconds)", first, last)] * 2


def test_runs_of_earlier_versions_have_no_wall_clock_time(old: RunPaths, out: Path) -> None:
    result = run("plot", str(old.root), "--x", "wall")
    assert result.exit_code == 1
    assert "these logs hold no wall-clock time, an earlier version wrote them; use --x seconds" in result.stderr
    together = run("plot", str(out), "--x", "wall", "--metric", "loss")
    assert together.exit_code == 0
    assert f"{old.root} is left out: its log holds no wall-clock time" in together.stderr
    for x in ("step", "epoch", "seconds"):
        assert run("plot", str(out), "--x", x, "--metric", "loss").exit_code == 0


def test_a_run_that_has_only_begun_is_drawn(out: Path) -> None:
    [paths] = find_runs(out)
    paths.log.write_text(paths.log.read_text().splitlines()[0] + "\n")
    assert run("plot", str(paths.root), "--x", "wall", "--metric", "loss").exit_code == 0


def test_runs_of_earlier_versions_are_still_listed_and_evaluated(old: RunPaths) -> None:
    records = read_records(old.log)
    assert summarise(old).precision == "fp32"
    assert summarise(old).status == "finished"
    assert evaluate(old)["accuracy"] == pytest.approx(records.finals["test"]["accuracy"], abs=0.05)


def test_views_that_do_not_fit_are_refused_before_training(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(CONFIG.replace("shift: 1", "shift: 8"))
    arguments = ["train", "--config", str(config), "--out", str(tmp_path / "out")]
    started = time.perf_counter()
    result = run(*arguments)
    assert result.exit_code == 2
    message = "a.yaml:10:35: train.test_time_augmentation.shift: 8 mirrored pixels of an image with 8; give at most 7"
    assert message in result.stderr
    config.write_text(CONFIG.replace("{name: scale, divisor: 16}", "{name: flatten}"))
    flat = ["--set", "model={name: mlp, hidden: [4]}"]
    result = run(*arguments, *flat)
    assert result.exit_code == 2
    assert "the samples are rows of 64 values; only images can be augmented; remove it" in result.stderr
    assert time.perf_counter() - started < 60
    assert not list((tmp_path / "out").rglob("log.jsonl"))
