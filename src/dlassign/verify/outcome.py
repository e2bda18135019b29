"""What training again gave beside what the log says: equal, contradicted, or not to be told on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dlassign.store.records import Line, Record, RunRecords
from dlassign.verify.environments import (
    STACKED,
    Environment,
    code_reasons,
    environment_differences,
    environments,
    may_be_stacked,
    start_reasons,
)
from dlassign.verify.judgement import Judgement, contradicted, proven, untold
from dlassign.verify.lines import counted_lines
from dlassign.verify.marks import Mark
from dlassign.verify.repetition import Repetition, Source

TIMES = frozenset({"seconds", "wall", "time", "images_per_second", "chain"})
"""Keys of a record that differ each time."""
_SHOWN = 3


class Stretch(NamedTuple):
    """Steps of a run.

    Attributes:
        start: steps done before it.
        stop: steps done after it.
        begins: whether training can begin there; else it goes on from the stretch before.
    """

    start: int
    stop: int
    begins: bool

    def __str__(self) -> str:
        """Name it as the steps that it takes, counted from 1."""
        origin = "the beginning" if self.start == 0 else f"{'the checkpoint of ' * self.begins}step {self.start:,}"
        return f"steps {self.start + 1:,} to {self.stop:,}, from {origin}"


def compared(source: Source, again: Repetition, stretch: Stretch, marks: Sequence[Mark], *, name: str) -> Judgement:
    """Train a stretch again, and return what came out of it.

    Args:
        source: the run.
        again: at the first step of the stretch.
        stretch: the steps to take.
        marks: weights that are known of the run.
        name: of the check.
    """
    records = [record for _, record in source.records.lines]
    computed = environments(records, stretch.start, stretch.stop)
    again.train_to(stretch.stop, threads=threads_of(computed))
    wrong = list(differences(source, again, stretch, marks))
    if not wrong:
        return proven(name, f"{stretch}: {came_out(source.records, stretch)}")
    why = reasons(source, computed, again.environment(), from_beginning=stretch.start == 0)
    return judged(name, f"{stretch}: {wrong[0][0]}", wrong[0][1], why=why)


def judged(name: str, what: str, where: str, *, why: Sequence[str]) -> Judgement:
    """Return what a difference means; why: reasons for which it may be none."""
    if why:
        return untold(name, f"{what}; but {'; '.join(why[:_SHOWN])}")
    return contradicted(name, what, where)


def came_out(records: RunRecords, stretch: Stretch) -> str:
    """Return what of a stretch was the same, in words."""
    count = len(_within(counted_lines(records), stretch))
    return f"the same weights{f' and {count:,} equal log records' * (count > 0)}"


def threads_of(computed: Sequence[Environment]) -> int | None:
    """Return how many threads each operation had, if the log says so and it was always the same."""
    found = {environment.get("threads") for environment in computed}
    threads = found.pop() if len(found) == 1 else None
    return threads if isinstance(threads, int) else None


def differences(
    source: Source, again: Repetition, stretch: Stretch, marks: Sequence[Mark]
) -> Iterator[tuple[str, str]]:
    """Yield (what, where) of everything in which a stretch came out otherwise, what weighs most first."""
    if again.step != stretch.stop:
        why = f" ({again.error})" if again.error is not None else ""
        yield f"training again ended at step {again.step:,}{why}", source.paths.log.as_posix()
        return
    for mark in marks:
        if mark.step == stretch.stop and again.digest(mark.weights) != mark.sha256:
            found = again.digest(mark.weights)[:12]
            yield f"the weights after step {mark.step:,} are {found}, not {mark.sha256[:12]}", mark.where
    yield from record_differences(counted_lines(source.records), again.records(), stretch)


def record_differences(lines: Iterable[Line], again: RunRecords, stretch: Stretch) -> Iterator[tuple[str, str]]:
    """Yield (what, where) of records of a stretch that differ but for times, are missing, or should not be there."""
    measured = (*again.train, *again.evals, *again.statistics)
    new = {_key(record): record for record in measured if not record.get("final")}
    logged = _within(lines, stretch)
    for place, record in logged:
        found = new.get(_key(record))
        if found is None:
            yield f"training again has no {called(record)}", place
        else:
            yield from value_differences(record, found, place)
    there = {_key(record) for _, record in logged}
    for key, record in new.items():
        # An earlier version wrote no statistics, and neither does a stack.
        written = record["kind"] != "statistics"
        if written and stretch.start < record["step"] <= stretch.stop and key not in there:
            yield f"the log lacks the {called(record)}", (logged[-1][0] if logged else "")


def value_differences(logged: Record, found: Record, place: str) -> Iterator[tuple[str, str]]:
    """Yield (what, where) of the keys of a record that have another value; times do not count."""
    for key, value in logged.items():
        # Keys that this version does not write are those of another version, which the environment tells.
        if key not in TIMES and key in found and plain(found[key]) != plain(value):
            yield f"{key} of the {called(logged)} is {_short(found[key])}, the log says {_short(value)}", place


def plain(value: Any) -> Any:
    """Return a value as JSON reads it back: lists for tuples."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def reasons(source: Source, computed: Sequence[Environment], now: Environment, *, from_beginning: bool) -> list[str]:
    """Return why other bits contradict nothing: another machine, or a computation that promises none."""
    found = [text for environment in computed for text in environment_differences(environment, now)]
    if not computed:
        found.append("the log does not say where it was computed")
    found += code_reasons(source.records)
    if any(may_be_stacked(environment) for environment in computed):
        found.append(STACKED)
    if from_beginning:
        found += start_reasons(source.records)
    return list(dict.fromkeys(found))


def _within(lines: Iterable[Line], stretch: Stretch) -> list[Line]:
    """Return the records of a stretch that training again must give, but those of the end of the run."""
    taken = [(place, record) for place, record in lines if record["kind"] in ("train", "eval", "statistics")]
    taken = [(place, record) for place, record in taken if not record.get("final")]
    return [(place, record) for place, record in taken if stretch.start < record["step"] <= stretch.stop]


def _key(record: Record) -> tuple[Any, ...]:
    return record["kind"], record["step"], record.get("split")


def called(record: Record) -> str:
    """Return what a record is called in a sentence."""
    if record["kind"] == "end":
        return "last record"
    split = record.get("split")
    named = {"eval": f"evaluation on {split}", "tta": f"evaluation of views on {split}", "statistics": "statistics"}
    if record.get("final"):
        return f"final evaluation on {split}"
    return f"{named.get(record['kind'], 'train record')} of step {record['step']:,}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
