"""Stretches that are trained again: equal bits of each learner, and what is said where they cannot be or are not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dlassign.config.load import dump_plain, load_config
from dlassign.errors import Interrupted
from dlassign.parts.code import Code
from dlassign.store import manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.experiment import run_experiment
from dlassign.verify.judgement import Judgement
from dlassign.verify.outcome import Stretch
from dlassign.verify.retrain import retrain
from dlassign.verify.stretch import FEWER, chosen, repeat_stretches
from helpers.repeated import BACKENDS, STEPS, copy_of, edit_log, files_of, move_a_weight, repeatable_run, stacked_runs
from helpers.runs import Stop, stop_after_steps, tiny_config

OLD = Path(__file__).parents[1] / "old_runs"


pytestmark = pytest.mark.usefixtures("one_machine_and_one_version")


def repeat(run: RunPaths, count: int = 5, **options: Any) -> list[Judgement]:
    """Repeat all stretches of a run, or so many; what is said of their number, one test below looks at."""
    found = repeat_stretches(run, count, **{"choice": 0, **options})
    return [judgement for judgement in found if judgement.name != FEWER]


def verdicts(judgements: list[Judgement]) -> list[str]:
    return [judgement.verdict for judgement in judgements]


@pytest.mark.parametrize("changes", BACKENDS.values(), ids=BACKENDS)
def test_stretches_of_each_learner_give_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    run = repeatable_run(tmp_path, changes)
    torch.manual_seed(999)  # another process has other random numbers
    before = files_of(run)
    found = repeat(run)
    assert set(verdicts(found)) == {"proven"}
    assert found[0].what == "steps 1 to 4, from the beginning: the same weights and 2 equal log records"
    assert found[-1].what.startswith("steps 9 to 12, from the checkpoint of step 8: the same weights and ")
    assert files_of(run) == before


def test_members_of_a_stack_give_alone_the_same_bits(tmp_path: Path) -> None:
    found = [one for run in stacked_runs(tmp_path, 2) for one in repeat(run)]
    assert set(verdicts(found)) == {"proven"}


@pytest.mark.slow  # torch compiles twice
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_gives_the_same_bits(tmp_path: Path) -> None:
    run = repeatable_run(tmp_path, {"train.compile": "on"})
    torch._dynamo.reset()  # as another process, which has compiled nothing
    assert set(verdicts(repeat(run))) == {"proven"}


def test_the_choice_can_be_repeated(run: RunPaths) -> None:
    chains = [[Stretch(step, step + 1, begins=True)] for step in range(20)]
    picked = [[chain[0].start for chain in chosen(chains, 3, choice=seed)] for seed in (1, 1, 2)]
    assert picked[0] == picked[1] != picked[2]
    assert len(repeat(run, 1)) == 1


def test_what_follows_is_repeated_where_few_checkpoints_were_kept() -> None:
    follows = [Stretch(step, step + 1, begins=step == 0) for step in range(5)]
    last = [Stretch(5, 6, begins=True)]
    assert [len(chain) for chain in chosen([follows, last], 4, choice=0)] == [3, 1]
    assert [len(chain) for chain in chosen([follows, last], 99, choice=0)] == [5, 1]


def test_a_changed_checkpoint_is_contradicted(run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)
    move_a_weight(forged.last)
    wrong = [one for one in repeat(forged) if one.verdict == "contradicted"]
    assert any(re.match(r"steps 9 to 12, .*: the weights after step 12 are \w+, not \w+", one.what) for one in wrong)
    assert {one.where for one in wrong} == {str(forged.last)}


def test_no_stretch_begins_at_a_changed_checkpoint(run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)
    move_a_weight(forged.previous)
    found = repeat(forged)
    assert found[0].verdict == "contradicted"
    assert "no stretch can begin at step 8" in found[0].what
    assert "steps 5 to 8, from step 4: the weights after step 8" in " ".join(one.what for one in found)


def test_a_damaged_checkpoint_is_left_out(run: RunPaths, tmp_path: Path) -> None:
    damaged = copy_of(run, tmp_path)
    damaged.previous.write_bytes(damaged.previous.read_bytes()[:-200])
    found = repeat(damaged)
    assert verdicts(found) == ["cannot be told", "proven", "proven", "proven"]
    assert "is damaged" in found[0].what


def test_a_changed_number_is_contradicted_at_its_line(run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)

    def better(record: dict[str, Any]) -> None:
        if record["kind"] == "train" and record["step"] == 9:
            record["loss"] -= 1e-9

    edit_log(forged, better)
    wrong = [one for one in repeat(forged) if one.verdict == "contradicted"]
    assert len(wrong) == 1
    assert re.search(r"steps 9 to 12, .*: loss of the train record of step 9 is .*, the log says", wrong[0].what)
    assert re.fullmatch(rf"{forged.log}:\d+", wrong[0].where)


def test_a_record_that_training_does_not_write_is_contradicted(run: RunPaths, tmp_path: Path) -> None:
    forged = copy_of(run, tmp_path)
    edit_log(forged, lambda record: record.update(step=10) if record.get("step") == 9 else None)
    assert "training again has no train record of step 10" in " ".join(one.what for one in repeat(forged))


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_statistics_are_repeated_too(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.train.plan.MEASURE_EVERY", 4)
    run = repeatable_run(tmp_path, {"backend": backend})
    assert [record["step"] for record in read_records(run.log).statistics] == [4, 8, 12]
    found = [*repeat(run), *retrain(run)]
    assert set(verdicts(found)) == {"proven"}
    assert found[0].what == "steps 1 to 4, from the beginning: the same weights and 3 equal log records"
    edit_log(run, lambda record: record["gradients"].update({"head.bias": 9.0}) if "gradients" in record else None)
    for wrong in (repeat(run)[0], *retrain(run)):
        assert wrong.verdict == "contradicted"
        assert "gradients of the statistics of step 4 is " in wrong.what


def test_a_log_without_statistics_lacks_nothing(run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.train.plan.MEASURE_EVERY", 4)  # as of an earlier version, or of a stack
    assert set(verdicts([*repeat(run), *retrain(run)])) == {"proven"}


OTHERS = {
    "threads": ("threads", 999, "threads was 999, is 1"),
    "processor": ("device_name", "another one", "device name was another one"),
    "machine": ("platform", "another one", "platform was another one"),
    "library": ("packages", {"torch": "1.0"}, "torch was 1.0"),
    "nothing is said": ("threads", None, "threads was not told"),
}


@pytest.mark.parametrize(("key", "value", "why"), OTHERS.values(), ids=OTHERS)
def test_elsewhere_other_bits_contradict_nothing(key: str, value: Any, why: str, run: RunPaths, tmp_path: Path) -> None:
    elsewhere = copy_of(run, tmp_path)

    def moved(record: dict[str, Any]) -> None:
        if "environment" in record:
            record["environment"][key] = value
        if "weights_sha256" in record:  # as another machine computes them
            record["weights_sha256"] = record["weights_sha256"][::-1]

    edit_log(elsewhere, moved)
    for kept in (elsewhere.last, elsewhere.previous, elsewhere.best):
        kept.unlink()
    found = repeat(elsewhere)
    assert set(verdicts(found)) == {"cannot be told"}
    assert why in found[0].what


def test_equal_bits_are_proof_wherever_they_were_computed(run: RunPaths, tmp_path: Path) -> None:
    elsewhere = copy_of(run, tmp_path)
    edit_log(elsewhere, lambda record: record.get("environment", {}).update(device_name="another one"))
    assert set(verdicts(repeat(elsewhere))) == {"proven"}


def test_runs_of_an_earlier_version_contradict_nothing() -> None:
    runs = [RunPaths(log.parent) for log in sorted((OLD / "out").glob("*/*-s?/log.jsonl"))]
    told = {run.root: verdicts(repeat(run)) for run in runs}
    assert all(told.values())
    assert {verdict for found in told.values() for verdict in found} <= {"proven", "cannot be told"}


def test_changed_code_of_dlassign_contradicts_nothing(
    run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = copy_of(run, tmp_path)
    move_a_weight(forged.last)
    edit_log(forged, lambda record: record.get("environment", {}).update(git={"commit": "a" * 40, "dirty": False}))
    for state, why in (
        ({"commit": "b" * 40, "dirty": False}, "the commit of dlassign was aaaaaaaaaaaa, is bbbbbbbbbbbb"),
        ({"commit": "a" * 40, "dirty": True}, "files of dlassign were changed since its commit"),
    ):
        monkeypatch.setattr(manifest, "git_state", lambda state=state: state)
        told = [one.what for one in repeat(forged) if one.what.startswith("steps 9 to 12")]
        assert why in told[0]


def test_interrupted_and_resumed_runs_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_steps(monkeypatch)
    Stop.steps, Stop.after = 0, 6
    with pytest.raises(Interrupted):
        repeatable_run(tmp_path)
    Stop.after = 10**9
    run = RunPaths(tmp_path / "tiny" / "11111111-s0")
    found = repeat(run)
    assert verdicts(found) == ["proven"] * 2
    assert [one.what.partition(":")[0] for one in found] == [
        "steps 1 to 4, from the beginning",
        "steps 5 to 6, from the checkpoint of step 4",
    ]
    resumed = repeatable_run(tmp_path)
    found = repeat(resumed, 9)
    assert verdicts(found) == ["proven"] * 4
    assert load_checkpoint(resumed.last)["step"] == STEPS


def test_a_run_without_checkpoints_is_repeated_from_its_beginning(tmp_path: Path) -> None:
    run = repeatable_run(tmp_path, {"train.keep_checkpoints": "best"})
    assert not run.last.exists()
    assert verdicts(repeat(run, 2)) == ["proven"] * 2
    run.best.unlink()
    assert verdicts(repeat(run)) == ["proven"] * 3


def test_a_log_without_digests_cannot_be_told(run: RunPaths, tmp_path: Path) -> None:
    old = copy_of(run, tmp_path)
    lines = [line for line in old.log.read_text().splitlines() if '"weights_sha256"' not in line]
    old.log.write_text("\n".join(lines) + "\n")
    shutil.rmtree(old.checkpoints)
    [found] = repeat(old)
    assert found.verdict == "cannot be told"
    assert "nothing to compare with" in found.what


NET = """\
import numpy as np
import torch


