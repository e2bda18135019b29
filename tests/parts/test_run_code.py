"""The copy of a user's code in a run folder: it names the run, which is resumed and opened with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.deploy.model import load_model
from dlassign.errors import UserError
from dlassign.parts.code import Code
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import Record, read_records
from dlassign.train.experiment import run_experiment
from dlassign.verify.one_run import verify_run
from helpers.records import without_times
from helpers.runs import paths_of, stop_after_steps

NET = """\
import torch
from blocks import body


class Net(torch.nn.Module):
    \"\"\"A small net that drops a part of its activations.\"\"\"

    def __init__(self, in_shape, n_classes, *, width: int = 8):
        super().__init__()
        self.body = body(in_shape[0], width)
        self.head = torch.nn.Linear(width, n_classes)

    def forward(self, x):
        return self.head(torch.nn.functional.dropout(self.body(x), 0.1, self.training))
"""
BLOCKS = """\
from torch import nn


def body(channels, width):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
"""
CONFIG = """\
name: own
data: {name: digits, split: {train: 60, val: 20, test: 20}, preprocess: [{name: scale, divisor: 16}]}
model: {name: "net.py:Net", width: 6}
optimizer: {name: adam, lr: 0.01}
train: {steps: 8, batch_size: 16, log_every: {steps: 2}, eval_every: {steps: 3}, keep_checkpoints: all}
device: cpu
"""
Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Calls the command line in a folder with a config and its code."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"net.py": NET, "blocks.py": BLOCKS, "a.yaml": CONFIG}.items():
        Path(name).write_text(text)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


def train(command: Command, out: str = "out", *more: str) -> RunPaths:
    done = command("train", "a.yaml", "--code", "net.py", "--out", out, *more)
    assert done.exit_code == 0, done.output
    [paths] = find_runs(Path(out))
    return paths


def test_the_folder_holds_what_ran_and_the_run_is_named_by_it(command: Command) -> None:
    first = train(command)
    assert {str(path.relative_to(first.code)) for path in first.code.iterdir()} == {"net.py", "blocks.py"}
    assert (first.code / "net.py").read_text() == NET
    Path("blocks.py").write_text(f"{BLOCKS}# another byte\n")
    done = command("train", "a.yaml", "--code", "net.py")
    assert done.exit_code == 0
    assert (
        f"{first.root} has the same config and seed, and net.py has changed since: this is another run" in done.output
    )
    assert len(list(find_runs(Path("out")))) == 2
    # As it was, it is the first run again.
    Path("blocks.py").write_text(BLOCKS)
    assert "already finished" in command("train", "a.yaml", "--code", "net.py").output


@pytest.mark.parametrize("after", [2, 5])
def test_interrupted_and_resumed_it_ends_in_the_same_bits(
    after: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train(command, "unbroken")
    with monkeypatch.context() as patch:
        stop_after_steps(patch).after = after
        assert command("train", "a.yaml", "--code", "net.py").exit_code == 130
    resumed = train(command)
    assert resumed.root.name == unbroken.root.name
    expected, found = read_records(unbroken.log), read_records(resumed.log)
    assert found.end["weights_sha256"] == expected.end["weights_sha256"]  # type: ignore[index]
    assert without_times(found) == without_times(expected)


def test_files_that_change_while_a_run_goes_on_change_nothing_of_it(command: Command) -> None:
    unbroken = train(command, "unbroken")
    cfg = load_config("a.yaml", code=Code([Path("net.py")]))
    paths = paths_of(cfg, Path("out"))

    def change(record: Record) -> None:
        Path("net.py").write_text("1 / 0\n")
        Path("blocks.py").unlink(missing_ok=True)

    changed = run_experiment(cfg, paths, on_record=change)
    assert not Path("blocks.py").exists()
    assert changed.end["weights_sha256"] == read_records(unbroken.log).end["weights_sha256"]  # type: ignore[index]
    assert [(paths.code / name).read_text() for name in ("net.py", "blocks.py")] == [NET, BLOCKS]
    assert command("evaluate", str(paths.root), "--trust").exit_code == 0


def test_it_is_opened_only_if_it_is_trusted(command: Command) -> None:
    paths = train(command)
    for name in ("net.py", "blocks.py"):
        Path(name).unlink()  # the copy alone counts
    for line in (["evaluate", str(paths.root)], ["predict", str(paths.root), "--split", "test"]):
        done = command(*line)
        assert done.exit_code == 1
        assert done.stderr == (
            f"{paths.root} has parts of its user's own (net.py:Net), and this would run their code; look at "
            f"{paths.code}, and if you trust it add --trust\n"
        )
        assert command(*line, "--trust").exit_code == 0
    found = json.loads(command("evaluate", str(paths.root), "--trust", "--json").stdout)
    assert found["accuracy"] == read_records(paths.log).finals["test"]["accuracy"]
    with pytest.raises(UserError, match="if you trust it"):
        load_model(paths.root)


def test_an_edited_copy_is_refused(command: Command) -> None:
    paths = train(command)
    (paths.code / "blocks.py").write_text(BLOCKS.replace("ReLU", "Tanh"))
    done = command("evaluate", str(paths.root), "--trust")
    assert done.exit_code == 1
    assert "is not what was trained: its digest is " in done.stderr
    (paths.code / "net.py").unlink()
    assert "net.py cannot be read" in command("evaluate", str(paths.root), "--trust").stderr


@pytest.mark.parametrize("trust", [False, True])
def test_of_an_edited_copy_verify_says_once_that_it_is_not_that_of_the_log(trust: bool, command: Command) -> None:
    paths = train(command)
    judged = {(one.name, one.verdict) for one in verify_run(paths, trust=trust).judgements}
    assert ("code", "consistent") in judged
    (paths.code / "blocks.py").write_text(f"{BLOCKS}# edited\n")
    found = verify_run(paths, trust=trust)
    assert found.verdict == "contradicted"
    assert [one.verdict for one in found.judgements if "digest is" in one.what] == ["contradicted"]
    (paths.code / "net.py").unlink()
    assert verify_run(paths, trust=trust).verdict == "consistent"


def test_an_exported_net_takes_its_code_with_it(command: Command) -> None:
    paths = train(command)
    done = command("export", str(paths.root), "--to", "hf", "--out", "model", "--trust")
    assert done.exit_code == 0, done.output
    assert Path("model/code/net.py").read_text() == NET
    with pytest.raises(UserError, match=r"look at model/code, and if you trust it"):
        load_model("model")
    image = np.arange(64, dtype=np.uint8).reshape(8, 8) % 17
    expected = load_model(paths.root, trust=True).predict_proba(image)
    np.testing.assert_array_equal(load_model("model", trust=True).predict_proba(image), expected)
    Path("model/code/net.py").write_text(f"{NET}#")
    with pytest.raises(UserError, match="is not what was trained"):
        load_model("model", trust=True)


def test_what_reads_logs_alone_needs_no_trust(command: Command) -> None:
    paths = train(command)
    for line in (["plot", str(paths.root)], ["runs", "out"], ["report", "out"]):
        assert command(*line).exit_code == 0


SWEEP = """\
name: grid
base: a.yaml
space: {optimizer.lr: [0.01, 0.02], model.width: [4, 6]}
strategy: grid
"""


@pytest.mark.parametrize(
    "executor",
    [
        "serial",
        "stacked",
        # They start processes, which import torch.
        pytest.param("processes", marks=pytest.mark.slow),
        pytest.param("ray", marks=pytest.mark.extra),
    ],
)
def test_a_sweep_trains_with_it_and_trains_anew_with_other_code(executor: str, command: Command) -> None:
    single = train(command, "alone", "--set", "optimizer.lr=0.02")
    Path("grid.yaml").write_text(SWEEP)
    line = ("sweep", "grid.yaml", "--code", "net.py", "--executor", executor)
    done = command(*line)
    assert done.exit_code == 0, done.output
    runs = {paths.root.name: paths for paths in find_runs(Path("out"))}
    assert len(runs) == 4
    digests = [read_records(paths.log).end["weights_sha256"] for paths in runs.values()]  # type: ignore[index]
    assert read_records(single.log).end["weights_sha256"] in digests  # type: ignore[index]
    assert all((paths.code / "blocks.py").read_text() == BLOCKS for paths in runs.values())
    Path("blocks.py").write_text(f"{BLOCKS}# another byte\n")
    assert command(*line).exit_code == 0
    assert len(list(find_runs(Path("out")))) == 8


def test_a_sweep_may_search_among_own_parts_and_is_told_where_they_are_wrong(command: Command) -> None:
    Path("grid.yaml").write_text(
        'name: grid\nbase: a.yaml\nspace:\n  model: [{name: "net.py:Net", width: 4}, {name: mlp, hidden: [4]}]\n'
        "strategy: grid\n"
    )
    assert command("sweep", "grid.yaml", "--code", "net.py", "--executor", "serial").exit_code == 0
    done = command("sweep", "grid.yaml")
    assert done.exit_code == 2
    assert "grid.yaml:4:18: model.name: net.py is code of your own" in done.stderr
    assert "allow it with --code net.py" in done.stderr


METRIC = """\
def rows_of_class_3(scores, y, *, shift: float = 0.0):
    return float((scores.argmax(1) == 3).mean() + shift)
