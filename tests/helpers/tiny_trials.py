"""Trials of tiny nets on the digits, and a listener that keeps what it was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlassign.config.run import RunConfig
from dlassign.store.records import Record
from dlassign.sweep.trial import Trial
from helpers.runs import paths_of

BASE: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}], "split": {"train": 200}},
    "model": {"name": "mlp", "hidden": [8]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "train": {
        "steps": 40,
        "batch_size": 20,
        "log_every": {"steps": 10},
        "eval_every": {"steps": 10},
        "checkpoint_seconds": 0,
    },
    "device": "cpu",
}


def make_trial(out: Path, number: int = 0, *, lr: float = 0.1, seed: int = 0, **train: Any) -> Trial:
    data = {**BASE, "optimizer": {"name": "sgd", "lr": lr}, "train": {**BASE["train"], **train}, "seed": seed}
    config = RunConfig.model_validate(data)
    return Trial(number=number, values={"optimizer.lr": lr}, config=config, paths=paths_of(config, out))


class Notes:
    """A listener that keeps everything; `prune` answers evaluations, `on_record` is called with each record."""

    def __init__(
        self,
        *,
        prune: Callable[[Trial, Record], bool] = lambda trial, record: False,
        on_record: Callable[[Trial, Record], None] = lambda trial, record: None,
    ) -> None:
        self._prune, self._on_record = prune, on_record
        self.begun: list[int] = []
        self.records: dict[int, list[Record]] = {}
        self.said: list[str] = []

    def started(self, trial: Trial) -> None:
        self.begun.append(trial.number)

    def record(self, trial: Trial, record: Record) -> bool:
        self.records.setdefault(trial.number, []).append(record)
        self._on_record(trial, record)
        return record["kind"] == "eval" and not record.get("final") and self._prune(trial, record)

    def say(self, trial: Trial, text: str) -> None:
        self.said.append(text)