class Net(torch.nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = torch.nn.Linear(64, n_classes)

    def forward(self, x):
        return self.layer(x.flatten(1)) * (1 + NOISE)
"""


@pytest.mark.parametrize(
    ("noise", "verdict", "why"),
    [("torch.rand(())", "proven", "the same weights"), ("np.random.rand()", "cannot be told", "cannot be repeated")],
)
def test_code_of_the_users_own_runs_if_it_is_trusted(noise: str, verdict: str, why: str, tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text(NET.replace("NOISE", noise))
    config = tmp_path / "a.yaml"
    config.write_text(dump_plain({**tiny_config().model_dump(mode="json"), "model": {"name": "net.py:Net"}}))
    run = RunPaths(tmp_path / "out" / "run")
    run_experiment(load_config(config, code=Code([code])), run)
    [refused] = repeat(run)
    assert refused.verdict == "cannot be told"
    assert "if you trust it add --trust" in refused.what
    found = repeat(run, trust=True)
    assert found[0].verdict == verdict
    assert why in found[0].what


def test_an_edited_config_cannot_be_told(run: RunPaths, tmp_path: Path) -> None:
    edited = copy_of(run, tmp_path)
    edited.config.write_text(edited.config.read_text().replace("lr: 0.01", "lr: 0.02"))
    [found] = repeat(edited)
    assert found.verdict == "cannot be told"
    assert "has been edited" in found.what


def test_a_gpu_that_is_not_here_cannot_be_told(run: RunPaths, tmp_path: Path) -> None:
    elsewhere = copy_of(run, tmp_path)
    edit_log(elsewhere, lambda record: record.get("environment", {}).update(device="cuda:7"))
    found = repeat(elsewhere)
    assert set(verdicts(found)) == {"cannot be told"}
    assert "cuda:7 is not there" in found[0].what


def test_fewer_stretches_than_were_asked_for_are_told(run: RunPaths) -> None:
    there = len(repeat(run, 99))
    [told] = [one for one in repeat_stretches(run, there + 3, choice=0) if one.name == FEWER]
    assert told.verdict == "cannot be told"
    assert told.what.startswith(f"{there + 3} stretches were asked for, and the run has {there} stretches between")
    assert not [one for one in repeat_stretches(run, there, choice=0) if one.name == FEWER]
