"""The log of a run: one JSON object a line, appended, never rewritten.

Kinds of records, in the order in which they appear:

    start    schema, time, name, seed, config, environment, arithmetic, data, pretrained, n_params, steps
    train    step, epoch, loss, accuracy, lr, n, seconds, wall, and penalty if the loss has one: means since the last
    eval     step, epoch, split, loss, accuracy, n, seconds, wall; with "final": true and a confusion matrix at the end,
             and "unseen" {accuracy, n}: without the samples that also occur in train, if there are such
    statistics  step, n, loss, gradients, weights, idle: at some evaluations (`Plan.measures_at`), on one fixed batch of
             n samples, without dropout and penalties. For each parameter that is trained the norms of its gradient and
             of itself, and, where it has rows, the share of them whose gradient is exactly 0
    note     step, about, text: what the user was told; about one_class also split, predicted, final: one class for all
    tta      step, split, loss, accuracy, n, views, wall: the same at the end with test-time augmentation
    checkpoint  step, file, weights_sha256: written just before the checkpoint, `last` or `best`
    resume   from_step, time, environment: earlier records past from_step do not count
    end      status, steps, chosen, best, test_evaluations, seconds by phase, images_per_second, weights_sha256

A value that is not finite is written as null and its key listed in "nonfinite". `seconds` is training time since the
start of the run, `wall` the time since the process was started, both without the time between a kill and a resume.
`chain`, in every record, is the beginning of the digest of all lines before it: whoever changes one of these breaks it.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.json_lines import NUMBER, NUMBER_OR_NULL, TWICE, JsonLines, Shape, read_json, read_json_lines
from dlassign.store.paths import RunPaths

LARGEST = 1e300
"""A larger value is as good as infinite: its percent, its axis and its mean over runs would overflow."""
SCHEMA = 1
Record = dict[str, Any]
Line = tuple[str, Record]
"""`FILE:LINE`, and the record that stands there."""
Kind = Literal["start", "train", "eval", "statistics", "note", "tta", "checkpoint", "resume", "end"]
FINISHED = ("finished", "diverged")
"""Statuses of a run that is over: it does not go on."""
EVALUATION_VARIES = "evaluation_not_repeatable"
"""What a note is about that says so: the user's own code gives another result each time with the same weights."""
CHAIN = 16
"""Hex digits of the SHA-256 of the lines before it that a record carries as `chain`."""
PHASES = ("import", "data", "build", "compile", "train", "eval", "other")
"""What the time of a run is made of; `compile` is there only if it compiled."""
_LOSS = {"step": int, "loss": NUMBER_OR_NULL}
_SCORES = {**_LOSS, "accuracy": NUMBER_OR_NULL}
_TIMES = {"epoch?": NUMBER, "n?": int, "seconds?": NUMBER, "wall?": NUMBER}
_SHAPES = {
    "start": Shape(
        {
            "time": str,
            "name": str,
            "seed": int,
            "config": {
                "train": {"steps": (int, NoneType), "epochs": NUMBER_OR_NULL, "metric": (str, dict), "precision?": str},
                "seed": int,
            },
            "environment?": {"packages?": dict, "command?": [str]},
            "arithmetic?": ({"precision": str, "channels_last?": bool, "compile?": bool, "why?": str}, NoneType),
            "data": {
                "label": str,
                "sha256": str,
                "samples_sha256?": str,
                "classes?": [str],
                "raw_shape?": [int],
                "dtype?": str,
                "shape?": [int],
                "bits?": (int, NoneType),
            },
            "n_params": int,
            "steps?": int,
            "steps_per_epoch?": int,
        }
    ),
    "train": Shape({**_LOSS, **_TIMES, "accuracy?": NUMBER_OR_NULL, "lr?": NUMBER_OR_NULL, "penalty?": NUMBER_OR_NULL}),
    "eval": Shape(
        {
            **_SCORES,
            **_TIMES,
            "split": str,
            "final?": bool,
            "confusion?": [[int]],
            "metric?": NUMBER_OR_NULL,
            "unseen?": {"accuracy": NUMBER_OR_NULL, "n": int},
        }
    ),
    "statistics": Shape({**_LOSS, "n": int, "gradients": dict, "weights": dict, "idle": dict}),
    "note": Shape({"step": int, "about": str, "text": str}),
    "tta": Shape({**_SCORES, **_TIMES, "split": str, "views?": int}),
    "checkpoint": Shape({"step": int, "file": str, "weights_sha256": str}),
    "resume": Shape({"from_step": int, "environment?": dict}),
    "end": Shape(
        {
            "status": str,
            "steps?": int,
            "best?": ({"step": int, "metric": str, "value": NUMBER_OR_NULL}, NoneType),
            "seconds?": {"total": NUMBER, **{f"{phase}?": NUMBER for phase in PHASES}},
            "images_per_second?": NUMBER_OR_NULL,
            "chosen?": {"weights": str, "step": int},
            "weights_sha256?": str,
            "keep_checkpoints?": str,
        }
    ),
}
"""What each kind of record holds; a key that ends in `?` may be missing, as in logs of earlier versions."""


