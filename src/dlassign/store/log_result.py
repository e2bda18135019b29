"""What the result of a log cannot be: what was chosen and reached, beside the evaluations and steps that led there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlassign.store.log_numbers import close, is_number
from dlassign.store.log_order import Contradiction
from dlassign.store.records import EVALUATION_VARIES, Record, RunRecords

_SAME_WEIGHTS = 0.005
"""Share of samples that the same weights may predict otherwise after a resume on another machine."""


def result_contradictions(records: RunRecords) -> Iterator[Contradiction]:
    """Yield what cannot be about the result of a run, after its resumes are accounted for."""
    where = {id(record): place for place, record in records.lines}
    yield from _asked(records, where)
    end = records.end
    if end is None:
        return
    place = where[id(end)]
    yield from (Contradiction(kind, what, place) for kind, what in _end(records, end))
    yield from _finals(records, end, where)


def _asked(records: RunRecords, where: Mapping[int, str]) -> Iterator[Contradiction]:
    """Yield evaluations during training of splits for which the config does not ask."""
    train = records.start["config"]["train"]
    asked = train.get("evaluate", ["val"])
    asked = ["val"] if asked is None else asked
    for record in records.evals:
        split = record["split"]
        if not record.get("final") and split not in asked:
            what = f"{split} was evaluated during training, and the config does not say so"
            yield Contradiction("peeking" if split == "test" else "evaluate", what, where[id(record)])
            return  # one place says it


def _end(records: RunRecords, end: Record) -> Iterator[tuple[str, str]]:
    """Yield what the last record says and cannot be: kind and sentence."""
    yield from _best(records, end)
    count = len(records.evaluations("test"))
    if end.get("test_evaluations", count) != count:
        yield "peeking", f"{end['test_evaluations']} evaluations of test during training; the log holds {count}"
    yield from _seconds(end)
    last = records.train[-1] if records.train else {}
    if end["status"] == "finished":
        yield from _finished(records, end, last)
    elif end["status"] == "diverged" and last and last["loss"] is not None:
        yield "status", "the run diverged, and every loss in its log is finite"


def _best(records: RunRecords, end: Record) -> Iterator[tuple[str, str]]:
    """Yield where the best evaluation is another one than the last record says."""
    best, metric = end.get("best"), records.start["config"]["train"]["metric"]
    if best is None:
        return
    key, higher = ("metric", metric.get("better") == "higher") if isinstance(metric, dict) else (metric, None)
    higher = key == "accuracy" if higher is None else higher
    known = [record for record in records.evaluations("val") if is_number(record.get(key))]
    if not known:
        yield "choice", f"step {best['step']:,} is called the best, and no evaluation of val is there"
        return
    found = (max if higher else min)(known, key=lambda record: record[key])  # the first of equals, as training does
    if found["step"] != best["step"] or best["value"] is None or not close(found[key], best["value"]):
        value = "nothing" if best["value"] is None else f"{best['value']:.6g}"
        what = f"the best {best['metric']} is said to be {value} of step {best['step']:,}"
        yield "choice", f"{what}; by the evaluations it is {found[key]:.6g} of step {found['step']:,}"


def _seconds(end: Record) -> Iterator[tuple[str, str]]:
    spent = end.get("seconds")
    if not spent:
        return
    if min(spent.values()) < 0:
        yield "clock", "a phase took less than no time"
    phases = sum(seconds for phase, seconds in spent.items() if phase != "total")
    # Of runs side by side the phases may add up to more; then `other` is nothing.
    differ = "other" in spent and not close(phases, spent["total"], within=1e-6)
    if differ and (spent["other"] > 0 or phases < spent["total"]):
        yield "clock", f"the phases took {phases:.6g} seconds, all of it {spent['total']:.6g}"


def _finished(records: RunRecords, end: Record, last: Record) -> Iterator[tuple[str, str]]:
    """Yield what a finished run cannot lack, or have otherwise."""
    start = records.start
    planned, steps = start.get("steps"), end.get("steps")
    stops = start["config"]["train"].get("early_stop")
    if planned is not None and steps is not None and steps < planned and not stops:
        yield "plan", f"finished after {steps:,} of {planned:,} steps, and the config has no early stop"
    missing = [name for name in ("val", "test") if start["data"].get(f"n_{name}") and name not in records.finals]
    if missing:
        yield "missing", f"finished without a final evaluation of {' and '.join(missing)}"
    # A log without a chain may be one that was put together by hand, of a result alone.
    whole = "chain" in start
    if not last:
        if steps and whole:
            yield "missing", f"{steps:,} steps, and no record of training"
        return
    if steps is not None and last["step"] != steps:
        yield "plan", f"{steps:,} steps, and the last record of training is of step {last['step']:,}"
    if last["loss"] is None and whole:
        yield "status", "finished, although the loss was not finite at the end"
    yield from _speed(records, end, last)
    yield from _weights(records, end)


def _speed(records: RunRecords, end: Record, last: Record) -> Iterator[tuple[str, str]]:
    """Yield where seconds, samples and their ratio do not fit."""
    train = (end.get("seconds") or {}).get("train")
    if train is None:
        return
    if is_number(last.get("seconds")) and not close(train, last["seconds"], within=1e-6):
        yield "clock", f"{train:.6g} seconds of training; the last record says {last['seconds']:.6g}"
    rate = end.get("images_per_second")
    seen = sum(record.get("n", 0) for record in records.train)
    # Runs of the first versions did not log every sample's record.
    if rate and seen and all("n" in record for record in records.train) and not close(rate * train, seen, within=1e-6):
        what = f"{rate:,.6g} samples a second in {train:.6g} seconds are {rate * train:,.1f}"
        yield "speed", f"{what}; the records are of {seen:,}"


def _weights(records: RunRecords, end: Record) -> Iterator[tuple[str, str]]:
    """Yield where the digest of the last weights is another one than the last checkpoint had."""
    if records.start["config"]["train"].get("average") is not None:  # then a result has other weights than are trained
        return
    digest = end.get("weights_sha256")
    chosen = end.get("chosen") or {}
    for record in records.checkpoints:
        is_last = record["step"] == end.get("steps") and (record["file"] == "last" or chosen.get("weights") == "last")
        if digest and is_last and record["weights_sha256"] != digest:
            what = f"the weights of step {record['step']:,} are {digest[:12]}"
            yield "weights", f"{what}; the record of the checkpoint says {record['weights_sha256'][:12]}"
            return


def _finals(records: RunRecords, end: Record, where: Mapping[int, str]) -> Iterator[Contradiction]:
    """Yield final evaluations that are not those of the chosen weights."""
    chosen = end.get("chosen")
    if chosen is None:
        return
    best = end.get("best")
    if chosen["weights"] == "best" and best is not None and chosen["step"] != best["step"]:
        what = f"step {chosen['step']:,} was chosen as the best, and the best is step {best['step']:,}"
        yield Contradiction("choice", what, where[id(end)])
    if chosen["weights"] == "last" and chosen["step"] != end.get("steps", chosen["step"]):
        what = f"step {chosen['step']:,} was chosen as the last of {end['steps']:,}"
        yield Contradiction("choice", what, where[id(end)])
    for record in (*records.finals.values(), *records.augmented.values()):
        if record["step"] != chosen["step"]:
            what = f"a final evaluation of step {record['step']:,}; chosen was step {chosen['step']:,}"
            yield Contradiction("choice", what, where[id(record)])
    for split, record in records.finals.items():
        same = [earlier for earlier in records.evaluations(split) if earlier["step"] == record["step"]]
        if same and EVALUATION_VARIES not in records.notes and _differ(same[-1], record):
            what = f"{split} has {_text(record)} at the end, and had {_text(same[-1])} with the same weights"
            yield Contradiction("final", f"{what}: {where[id(same[-1])]}", where[id(record)])


def _differ(one: Record, other: Record) -> bool:
    """Return whether two evaluations cannot be of the same weights, even on two machines."""
    both = [record["accuracy"] for record in (one, other)]
    if all(map(is_number, both)) and abs(both[0] - both[1]) * (n := other.get("n") or 1) > max(2.0, _SAME_WEIGHTS * n):
        return True
    losses = [record["loss"] for record in (one, other)]
    return all(map(is_number, losses)) and not close(losses[0], losses[1], within=0.02)


def _text(record: Record) -> str:
    def shown(value: Any) -> str:
        return f"{value:.6g}" if is_number(value) else "none"

    return f"accuracy {shown(record['accuracy'])} and loss {shown(record['loss'])}"
