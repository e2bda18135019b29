"""A run whose learner is one number in plain Python, so that every value it logs can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlassign.config.run import RunConfig
from dlassign.data.batches import Batches, Order
from dlassign.data.bundle import Dataset, Split
from dlassign.data.prepare import Preprocess
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter
from dlassign.train.arithmetic import SINGLE_PRECISION
from dlassign.train.folder import RunFolder
from dlassign.train.learner import Evaluation, State, Steps, StepStats
from dlassign.train.parts import Parts
from dlassign.train.plan import Plan
from dlassign.train.run import Run
from dlassign.train.task import Task

N = 23
X = [0.1 * i * i - 0.7 * i for i in range(N)]
Y = [i % 3 == 0 for i in range(N)]


class FakeLearner:
    """One weight. loss = mean (x - w)^2 (+ w^2); right where y is true; the step moves w towards the mean."""

    def __init__(self, *, penalty: bool = False, bad_steps: tuple[int, ...] = (), bad: float = math.nan) -> None:
        self.n_params = 1
        self.base_lr = 0.5
        self.arithmetic = SINGLE_PRECISION
        self.views = None
        self.w = 0.25
        self.steps = 0
        self.penalty = penalty
        self.bad_steps = bad_steps
        self.bad = bad
        self.reads = 0
        self.seen: list[tuple[list[float], float]] = []
        self.calls: list[str] = []

    def step(self, x: list[float], y: list[bool], lr_factor: float) -> StepStats:
        self.steps += 1
        loss = sum((value - self.w) ** 2 for value in x) / len(x)
        penalty = self.w**2 if self.penalty else None
        loss += penalty or 0.0
        if self.steps in self.bad_steps:
            loss = self.bad
        self.w += self.base_lr * lr_factor * 0.1 * (sum(x) / len(x) - self.w)
        self.seen.append((list(x), lr_factor))
        return StepStats(loss, penalty, sum(y), len(x))

    def read(self, taken: Sequence[StepStats]) -> Steps:
        self.reads += 1
        penalties = [stats.penalty for stats in taken if stats.penalty is not None]
        corrects = [float(stats.correct) for stats in taken]
        return Steps([stats.loss for stats in taken], penalties, corrects, [stats.n for stats in taken])

    def evaluate(self, split: str, *, views: object = None) -> Evaluation:
        self.calls.append(split)
        return Evaluation(loss=abs(self.w), accuracy=self.steps / 1000, n=len(split), confusion=((1,),))

    def statistics(self, split: str, n: int) -> None:
        return None

    def weights(self) -> State:
        return {"w": torch.tensor(self.w, dtype=torch.float64)}

    def load_weights(self, weights: State) -> None:
        self.w = float(weights["w"])

    def state_dict(self) -> State:
        return {"model": self.weights(), "steps": self.steps}

    def load_state_dict(self, state: State) -> None:
        self.load_weights(state["model"])
        self.steps = state["steps"]


class Recorder:
    """A watcher that remembers its calls, and stops at a given step."""

    def __init__(self, name: str = "", calls: list[Any] | None = None, stop_at: int | None = None) -> None:
        self.name = name
        self.stop_at = stop_at
        self.calls: list[Any] = [] if calls is None else calls

    def on_eval(self, run: Run, evaluations: dict[str, Evaluation]) -> bool:
        self.calls.append((self.name, run.step, sorted(evaluations)))
        return run.step == self.stop_at

    def state_dict(self) -> State:
        return {"stop_at": self.stop_at}

    def load_state_dict(self, state: State) -> None:
        self.stop_at = state["stop_at"]


def make_plan(steps: int = 20, log_every: int = 3, eval_every: int = 7, **more: Any) -> Plan:
    """A plan of epochs of 5 steps whose learning rate falls as 1 / step."""
    values = {"eval_offset": 0, "lr_factor": lambda step: 1 / (1 + step), "steps_per_epoch": 5, **more}
    return Plan(steps=steps, log_every=log_every, eval_every=eval_every, **values)


def take_rows(array: list[Any], rows: Any) -> list[Any]:
    return array[rows] if isinstance(rows, slice) else [array[row] for row in rows]


def make_batches(order: Order) -> Batches[list[Any]]:
    return Batches(order=order, cut=lambda rows, epoch, step: (take_rows(X, rows), take_rows(Y, rows)), as_rows=list)


def make_run(
    folder: Path,
    learner: FakeLearner,
    *,
    order: Order,
    plan: Plan,
    evals: dict[str, str] | None = None,
    train: dict[str, Any] | None = None,
    watchers: Sequence[Recorder] = (),
    **more: Any,
) -> Run:
    """A run in a folder whose log is open, and that has not begun.

    Args:
        folder: of the run.
        learner: what computes.
        order: of the batches.
        plan: when to log and evaluate.
        evals: what is evaluated, by name; a text stands for a split of as many samples.
        train: changes to the section train of its config.
        watchers: beside those of the config.
        more: arguments of Run.
    """
    splits = {"val": "12345678"} if evals is None else evals
    values = {
        "name": "fake",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [4]},
        "optimizer": {"name": "sgd", "lr": 0.5},
        "train": {"steps": plan.steps, "batch_size": 5, "keep": "last", "evaluate": list(splits), **(train or {})},
    }
    paths = RunPaths(folder)
    paths.checkpoints.mkdir(parents=True, exist_ok=True)
    few = Split(np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    parts = Parts(
        dataset=Dataset(train=few, val=few, test=few, classes=("cat", "dog"), sha256="0" * 64, label="fake"),
        task=Task((3,), 2),
        preprocess=Preprocess(()),
        splits={"train": "", **splits},
        batches=make_batches(order),
        plan=plan,
        learner=learner,
        loaded=None,
        machine=lambda: ("cpu", "a machine", 1),
        seconds={"data": 0.0, "build": 0.0},
    )
    log = more.pop("log", None) or MetricsWriter(paths.log)
    options = {"say": lambda text: None, "wall": WallClock(), **more}
    run = Run(RunConfig.model_validate(values), RunFolder(paths), parts, log=log, **options)
    run._watchers |= {f"{watcher.name} {place}": watcher for place, watcher in enumerate(watchers)}
    return run