class DamagedError(UserError):
    """A log holds what dlassign does not write."""


def chain_of(content: bytes) -> str:
    """Return the `chain` of a record that follows on these bytes of a log."""
    return hashlib.sha256(content).hexdigest()[:CHAIN]


class MetricsWriter:
    """Appends records to a log, and calls `on_record` with each after it was written (for the progress display)."""

    def __init__(self, path: Path, *, on_record: Callable[[Record], None] | None = None) -> None:
        self._lines = JsonLines(path)
        self._path = path
        self._process = os.getpid()
        self._on_record = on_record

    def write(self, kind: Kind, **values: Any) -> Record:
        """Append one record, and return it.

        Raises:
            UserError: the disk is full or the log is gone.
        """
        self._end_a_fork()
        record = {**plain_record(kind, values), "chain": self.chain}
        self._lines.write(**record)
        if self._on_record is not None:
            self._on_record(record)
        return record

    def _end_a_fork(self) -> None:
        """End this process if it is a fork of the one that trains: a user's own code made it, and let it go on."""
        if os.getpid() == self._process:
            return
        message = f"{self._path}: a fork of the training process must not train on; in your code, end it by os._exit(0)"
        print(f"Error: {message}", file=sys.stderr, flush=True)  # noqa: T201
        # At once, for what is left on the way out would give the parent's lock back.
        os._exit(1)

    @property
    def chain(self) -> str:
        """The `chain` of the next record: the beginning of the digest of all lines so far."""
        return self._lines.sha256[:CHAIN]

    def sync(self) -> None:
        """Flush to disk everything written so far."""
        self._lines.sync()

    def close(self) -> None:
        """Close the log."""
        self._lines.close()


