"""retrain: a whole run trained again, and compared with what its log says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.verify.environments import environments
from dlassign.verify.judgement import Judgement, consistent, proven, untold
from dlassign.verify.lines import counted_lines
from dlassign.verify.marks import Known, known_of
from dlassign.verify.outcome import (
    Stretch,
    called,
    differences,
    judged,
    reasons,
    threads_of,
    value_differences,
)
from dlassign.verify.repetition import CANNOT_TRAIN, Repetition, Source, one_line, open_source, repetition

NAME = "retrain"
_END = ("status", "steps", "chosen", "best", "weights_sha256")
"""What the last record of a run must have when it is trained again."""


def retrain(paths: RunPaths, *, overrides: tuple[str, ...] = (), trust: bool = False) -> list[Judgement]:
    """Train a run again from its beginning, in memory, and compare weights, log records and result.

    A run that has not come to its end is trained as far as its log goes.

    Args:
        paths: the run, which is only read.
        overrides: keys that change no result, such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.
    """
    try:
        source = open_source(paths, overrides=overrides, trust=trust)
        known = known_of(source.records, paths, name=NAME)
        last = _last_step(source.records, known)
        if not last:
            return [*known.notes, untold(NAME, "the log has no step of training, so there is nothing to compare with")]
        with repetition(source, None) as again:
            return [*known.notes, _retrained(source, again, known, last=last)]
    except CANNOT_TRAIN as error:
        return [untold(NAME, one_line(error))]


def _last_step(records: RunRecords, known: Known) -> int:
    """Return how far the log goes for certain."""
    logged = (records.end or {}).get("steps")
    if isinstance(logged, int):
        return logged
    # Of a run that was killed, or goes on, what belongs to the newest step may not be written yet.
    before: list[int] = sorted({0, *(record["step"] for record in (*records.train, *records.evals))})[:-1]
    return max([0, *before, *(mark.step for mark in known.marks)])


def _retrained(source: Source, again: Repetition, known: Known, *, last: int) -> Judgement:
    """Train to the last step, and return what came out of it."""
    wrong: list[tuple[str, str]] = []
    records = source.records
    steps = sorted({0, last, *(mark.step for mark in known.marks if mark.step < last)})
    for start, stop in pairwise(steps):
        computed = environments([record for _, record in records.lines], start, stop)
        again.train_to(stop, threads=threads_of(computed))
        wrong += differences(source, again, Stretch(start, stop, begins=start == 0), known.marks)
    if records.is_over:
        again.finish(threads=threads_of(computed))
        wrong += _end_differences(records, again.records())
    result = _result(records, again.records())
    if not wrong:
        count = len(records.train) + len(records.evals) + len(records.statistics)
        marks = len({mark.step for mark in known.marks if mark.step <= last})
        what = f"trained again to step {last:,}: {_equal(marks, count)}{result}"
        # Without a digest the numbers of the log agree with its config, and nothing is said of the weights.
        return proven(NAME, what) if marks else consistent(NAME, what)
    everywhere = environments([record for _, record in records.lines], 0, last)
    why = reasons(source, everywhere, again.environment(), from_beginning=True)
    return judged(NAME, f"trained again to step {last:,}: {wrong[0][0]}{result}", wrong[0][1], why=why)


def _equal(marks: int, records: int) -> str:
    places = f"equal weights at {marks:,} place{'s' * (marks != 1)} and " if marks else ""
    return f"{places}{records:,} equal log records"


def _end_differences(logged: RunRecords, again: RunRecords) -> Iterator[tuple[str, str]]:
    """Yield (what, where) of everything at the end of a run that came out otherwise."""
    for place, record in counted_lines(logged):
        found: Record | None
        if record["kind"] == "eval" and record.get("final"):
            found = again.finals.get(record["split"])
        elif record["kind"] == "tta":
            found = again.augmented.get(record["split"])
        elif record["kind"] == "end":
            found = again.end
            record = {key: record[key] for key in ("kind", *_END) if key in record}
        else:
            continue
        if found is None:
            yield f"training again has no {called(record)}", place
        else:
            yield from value_differences(record, found, place)


def _result(logged: RunRecords, again: RunRecords) -> str:
    """Return what accuracy training again has reached, beside that of the log."""
    for split in ("test", "val"):
        if split in again.finals and split in logged.finals:
            now, then = (_percent(records.finals[split]) for records in (again, logged))
            return f"; it reaches {now} on {split}, {'as the log says' if now == then else f'the log says {then}'}"
    return ""


def _percent(record: Record) -> str:
    return "no accuracy" if record["accuracy"] is None else f"{100 * record['accuracy']:.2f} %"
