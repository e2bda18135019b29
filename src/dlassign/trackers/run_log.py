"""What every tracker gets of a run: its measurements as rows, each with the time at which it was made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from dlassign.config.neutral_keys import NEUTRAL, PLACES
from dlassign.errors import UserError
from dlassign.store.identity import flat_config
from dlassign.store.paths import RunPaths, telling_names
from dlassign.store.records import Record, RunRecords, read_records

Kind = Literal["train", "eval", "final", "final_tta"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement; a value that the log does not have is None, and one that was not finite is NaN.

    Attributes:
        kind: train: means over the samples since the row before, weights changing; eval: an evaluation during
            training; final: the one at the end, with the chosen weights; final_tta: with test-time augmentation.
        split: train, val or test.
        step, epoch: optimizer steps and epochs, of a final row those of the chosen weights.
        loss: without the penalty, so that those of train and val are of one kind.
        penalty: what the penalty added.
        accuracy: from 0 to 1.
        unseen_accuracy, unseen_n: of a final row whose split has samples that also occur in train: without those.
        lr: learning rate.
        n: samples that the row is of.
        seconds, wall: of training, and since the start of the process, both without the time between sessions.
        time: when it was made, in seconds since 1970.
    """

    kind: Kind
    split: str
    step: int
    epoch: float | None
    loss: float | None
    penalty: float | None
    accuracy: float | None
    unseen_accuracy: float | None
    unseen_n: int | None
    lr: float | None
    n: int | None
    seconds: float | None
    wall: float | None
    time: float

    def figures(self) -> Iterator[tuple[str, float]]:
        """Yield name and value of what trackers draw, such as `loss/val`, `lr` and `final/test_accuracy`."""
        of_split = {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "unseen_accuracy": self.unseen_accuracy,
            "penalty": self.penalty,
        }
        for name, value in of_split.items():
            if value is not None:
                tta = "_tta" * (self.kind == "final_tta")
                final = self.kind in ("final", "final_tta")
                yield f"final/{self.split}{tta}_{name}" if final else f"{name}/{self.split}", value
        if self.lr is not None:
            yield "lr", self.lr


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """The log of one run.

    Attributes:
        paths: its folder.
        name: of the run and its folder, such as `quickstart/665086eb-s0`; no other run that is exported has it.
        records: what the log says.
    """

    paths: RunPaths
    name: str
    records: RunRecords
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", rows_of(self.records))

    @property
    def start(self) -> Record:
        """The first record."""
        return self.records.start

    @property
    def began(self) -> float:
        """When the run began, in seconds since 1970."""
        return _unix(self.start["time"])

    @property
    def ended(self) -> float:
        """When its last row was made."""
        return self.rows[-1].time if self.rows else self.began

    @property
    def identity(self) -> str:
        """16 hex digits that a run keeps when its folder is moved; one that is trained anew has others."""
        # The first record is never changed, and has the time at which the run began.
        return hashlib.sha256(json.dumps(self.start, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def group(self) -> str:
        """What runs share that differ in their seeds."""
        return self.name.rpartition("-s")[0] or self.name

    def config(self) -> dict[str, Any]:
        """Return the config by dotted keys, without what says where and how the run was computed."""
        return {key: value for key, value in flat_config(self.start["config"]) if key not in NEUTRAL | PLACES}


def read_logs(runs: Sequence[RunPaths], *, say: Callable[[str], None] = lambda text: None) -> list[RunLog]:
    """Return the logs of runs; one that cannot be read is left out, unless it is the only one.

    Args:
        runs: their folders.
        say: told what is left out.

    Raises:
        UserError: no log can be read.
    """
    names = telling_names([paths.root for paths in runs])
    logs, faults = [], []
    for paths, name in zip(runs, names, strict=True):
        try:
            logs.append(RunLog(paths=paths, name=name.lstrip("/"), records=read_records(paths.log)))
        except UserError as error:
            faults.append(error)
    if faults and not logs:
        raise faults[0]
    for fault in faults:
        say(f"warning: left out: {fault}")
    return logs


def rows_of(records: RunRecords) -> list[Row]:
    """Return the measurements of a run in the order of the log; what a resume has taken back is not among them."""
    evals = [(record, "eval") for record in records.evals if not record.get("final")]
    # Sorting keeps the order of equal steps: the log has the training record first, and then its evaluations.
    during = sorted([*((record, "train") for record in records.train), *evals], key=lambda found: found[0]["step"])
    last = [(record, "final") for record in records.evals if record.get("final")]
    last += [(record, "final_tta") for record in records.augmented.values()]
    clock = _Clock(records)
    return [_row(record, kind, clock) for record, kind in [*during, *last]]  # type: ignore[arg-type]


def _row(record: Record, kind: Kind, clock: _Clock) -> Row:
    penalty, loss = _value(record, "penalty"), _value(record, "loss")
    unseen = record.get("unseen", {})
    return Row(
        kind=kind,
        split=record.get("split", "train"),
        step=record["step"],
        epoch=_value(record, "epoch"),
        loss=loss if loss is None or penalty is None else loss - penalty,
        penalty=penalty,
        accuracy=_value(record, "accuracy"),
        unseen_accuracy=unseen.get("accuracy"),
        unseen_n=unseen.get("n"),
        lr=_value(record, "lr"),
        n=record.get("n"),
        seconds=_value(record, "seconds"),
        wall=_value(record, "wall"),
        time=clock.time(record, final=kind in ("final", "final_tta")),
    )


def _value(record: Record, key: str) -> float | None:
    found = record.get(key)
    if found is None:
        return math.nan if key in record else None
    return float(found)


class _Clock:
    """Tells when a record was made, from the times at which the sessions of a run began.

    A log holds the time of day at each start and resume, and at each record the seconds that the run has taken.
    """

    def __init__(self, records: RunRecords) -> None:
        self._sessions = [(-1, _unix(records.start["time"]))]
        self._sessions += [(found["from_step"], _unix(found.get("time"))) for found in records.resumes]
        self._origins: dict[int, float] = {}
        self._newest = self._sessions[0][1]

    def time(self, record: Record, *, final: bool) -> float:
        """Return the seconds since 1970; the records must come in their order."""
        numbers = [i for i, (step, _) in enumerate(self._sessions) if final or step < record["step"]]
        number = max(numbers, default=0)
        spent = next((record[key] for key in ("wall", "seconds") if record.get(key) is not None), 0.0)
        # The first record of a session stands for its beginning: how long it took until there is not in the log.
        origin = self._origins.setdefault(number, self._sessions[number][1] - spent)
        # Later sessions may have begun on a machine whose clock is behind; time never runs back here.
        self._newest = max(self._newest, origin + spent)
        return self._newest


def _unix(text: Any) -> float:
    """Return seconds since 1970 of an ISO time; 0 if it is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
