"""The log of a run: one JSON object a line, appended, never rewritten.

Kinds of records, in the order in which they appear:

    start    schema, time, name, seed, config, environment, arithmetic, data, pretrained, n_params, steps
    train    step, epoch, loss, accuracy, lr, n, seconds, wall, and penalty if the loss has one: means since the last
    eval     step, epoch, split, loss, accuracy, n, seconds, wall; with "final": true and a confusion matrix at the end
    note     step, about, text: what the user was told; about one_class also split, predicted, final: one class for all
    tta      step, split, loss, accuracy, n, views, wall: the same at the end with test-time augmentation
    resume   from_step, time, environment: earlier records past from_step do not count
    end      status, steps, chosen, best, test_evaluations, seconds by phase, images_per_second, weights_sha256

A value that is not finite is written as null and its key listed in "nonfinite". `seconds` is training time since the
start of the run, `wall` the time since the process was started, both without the time between a kill and a resume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dlassign.errors import UserError
from dlassign.store.appending import JsonLines, parsed_line
from dlassign.store.files import reason

LARGEST = 1e300
"""A larger value is as good as infinite: its percent, its axis and its mean over runs would overflow."""
SCHEMA = 1
Record = dict[str, Any]
Kind = Literal["start", "train", "eval", "note", "tta", "resume", "end"]
_KEYS: dict[str, dict[str, type]] = {
    "start": {},
    "train": {"step": int},
    "eval": {"step": int, "split": str},
    "note": {"step": int, "about": str, "text": str},
    "tta": {"step": int, "split": str},
    "resume": {"from_step": int},
    "end": {"status": str},
}
"""What a line must hold to be taken for a record."""


class MetricsWriter:
    """Appends records to a log.

    Args:
        path: the log; created if missing. A line torn by a killed process is closed first, so nothing runs into it.
        on_record: called with every record after it was written (for the progress display).
    """

    def __init__(self, path: Path, *, on_record: Callable[[Record], None] | None = None) -> None:
        self._lines = JsonLines(path)
        self._on_record = on_record

    def write(self, kind: Kind, **values: Any) -> Record:
        """Append one record, and return it.

        Raises:
            UserError: the disk is full or the log is gone.
        """
        record = {"kind": kind, **_finite(values)}
        self._lines.write(record)
        if self._on_record is not None:
            self._on_record(record)
        return record

    def sync(self) -> None:
        """Flush to disk everything written so far."""
        self._lines.sync()

    def close(self) -> None:
        """Close the log."""
        self._lines.close()


def _finite(values: Mapping[str, Any]) -> Record:
    bad = [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    record = {key: None if key in bad else value for key, value in values.items()}
    return {**record, "nonfinite": bad} if bad else record


@dataclass
class RunRecords:
    """What a log says, after resumes are accounted for.

    Attributes:
        start: the first record.
        train, evals, resumes: records in the order of their steps.
        notes: what the user was told beside the result, by what it is about; the newest of each.
        augmented: the evaluation of each split with test-time augmentation, by split.
        end: the last record, or None if the run has not ended.
        warnings: lines that could not be read, one text each.
    """

    start: Record
    train: list[Record] = field(default_factory=list)
    evals: list[Record] = field(default_factory=list)
    resumes: list[Record] = field(default_factory=list)
    notes: dict[str, Record] = field(default_factory=dict)
    augmented: dict[str, Record] = field(default_factory=dict)
    end: Record | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def finals(self) -> dict[str, Record]:
        """The final evaluation of each split, with the chosen weights."""
        return {record["split"]: record for record in self.evals if record.get("final")}

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
            case "note":
                self.notes[record["about"]] = record
            case "tta":
                self.augmented[record["split"]] = record
            case "end":
                self.end = record
            case "resume":
                self._go_back(record)

    def _go_back(self, resume: Record) -> None:
        step = resume["from_step"]
        self.resumes.append(resume)
        self.train = [record for record in self.train if record["step"] <= step]
        self.evals = [record for record in self.evals if record["step"] <= step and not record.get("final")]
        self.notes = {about: record for about, record in self.notes.items() if record["step"] <= step}
        self.augmented = {}
        self.end = None


def read_records(path: Path) -> RunRecords:
    """Read a log.

    Lines that are not JSON (torn by a killed process) are skipped and reported in `warnings`.

    Raises:
        UserError: there is no log, it has no start record, or another version of dlassign wrote it.
    """
    records: RunRecords | None = None
    warnings = []
    for number, line in enumerate(_lines(path), 1):
        record = parse_record(line)
        if record is None:
            if line.strip():
                warnings.append(
                    f"{path}:{number}: not a complete record, skipped (a process was killed while writing it)"
                )
        elif records is None:
            records = RunRecords(start=_check_start(record, path), warnings=warnings)
        else:
            records.add(record)
    if records is None:
        raise UserError(f"{path} holds no complete record: the run was killed before it began; train it again")
    return records


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"cannot read the log {path}: {reason(error)}") from error


def parse_record(line: str) -> Record | None:
    """Return the record that a line holds, or None if it holds none."""
    record = parsed_line(line)
    if record is None:
        return None
    keys = _KEYS.get(str(record.get("kind")))
    complete = keys is not None and all(isinstance(record.get(key), kind) for key, kind in keys.items())
    return record if complete else None


def _check_start(record: Record, path: Path) -> Record:
    if record["kind"] != "start":
        what = "does not begin with a start record; it is damaged or was not written by dlassign"
        raise UserError(f"{path} {what}; move {path.parent} away to train it anew")
    if record.get("schema") != SCHEMA:
        raise UserError(
            f"{path} has log schema {record.get('schema')}, this version of dlassign reads {SCHEMA}; "
            "use the version that wrote it (manifest.json names it), or move the folder away and train again"
        )
    return record