def plain_record(kind: Kind, values: Mapping[str, Any]) -> Record:
    """Return a record as a log has it: numbers that are not finite are None, and named."""
    bad = [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    record = {"kind": kind, **{key: None if key in bad else value for key, value in values.items()}}
    return {**record, "nonfinite": bad} if bad else record


@dataclass
class RunRecords:
    """What a log says, after resumes are accounted for.

    Attributes:
        start: the first record.
        train, evals, statistics, resumes: records in the order of their steps.
        notes: what the user was told beside the result, by what it is about; the newest of each.
        augmented: the evaluation of each split with test-time augmentation, by split.
        checkpoints: the records of saved checkpoints.
        end: the last record, or None if the run has not ended.
        skipped: lines that are no record, each with its place and the object that it holds, None of a torn one.
        lines: every record with its place `FILE:LINE`, also those that a resume has dropped; [] of a log in memory.
    """

    start: Record
    train: list[Record] = field(default_factory=list)
    evals: list[Record] = field(default_factory=list)
    statistics: list[Record] = field(default_factory=list)
    resumes: list[Record] = field(default_factory=list)
    notes: dict[str, Record] = field(default_factory=dict)
    augmented: dict[str, Record] = field(default_factory=dict)
    checkpoints: list[Record] = field(default_factory=list)
    end: Record | None = None
    skipped: list[tuple[str, Record | None]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """One text for each line that was skipped."""
        why = "not a complete record, skipped (a process was killed while writing it)"
        return [f"{place}: {(found or {}).get(TWICE, why)}" for place, found in self.skipped]

    @property
    def finals(self) -> dict[str, Record]:
        """The final evaluation of each split, with the chosen weights."""
        return {record["split"]: record for record in self.evals if record.get("final")}

    @property
    def is_over(self) -> bool:
        """Whether the run has come to its end, finished or diverged, and does not go on."""
        return self.end is not None and self.end["status"] in FINISHED

    @property
    def confusions(self) -> dict[str, list[list[int]]]:
        """Final counts by split, rows the true and columns the predicted class."""
        return {split: record["confusion"] for split, record in self.finals.items() if "confusion" in record}

    def evaluations(self, split: str) -> list[Record]:
        """Return the evaluations of one split during training."""
        return [record for record in self.evals if record["split"] == split and not record.get("final")]

    def add(self, record: Record) -> None:
        """Take in the next record of the log."""
        match record["kind"]:
            case "train":
                self.train.append(record)
            case "eval":
                self.evals.append(record)
            case "statistics":
                self.statistics.append(record)
            case "note":
                self.notes[record["about"]] = record
            case "tta":
                self.augmented[record["split"]] = record
            case "checkpoint":
                self.checkpoints.append(record)
            case "end":
                self.end = record
            case "resume":
                self._go_back(record)

    def _go_back(self, resume: Record) -> None:
        step = resume["from_step"]
        self.resumes.append(resume)
        self.train = [record for record in self.train if record["step"] <= step]
        self.evals = [record for record in self.evals if record["step"] <= step and not record.get("final")]
        self.statistics = [record for record in self.statistics if record["step"] <= step]
        self.checkpoints = [
            record for record in self.checkpoints if record["step"] <= step and record["file"] == "last"
        ]
        self.notes = {about: record for about, record in self.notes.items() if record["step"] <= step}
        self.augmented = {}
        self.end = None


def read_records(path: Path) -> RunRecords:
    """Read a log.

    Lines that are not JSON (torn by a killed process) are skipped and reported in `warnings`.

    Raises:
        UserError: there is no log, it has no start record or a damaged record, or another version wrote it.
            A DamagedError, if no version writes what it holds.
    """
    records = former_records(path)
    if records is None and not path.exists():
        raise UserError(f"{_why_missing(path)}; put the log back, or train the run again")
    if records is None:
        raise UserError(f"{path} holds no complete record: the run was killed before it began; train it again")
    return records


def _why_missing(path: Path) -> str:
    why = f"it is a link to {path.readlink()}, which is not there" if path.is_symlink() else "it is not there"
    return f"cannot read the log {path}: {why}"


def former_records(path: Path) -> RunRecords | None:
    """Do as `read_records`, but return None of a run that has not begun: there is no log, or no record in it.

    Raises:
        UserError: as there; or no record is there, and what lies beside the log says that there were some.
    """
    records: RunRecords | None = None
    skipped = []
    for place, record in read_json_lines(path, what="the log"):
        shape = _SHAPES.get(str(record.get("kind"))) if record else None
        if record is None or shape is None or not (record["kind"] == "start" or shape.complete(record)):
            skipped.append((place, record))
            continue
        if records is None:
            _check_start(record, path)
        # Here, for all readers: none of them has to expect a text where a number belongs.
        if wrong := shape.misfit(record):
            raise DamagedError(
                f"{place} is damaged: {wrong}; mend that line, or move {path.parent} away to train it anew"
            )
        if records is None:
            records = RunRecords(start=record, skipped=skipped)
        else:
            records.add(record)
        records.lines.append((place, record))
    if records is None and (left := _left_of_a_run(RunPaths(path.parent))) is not None:
        lost = f"{path} holds no complete record" if path.exists() else _why_missing(path)
        cure = f"put the log back, or move {path.parent} away to train it anew"
        raise UserError(f"{lost}, and {left.relative_to(path.parent)} is of a run that had some; {cure}")
    return records


def _left_of_a_run(paths: RunPaths) -> Path | None:
    """Return a file that is written only after records were; None if there is none."""
    for path in (paths.best, paths.last, paths.previous):
        if path.is_file():
            return path
    with suppress(OSError, ValueError, RecursionError):
        manifest = read_json(read_ordinary(paths.manifest).decode())
        # Right after the first record, which a power cut may take, it says "running".
        if isinstance(manifest, dict) and manifest.get("status", "running") != "running":
            return paths.manifest
    return None


def _check_start(record: Record, path: Path) -> None:
    if record["kind"] != "start":
        what = "does not begin with a start record; it is damaged or was not written by dlassign"
        raise DamagedError(f"{path} {what}; move {path.parent} away to train it anew")
    if record.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has log schema {record.get('schema')}, this version of dlassign reads {SCHEMA}; "
            "use the version that wrote it (manifest.json names it), or move the folder away and train again"
        )
