"""The stacked executor: who goes together, and what becomes of each."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dlassign.sweep.stacked as stacked
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import Interrupted, UserError
from dlassign.stacked.keys import stack_key
from dlassign.stacked.together import run_together
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, read_records
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.stacked import StackedExecutor, stacks
from dlassign.sweep.trial import Trial
from dlassign.train.experiment import only_writer
from dlassign.train.memory import naming_memory
from dlassign.train.torch_learner import TorchLearner
from helpers.tiny_trials import Notes, make_trial

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SHORT = "train.epochs=null", "train.steps=30", "train.eval_every={steps: 10}", "device=cpu", "train.precision=fp64"


class Recorder:
    """A listener that remembers what it is told."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.records: list[tuple[int, Record]] = []

    def started(self, trial: Trial) -> None:
        self.begun.append(trial.number)

    def record(self, trial: Trial, record: Record) -> bool:
        self.records.append((trial.number, record))
        return False

    def say(self, trial: Trial, text: str) -> None:
        pass


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Return a function that makes a trial."""
    digest = fingerprint(load_config(QUICKSTART).data)

    def trial(number: int, *changes: str, seed: int = 0, out: str = "out") -> Trial:
        config = load_config(QUICKSTART, [*SHORT, *changes], seed=seed)
        paths = RunPaths.of(tmp_path / out, config.model_dump(mode="json"), digest)
        return Trial(number=number, values={}, config=config, paths=paths)

    return trial


def test_stacks_are_of_what_goes_together_and_nearly_equal_size(make: Any) -> None:
    small = [make(n, f"optimizer.lr={n + 1}e-3") for n in range(5)]
    other = [make(5, "data.preprocess=[]"), make(6, "data.preprocess=[]", "model.hidden=[30]")]
    augmented = [make(n, "data.augment=[{name: flip}]", "model={name: eecs_convnet}", seed=n) for n in (7, 8)]
    mixed = [trial for group in zip(small[:2], other, augmented, strict=True) for trial in group] + small[2:]
    numbers = [[trial.number for trial in stack] for stack in stacks(mixed, 3)]
    assert sorted(map(sorted, numbers)) == [[0, 1], [2, 3, 4], [5, 6], [7], [8]]


def test_results_are_those_of_the_serial_executor(make: Any) -> None:
    def trials(out: str) -> list[Trial]:
        alone = make(4, "train.accumulate=2", out=out)
        return [*(make(n, f"model.dropout=0.{n + 1}", seed=n, out=out) for n in range(4)), alone]

    listener = Recorder()
    ours = {result.trial.number: result for result in StackedExecutor().run(trials("ours"), listener)}
    theirs = {result.trial.number: result for result in SerialExecutor().run(trials("theirs"), Recorder())}
    assert listener.begun == [0, 1, 2, 3, 4]
    assert {number for number, record in listener.records if record["kind"] == "end"} == set(range(5))
    for number, result in ours.items():
        assert result.status == theirs[number].status == "finished"
        one, other = (read_records(results[number].trial.paths.log) for results in (ours, theirs))
        assert one.finals["val"]["loss"] == pytest.approx(other.finals["val"]["loss"], rel=1e-9)


def test_numpy_trials_are_trained_one_by_one(make: Any) -> None:
    """A stack is made of PyTorch models; trials that cannot be stacked are trained all the same."""
    trials = [make(n, "backend=numpy", seed=n) for n in range(2)]
    assert [len(stack) for stack in stacks(trials, 128)] == [1, 1]
    assert [stack_key(trial.config) for trial in trials] == [(None, "backend numpy")] * 2
    listener = Recorder()
    found = [(result.trial.number, result.status) for result in StackedExecutor().run(trials, listener)]
    assert found == [(0, "finished"), (1, "finished")]
    assert [read_records(trial.paths.log).start["config"]["backend"] for trial in trials] == ["numpy", "numpy"]
    ends = [number for number, record in listener.records if record["kind"] == "end"]
    assert ends == [0, 1]


def test_what_ends_one_member_leaves_the_others(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.sweep.standing.FORMER_SECONDS", 0.2)
    changes = ["optimizer={name: sgd, lr: 1e160}", "optimizer={name: sgd, lr: 0.1}", "optimizer={name: sgd, lr: 0.2}"]
    trials = [make(n, "model.norm=none", change) for n, change in enumerate(changes)]
    with only_writer(trials[2].paths):
        found = {r.trial.number: r for r in StackedExecutor().run(trials, Recorder())}
    assert {number: result.status for number, result in found.items()} == {0: "diverged", 1: "finished", 2: "failed"}
    assert "learning rate 1e+160" in found[0].message
    assert "another process is training" in found[2].message


def test_a_full_disk_ends_the_sweep(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise UserError("cannot write the log: no space left") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dlassign.train.run.Run._log_means", full)
    results = []
    with pytest.raises(UserError, match="no space left"):
        results += StackedExecutor().run([make(n, seed=n) for n in range(2)], Recorder())
    assert results == []


def test_out_of_memory_even_alone_fails_that_trial_alone(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = TorchLearner.step

    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    def only_in_parts(learner: TorchLearner, *batch: Any) -> Any:
        return step(learner, *batch) if learner._accumulate > 1 else no_memory()

    monkeypatch.setattr("dlassign.stacked.trainer.StackTrainer.advance", no_memory)
    monkeypatch.setattr(TorchLearner, "step", only_in_parts)
    trials = [make(0), make(1, seed=1), make(2, "train.accumulate=2")]
    found = {r.trial.number: r for r in StackedExecutor().run(trials, Recorder())}
    assert [found[n].status for n in range(3)] == ["failed", "failed", "finished"]
    assert "out of memory" in found[0].message


def test_a_signal_between_stacks_is_heard(make: Any) -> None:
    import os
    import signal

    class Stopping(Recorder):
        def record(self, trial: Trial, record: Record) -> bool:
            if record["kind"] == "end" and trial.number == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().record(trial, record)

    trials = [make(0), make(1, seed=1), make(2, "data.preprocess=[]"), make(3, "data.preprocess=[]", seed=1)]
    listener = Stopping()
    results = StackedExecutor().run(trials, listener)
    assert [next(results).trial.number, next(results).trial.number] == [0, 1]
    with pytest.raises(Interrupted):
        next(results)
    assert listener.begun == [0, 1]


def test_runs_that_ended_meanwhile_are_read_and_not_trained(make: Any) -> None:
    """As when the worker of a killed driver has brought them to their end."""
    trials = [make(n, seed=n) for n in range(3)]
    for result in SerialExecutor().run(trials[:1], Recorder()):
        assert result.status == "finished"
    before = trials[0].paths.log.read_bytes()
    listener = Recorder()
    found = {r.trial.number: r.status for r in StackedExecutor().run(trials, listener)}
    assert found == {0: "finished", 1: "finished", 2: "finished"}
    assert trials[0].paths.log.read_bytes() == before
    assert {number for number, _ in listener.records} == {1, 2}
    assert [r.status for r in StackedExecutor().run(trials, listener)] == ["finished"] * 3


def test_a_stack_waits_for_the_worker_of_a_killed_driver(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [make(n, seed=n) for n in range(2)]
    held = threading.Event()

    def former() -> None:  # a lock is given back by the thread that took it
        with only_writer(trials[0].paths):
            held.set()
            time.sleep(0.5)

    threading.Thread(target=former).start()
    held.wait()
    found = {r.trial.number: r.status for r in StackedExecutor().run(trials, Recorder())}
    assert found == {0: "finished", 1: "finished"}


def test_stacks_have_a_largest_size() -> None:
    assert StackedExecutor(at_most=3).slots == 3
    assert StackedExecutor().slots == stacked.AT_ONCE


def test_a_stack_that_does_not_fit_into_memory_is_trained_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 20 large networks at once do on a GPU."""
    tried: list[int] = []

    def at_most_two(cfgs: list[RunConfig], paths: list[RunPaths], **options: Any) -> Iterator[tuple[int, Any]]:
        tried.append(len(cfgs))
        if len(cfgs) <= 2:
            yield from run_together(cfgs, paths, **options)
            return
        for place in range(len(cfgs)):
            try:
                with naming_memory():
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            except UserError as error:
                yield place, error

    monkeypatch.setattr(stacked, "run_together", at_most_two)
    notes = Notes()
    trials = [make_trial(tmp_path, n, lr=0.05 * (n + 1), steps=10) for n in range(5)]
    results = list(StackedExecutor().run(trials, notes))
    assert sorted((result.trial.number, result.status) for result in results) == [(n, "finished") for n in range(5)]
    assert tried == [5, 3, 2, 2]
    assert notes.said[0] == "5 at once do not fit into memory; trying 3 at once"