"""


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_metric_is_logged_chooses_and_is_shown(backend: str, command: Command) -> None:
    Path("metric.py").write_text(METRIC)
    sets = [
        *(
            "--set",
            "model={name: mlp, hidden: [8]}",
            "--set",
            f"backend={backend}",
            "--set",
            "train.eval_every.steps=1",
        ),
        *("--set", 'train.metric={name: "metric.py:rows_of_class_3", better: lower, shift: 1.5}'),
    ]
    done = command("train", "a.yaml", "--code", "metric.py", *sets)
    assert done.exit_code == 0, done.output
    [paths] = find_runs(Path("out"))
    records = read_records(paths.log)
    values = {record["step"]: record["metric"] for record in records.evaluations("val")}
    assert len(values) == 8
    assert all(1.5 <= value <= 2.5 for value in values.values())
    assert records.end is not None
    best = records.end["best"]
    # The first of equals.
    assert best == {
        "step": min(values, key=lambda step: (values[step], step)),
        "metric": best["metric"],
        "value": min(values.values()),
    }
    assert best["metric"] == "metric.py:rows_of_class_3"
    assert f"metric.py:rows_of_class_3 {records.finals['test']['metric']:.4f}" in done.stdout
    found = json.loads(command("evaluate", str(paths.root), "--trust", "--json").stdout)
    assert found["metric"] == {"metric.py:rows_of_class_3": records.finals["test"]["metric"]}
    for line in (
        ["plot", str(paths.root)],
        ["runs", "out"],
        ["report", "out"],
        ["export", "out", "--to", "csv", "--out", "csv"],
    ):
        assert command(*line).exit_code == 0


def test_parts_may_stand_in_parts(command: Command) -> None:
    Path("both.py").write_text(
        "import torch\n\n\ndef loss(scores, y):\n    return torch.nn.functional.cross_entropy(scores, y)\n\n\n"
        "def penalty(params):\n    return sum(p.square().sum() for p in params.values())\n"
    )
    line = 'loss={name: "both.py:loss", penalty: [{name: "both.py:penalty", coefficient: 0.1}]}'
    done = command("train", "a.yaml", "--code", "net.py", "--code", "both.py", "--set", line)
    assert done.exit_code == 0, done.output
    [paths] = find_runs(Path("out"))
    assert command("evaluate", str(paths.root), "--trust").exit_code == 0


def test_a_run_that_goes_on_puts_its_code_back(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after_steps(patch).after = 5
        assert command("train", "a.yaml", "--code", "net.py").exit_code == 130
    [paths] = find_runs(Path("out"))
    (paths.code / "net.py").unlink()
    (paths.code / "blocks.py").write_text("edited")
    assert train(command).root == paths.root
    assert command("evaluate", str(paths.root), "--trust").exit_code == 0
