"""`dlassign doctor` from the outside: a config, a run, --explain, --json."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.launch.confirming import seeds_for
from dlassign.tables.comparison import Comparison
from helpers.runs import digits_run

CONFIG = """\
name: ill
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [16]}
loss: {name: double_softmax}
optimizer: {name: adam, lr: 1e-3}
train: {epochs: 10, batch_size: 64}
"""


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ill.yaml").write_text(CONFIG)


def doctor(*arguments: str, steps: bool = False) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments, *([] if steps else ["--no-steps"])])


def test_a_finding_looks_like_a_compilers_message() -> None:
    result = doctor("ill.yaml")
    assert result.exit_code == 1
    first, shown, marks, measured, *_ = result.stdout.splitlines()
    assert first.startswith("ill.yaml:4:14: loss.name: certain: double_softmax: the loss takes a softmax of")
    assert shown == "    4 | loss: {name: double_softmax}"
    assert marks.strip() == "| " + " " * 13 + "^" * 14
    assert measured == "      measured  lowest loss of 10 classes: ln(1 + 9 / e) = 1.4612"
    assert "cure      --set loss.name=cross_entropy" in result.stdout


def test_the_cure_is_an_option_that_mends_it() -> None:
    healthy = doctor("ill.yaml", "--set", "loss.name=cross_entropy")
    assert healthy.exit_code == 0
    assert healthy.stdout == "ill.yaml: nothing found (static)\n"


def test_the_first_steps_are_a_stage_of_their_own() -> None:
    values = ("loss.name=cross_entropy", "optimizer={name: sgd, lr: 1e-6}", "model.norm=batch", "train.steps=60")
    overrides = [part for value in (*values, "train.epochs=null") for part in ("--set", value)]
    result = doctor("ill.yaml", *overrides, steps=True)
    assert result.exit_code == 1
    assert "likely: lr_too_small" in result.stdout
    assert "(static and probe)" in result.stdout


def test_json_has_every_attribute_of_a_finding() -> None:
    found = json.loads(doctor("ill.yaml", "--json").stdout)
    assert (found["what"], found["stages"], found["more"]) == ("ill.yaml", ["static"], 0)
    [one] = found["findings"]
    assert (one["rule"], one["certainty"], one["place"]) == ("double_softmax", "certain", "ill.yaml:4:14")
    assert one["cure"] == "--set loss.name=cross_entropy"


def test_a_rule_is_explained_and_a_misspelt_one_guessed() -> None:
    assert doctor("--explain", "double_softmax").stdout.startswith("double_softmax (static)\n\nThe scores go through")
    wrong = doctor("--explain", "dubble_softmax")
    assert wrong.exit_code == 2
    assert "Did you mean double_softmax?" in wrong.stderr


def test_a_run_is_looked_at_by_its_config_and_its_log() -> None:
    run = digits_run(Path("out"), {"loss": {"name": "double_softmax"}})
    result = doctor(str(run))
    assert result.exit_code == 1
    assert "(static and log)" in result.stdout
    assert f"{run / 'config.yaml'}:" in result.stdout


def test_a_part_of_ones_own_may_call_its_keys_as_it_likes() -> None:
    Path("net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        '    def __init__(self, in_shape, n_classes, dropout: str = "none", hidden: str = "x"):\n'
        "        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))\n"
    )
    model = ("--set", "model={name: 'net.py:Net', dropout: high}", "--set", "loss.name=cross_entropy")
    result = doctor("ill.yaml", *model, "--code", "net.py")
    assert (result.exit_code, result.stdout) == (0, "ill.yaml: nothing found (static)\n")


def test_a_run_that_still_trains_and_one_of_another_version() -> None:
    run = digits_run(Path("out"), {"train.steps": 30, "train.log_every": {"steps": 5}})
    log = run / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:3]))
    assert doctor(str(run)).exit_code == 0
    log.write_text(lines[0].replace('"schema":1', '"schema":9'))
    other = doctor(str(run))
    assert other.exit_code == 1
    assert "has log schema 9" in other.stderr


@pytest.mark.parametrize(("init", "cure"), [("pytorch", "--set 'init={name: he}'"), ("he", "")])
def test_a_cure_that_the_config_has_already_is_left_out(init: str, cure: str) -> None:
    log = digits_run(Path("out"), {"init": {"name": init}}) / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    changed = [{**line, "loss": 99.0} if line["kind"] == "train" else line for line in lines]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in changed))
    found = {one["rule"]: one for one in json.loads(doctor(str(log.parent), "--json").stdout)["findings"]}
    assert found["loss_at_start"]["cure"] == cure


def test_a_cure_that_the_config_does_not_take_is_left_out() -> None:
    Path("dead.py").write_text(
        "from torch import nn\n\n\nclass Dead(nn.Sequential):\n    def __init__(self, in_shape, n_classes):\n"
        "        first = nn.Linear(64, 32)\n        nn.init.constant_(first.bias, -30.0)\n"
        "        super().__init__(nn.Flatten(), first, nn.ReLU(), nn.Linear(32, n_classes))\n"
    )
    overrides = ("loss.name=cross_entropy", "model={name: 'dead.py:Dead'}", "train.steps=20", "train.epochs=null")
    given = [part for value in overrides for part in ("--set", value)]
    result = doctor("ill.yaml", *given, "--code", "dead.py", "--json", steps=True)
    [dead] = [one for one in json.loads(result.stdout)["findings"] if one["rule"] == "dead_units"]
    assert dead["cure"] == ""
    assert "there is nothing to confirm" in doctor("ill.yaml", *given, "--code", "dead.py", "--confirm").stderr


def test_a_config_that_does_not_load_is_told_as_check_tells_it() -> None:
    wrong = doctor("ill.yaml", "--set", "optimizer.lr=-1")
    assert wrong.exit_code == 2
    assert "--set:1:14: optimizer.lr" in wrong.stderr


def test_neither_config_nor_run() -> None:
    assert "no config and no run is given" in doctor().stderr
    missing = doctor("out/nothing")
    assert missing.exit_code == 1
    assert "there is no run out/nothing" in missing.stderr


def test_a_run_without_its_config_or_with_a_damaged_log() -> None:
    run = digits_run(Path("out"))
    (run / "config.yaml").unlink()
    result = doctor(str(run))
    assert result.exit_code == 0
    assert "note: only the log was looked at: " in result.stdout
    assert "nothing found (log)" in result.stdout
    log = run / "log.jsonl"
    text = log.read_text()
    log.write_text(text + '{"kind": "tor')
    assert "not a complete record, skipped" in doctor(str(run)).stdout
    log.write_text(re.sub(r'"confusion":\[\[[^]]*\]', '"confusion":[[1,2]', text))
    damaged = doctor(str(run))
    assert damaged.exit_code == 1
    assert "log.jsonl is damaged" in damaged.stderr


def test_a_cure_is_confirmed_with_the_same_seeds() -> None:
    values = ("data.split.train=100", "model.hidden=[1]", "train.epochs=2", "loss.name=cross_entropy")
    overrides = [part for value in values for part in ("--set", value)]
    result = doctor("ill.yaml", *overrides, "--confirm", "--seeds", "2", "--json")
    assert result.exit_code == 0, result.output
    assert (
        "4 to train, one after the other, of the runs as it is, and with --set 'model.hidden=[40]'\n" in result.stderr
    )
    assert re.search(r"cured, seed 1 \(4 of 4, about \d+:\d\d to go\):", result.stderr)
    found = json.loads(result.stdout)
    assert found["finding"]["rule"] == "bottleneck"
    assert len(list(Path("out/ill").glob("*-s[01]"))) == 4
    assert "comparison" in found
    again = doctor("ill.yaml", *overrides, "--confirm", "--seeds", "2")
    assert "0 to train" in again.stderr
    assert "4 of 4 are there already" in again.stderr
    assert "seed 0" not in again.stderr
    assert "cure      --set 'model.hidden=[40]'" in again.stdout
    assert "A and B differ in model.hidden: [1] | [40]" in again.stdout


def test_the_command_that_trains_the_missing_seeds_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.launch.confirming.seeds_for", lambda compared: 4)
    overrides = ("--set", "data.split.train=100", "--set", "model.hidden=[1]", "--set", "train.epochs=1")
    result = doctor("ill.yaml", *overrides, "--set", "loss.name=cross_entropy", "--confirm", "--seeds", "1")
    last = result.stdout.splitlines()[-1]
    assert last.endswith("  trains the seeds that are missing.")
    command = shlex.split(last.removesuffix("  trains the seeds that are missing."))
    assert command[:3] == ["dlassign", "doctor", "ill.yaml"]
    assert doctor(*command[2:]).exit_code == 0
    assert len(list(Path("out/ill").glob("*-s[0123]"))) == 8
    assert doctor("ill.yaml", "--seeds", "2").exit_code == 2


@pytest.mark.parametrize(("needed", "expected"), [(None, None), (2, None), (3, None), (4, 4), (30, 30), (31, None)])
def test_seeds_are_proposed_where_a_few_more_would_tell(needed: int | None, expected: int | None) -> None:
    group = SimpleNamespace(values={0: 0.9, 1: 0.8, 2: 0.9})
    versus = SimpleNamespace(seeds=SimpleNamespace(needed=needed))
    assert seeds_for(cast(Comparison, SimpleNamespace(groups=[group, group], against_first=[versus]))) == expected


def test_there_is_nothing_to_confirm_in_a_healthy_config() -> None:
    healthy = doctor("ill.yaml", "--set", "loss.name=cross_entropy", "--confirm")
    assert healthy.exit_code == 1
    assert "there is nothing to confirm" in healthy.stderr
