"""What is known of a run between its steps: digests of its weights, and checkpoints to go on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.train.checkpoint import load_checkpoint, weights_sha256
from dlassign.train.learner import State
from dlassign.verify.judgement import Judgement, contradicted, untold
from dlassign.verify.lines import counted_lines


class Mark(NamedTuple):
    """Weights that are known.

    Attributes:
        step: optimizer steps after which the run had them.
        weights: `trained`, or `evaluated`, which may be an average of those.
        sha256: their digest.
        where: what says so, `FILE` or `FILE:LINE`.
    """

    step: int
    weights: str
    sha256: str
    where: str


class Known(NamedTuple):
    """What is known of a run between its steps.

    Attributes:
        marks: its weights, in the order of their steps.
        states: checkpoints that training can go on from, by their steps.
        notes: what is wrong with the other checkpoints.
    """

    marks: list[Mark]
    states: dict[int, State]
    notes: list[Judgement]


def known_of(records: RunRecords, paths: RunPaths, *, name: str) -> Known:
    """Return what is known of a run by its log and its files.

    Args:
        records: its log.
        paths: its folder.
        name: of the check that wants to know it.
    """
    marks = [mark for place, record in counted_lines(records) for mark in _logged(place, record)]
    # Without a chain nothing says what should be there: an earlier version wrote the log.
    logged = {(mark.step, mark.weights): mark for mark in marks} if "chain" in records.start else None
    known = Known(marks, {}, [])
    for path in (paths.previous, paths.last, paths.best):
        if path.is_file():
            try:
                _add_file(known, load_checkpoint(path), path, logged, name=name)
            except UserError as error:
                known.notes.append(untold(name, " ".join(str(error).split())))
    known.marks.sort()
    return known


def _logged(place: str, record: Record) -> Iterator[Mark]:
    if record["kind"] == "checkpoint":
        weights = "trained" if record["file"] == "last" else "evaluated"
        yield Mark(record["step"], weights, record["weights_sha256"], place)
    elif record["kind"] == "end" and "weights_sha256" in record and "steps" in record:
        yield Mark(record["steps"], "evaluated", record["weights_sha256"], place)


def _add_file(
    known: Known, state: State, path: Path, logged: Mapping[tuple[int, str], Mark] | None, *, name: str
) -> None:
    """Add a checkpoint to what is known of a run.

    Args:
        known: takes it in.
        state: what it holds.
        path: the file.
        logged: what the log says of weights, by step and kind; None if it does not say it.
        name: of the check.
    """
    step, kind = state["step"], "evaluated" if "weights" in state else "trained"
    # A run that is being trained has saved it after the log was read; or it is left from before a resume.
    if logged is not None and (step, kind) not in logged:
        return
    digest = weights_sha256(state["weights"] if kind == "evaluated" else state["learner"]["model"])
    known.marks.append(Mark(step, kind, digest, str(path)))
    if kind == "evaluated":
        return
    there = logged[step, kind] if logged is not None else None
    if there is not None and there.sha256 != digest:
        what = f"no stretch can begin at step {step:,}: the checkpoint has other weights than {there.where} says"
        known.notes.append(contradicted(name, what, path))
    else:
        known.states[step] = state
