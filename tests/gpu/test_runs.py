"""Whole runs on a GPU, or a pretended one: interrupted, killed and gone on with, alone and together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlassign.config.run import RunConfig
from dlassign.errors import DlassignError, Interrupted
from dlassign.stacked import together, trainer
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train import loop, saved
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import load_checkpoint
from dlassign.train.experiment import run_experiment
from dlassign.train.torch_learner import TorchLearner
from helpers.gpu_cases import CIFAR, NARROW, QUICK, data_at_hand, parts_of, random_data, small_config
from helpers.pretended_gpu import pretended_gpu
from helpers.runs import Stop, stop_after_steps

LENGTH = (
    "device=cuda",
    "train.steps=9",
    "train.eval_every={steps: 3}",
    "train.log_every={steps: 2}",
    "train.checkpoint_seconds=0",
)
RUNS: dict[str, tuple[str, ...]] = {
    "mlp": (QUICK, "train.early_stop={patience: 5}"),
    "cifar10_82": (CIFAR, NARROW, "train.average={name: ema, decay: 0.9}", "train.evaluate=[test]"),
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing is written after it."""


@pytest.fixture(autouse=True)
def stop(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    monkeypatch.setattr(saved, "load_dataset", random_data)
    monkeypatch.setattr(together, "StopRequest", Stop)
    return stop_after_steps(monkeypatch)


def train(cfg: RunConfig, root: Path) -> RunRecords:
    with data_at_hand():
        return run_experiment(cfg, RunPaths(root))


@pytest.mark.gpu
@pytest.mark.parametrize("case", ["mlp", pytest.param("cifar10_82", marks=pytest.mark.slow)])
def test_a_run_that_was_interrupted_and_killed_ends_as_one_that_was_not(
    case: str, tmp_path: Path, stop: type[Stop], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, *changes = RUNS[case]
    cfg = small_config(file, *changes, *LENGTH, "train.keep_checkpoints=all")
    whole = train(cfg, tmp_path / "whole" / "run")
    stop.steps, stop.after = 0, 4
    with pytest.raises(Interrupted):
        train(cfg, tmp_path / "broken" / "run")
    stop.after = 10**9
    with monkeypatch.context() as patch:
        step, taken = TorchLearner.step, []

        def killed(self: TorchLearner, *arguments: Any) -> Any:
            taken.append(1)
            if len(taken) == 4:
                raise Killed
            return step(self, *arguments)

        patch.setattr(TorchLearner, "step", killed)
        with pytest.raises(Killed):
            train(cfg, tmp_path / "broken" / "run")
    broken = train(cfg, tmp_path / "broken" / "run")
    assert [record["from_step"] for record in broken.resumes] == [4, 6]
    assert broken.end["weights_sha256"] == whole.end["weights_sha256"]
    assert [(one["step"], one["loss"]) for one in broken.evals] == [(one["step"], one["loss"]) for one in whole.evals]
    assert whole.start["environment"]["device"] == "cuda:0"
    state = load_checkpoint(RunPaths(tmp_path / "whole" / "run").last)
    assert set(state["learner"]["rng"]) == {"cpu", "cuda"}


@pytest.mark.gpu
def test_a_run_of_the_gpu_is_evaluated_there_and_on_the_cpu(tmp_path: Path) -> None:
    root = tmp_path / "run"
    records = train(small_config(QUICK, *LENGTH), root)
    final = next(one for one in records.evals if one.get("final") and one["split"] == "test")
    for device, tolerance in (("cuda", 0.0), ("cpu", 1e-5)):
        found = saved.evaluate_run(RunPaths(root), "test", device=device).evaluation
        assert found.loss == pytest.approx(final["loss"], rel=tolerance)
        assert found.accuracy == final["accuracy"]


def together_in(folder: Path) -> list[DlassignError | None]:
    cfgs = [small_config(QUICK, *LENGTH, "model.dropout=0", f"seed={seed}") for seed in range(4)]
    paths = [RunPaths(folder / f"run{seed}") for seed in range(4)]
    with data_at_hand():
        ends = together.run_together(
            cfgs, paths, say=lambda k, text: None, on_record=lambda k, record: None, cache=DataCache()
        )
        return [error for _, error in sorted(ends, key=lambda end: end[0])]


@pytest.mark.gpu
@pytest.mark.slow
def test_runs_together_are_interrupted_and_go_on(
    tmp_path: Path, stop: type[Stop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SEGMENT", 2)
    assert together_in(tmp_path / "whole") == [None] * 4
    # A signal that comes in the first segment: a stack takes no step of its own learners.
    advance = trainer.StackTrainer.advance

    def signalled(self: Any, start: int, end: int, interrupted: Any) -> Any:
        stop.steps, stop.after = 1, 1
        return advance(self, start, end, interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.StackTrainer, "advance", signalled)
        assert all(isinstance(error, Interrupted) for error in together_in(tmp_path / "broken"))
    stop.after = 10**9
    assert together_in(tmp_path / "broken") == [None] * 4
    for seed in range(4):
        whole, broken = (read_records(RunPaths(tmp_path / name / f"run{seed}").log) for name in ("whole", "broken"))
        assert len(broken.resumes) == 1
        assert whole.end["weights_sha256"] == broken.end["weights_sha256"]
        assert whole.start["arithmetic"]["compile"] is False


def test_the_seconds_of_training_are_those_of_its_work_not_of_its_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step returns when its kernels are launched; a clock that stops then has not seen them run."""
    step, launched = TorchLearner.step, []

    def counted(self: TorchLearner, *arguments: Any) -> Any:
        before = machine.launches
        stats = step(self, *arguments)
        launched.append(machine.launches - before)
        return stats

    monkeypatch.setattr(TorchLearner, "step", counted)
    with pretended_gpu() as machine:
        # The clock of this GPU: an operator takes a second, and it is seen to be over when the host has waited for it.
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: machine.done))
        records = train(small_config(QUICK, *LENGTH, "model.hidden=[8]"), tmp_path / "run")
    assert len(launched) == 9
    assert records.end["seconds"]["train"] >= sum(launched)


@pytest.mark.gpu
def test_a_long_run_is_not_compiled_for_a_stack_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack logged that it compiles and never did, and a member gone on with alone would have."""
    monkeypatch.setattr("dlassign.train.arithmetic._compiler", lambda device: "triton")
    cfg = small_config(QUICK, "train.steps=5000", "train.compile=auto")
    assert not parts_of(cfg, "cuda:0").learner.arithmetic.compile
