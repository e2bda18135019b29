"""judge_among: what several runs say of each other, by their logs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dlassign.errors import UserError, counted
from dlassign.store.identity import config_value, differing_keys, experiment_of
from dlassign.store.paths import RunPaths
from dlassign.store.records import Line, RunRecords, read_records
from dlassign.store.summary import DAMAGE
from dlassign.verify.environments import (
    STACKED,
    code_reasons,
    environment_differences,
    environments,
    may_be_stacked,
    start_reasons,
)
from dlassign.verify.judgement import Judgement, Verified, consistent, contradicted, untold
from dlassign.verify.lines import counted_lines

NAME = "among"
SHARED = 3
"""Equal losses in a row, to the last digit, that no two trainings have by chance."""
SMALLEST_RATE = 1e-6
"""A step of a smaller rate may be lost in the rounding of the weights."""
_RANDOM_INITS = ("pytorch", "he", "xavier", "normal")
"""Initial weights that depend on the seed."""


@dataclass(frozen=True, eq=False)
class _One:
    """A run among others.

    Attributes:
        name: of its folder.
        records: its log.
        lines: those of its records that count.
        identity: experiment and seed; equal runs have equal ones.
    """

    name: str
    records: RunRecords
    lines: list[Line]
    identity: tuple[str, int]

    @property
    def config(self) -> Mapping[str, Any]:
        """What was asked for."""
        config: Mapping[str, Any] = self.records.start["config"]
        return config

    def series(self) -> dict[str, list[Line]]:
        """Return the losses of training and of each evaluated split, as records in the order of their steps."""
        found: dict[str, list[Line]] = {}
        for place, record in self.lines:
            # Where the learning rate is 0, as at the end of a schedule, the same loss may come again and again.
            usable = record.get("loss") is not None and record.get("lr") != 0 and not record.get("final")
            if record["kind"] in ("train", "eval") and usable:
                found.setdefault(record.get("split", "training"), []).append((place, record))
        return found


@dataclass(frozen=True)
class _Shared:
    """Records of two runs that have equal losses.

    Attributes:
        ours, theirs: the records, each with its place.
        before: the records of both before these.
    """

    ours: list[Line]
    theirs: list[Line]
    before: tuple[list[Line], list[Line]]


def judge_among(runs: Sequence[tuple[str, RunRecords]]) -> list[Judgement]:
    """Return what runs say of each other: equal runs, equal weights, and logs that share a stretch of records.

    Args:
        runs: name and log of each.
    """
    every = [_one(name, records) for name, records in runs]
    found = [*_equal_runs(every), *_equal_weights(every), *_shared_records(every)]
    if not found and len(every) > 1:
        return [consistent(NAME, f"no two of {len(every):,} runs contradict each other")]
    return found


def verify_among(places: Sequence[RunPaths]) -> Verified:
    """Return what the runs at several places say of each other; a run whose log cannot be read is left out."""
    runs = []
    for paths in places:
        with suppress(UserError, *DAMAGE):  # what is wrong with it, `verify_run` says
            runs.append((str(paths.root), read_records(paths.log)))
    return Verified(f"among {counted(len(runs), 'run')}", judge_among(runs))


def _one(name: str, records: RunRecords) -> _One:
    start = records.start
    # Under another name it is the same run.
    identity = (experiment_of({**start["config"], "name": ""}, start["data"]["sha256"]), start["seed"])
    return _One(name, records, counted_lines(records), identity)


def _end(run: _One) -> Line | None:
    """Return the last record of a run that has finished with numbers."""
    if any(final["loss"] is None for final in run.records.finals.values()):
        return None  # weights that are not numbers are equal bits
    ends = [line for line in run.lines if line[1]["kind"] == "end" and "weights_sha256" in line[1]]
    return ends[-1] if ends else None


def _equal_runs(runs: Sequence[_One]) -> Iterator[Judgement]:
    """Yield where runs of one config, data and seed have ended with the same weights, or with others."""
    first: dict[tuple[str, int], tuple[_One, Line]] = {}
    for run in runs:
        end = _end(run)
        if end is None:
            continue
        other, other_end = first.setdefault(run.identity, (run, end))
        if other is run:
            continue
        both = f"{run.name} and {other.name} have one config, data and seed"
        if end[1]["weights_sha256"] == other_end[1]["weights_sha256"]:
            yield consistent(NAME, f"{both}, and ended with the same weights")
        elif why := _elsewhere(run, other):
            yield untold(NAME, f"{both}, and other weights; but {'; '.join(why[:3])}")
        else:
            yield contradicted(NAME, f"{both}, and other weights ({other_end[0]})", end[0])


def _elsewhere(run: _One, other: _One) -> list[str]:
    """Return why equal runs may have ended with other bits."""
    computed = [environments([record for _, record in one.records.lines], 0, 2**62) for one in (other, run)]
    why = [text for then in computed[0] for now in computed[1] for text in environment_differences(then, now)]
    # Two sessions of one run may be from two machines, too.
    why += [text for then in computed[0] for now in computed[0][1:] for text in environment_differences(then, now)]
    if any(may_be_stacked(environment) for environment in (*computed[0], *computed[1])):
        why.append(STACKED)
    why += [text for one in (other, run) for found in (code_reasons, start_reasons) for text in found(one.records)]
    return list(dict.fromkeys(why))


def _equal_weights(runs: Sequence[_One]) -> Iterator[Judgement]:
    """Yield where runs that are not equal have the same weights at their ends."""
    first: dict[str, tuple[_One, Line]] = {}
    for run in runs:
        end = _end(run)
        if end is None:
            continue
        other, other_end = first.setdefault(end[1]["weights_sha256"], (run, end))
        if other.identity == run.identity:
            continue
        both = f"{run.name} has the weights of {other.name} ({other_end[0]})"
        if why := _must_differ(run, other, step=end[1].get("steps", 0)):
            yield contradicted(NAME, f"{both}, though {why}", end[0])
        else:
            yield untold(NAME, f"{both}, and they differ in {_keys(run, other)} alone, which may have changed nothing")


def _must_differ(run: _One, other: _One, *, step: int) -> str:
    """Return why two runs cannot have equal weights after so many steps, "" if they may."""
    if _seed_counts(run) and _seed_counts(other) and run.identity[1] != other.identity[1]:
        return f"their seeds are {run.identity[1]} and {other.identity[1]}"
    # Where no weight moves, batches and rates change nothing.
    if not (_moves(run) and _moves(other)):
        return ""
    sizes = [_batch(one) for one in (run, other)]
    if sizes[0] != sizes[1] and all(config_value(one.config, "train.order", "") != "full" for one in (run, other)):
        return f"their batches have {sizes[0]} and {sizes[1]} samples"
    rates = [{r["step"]: r.get("lr") for r in one.records.train if r["step"] <= step} for one in (run, other)]
    for at in sorted(rates[0].keys() & rates[1].keys()):
        one, two = rates[0][at], rates[1][at]
        if one is not None and two is not None and abs(one - two) > max(1e-3 * max(one, two), SMALLEST_RATE):
            return f"their learning rates at step {at:,} are {one} and {two}"
    return ""


def _moves(run: _One) -> bool:
    """Return whether a log shows that training moved the weights by more than their last digits."""
    evaluations: dict[str, set[float]] = {}
    for record in run.records.evals:
        evaluations.setdefault(record["split"], set()).add(record["loss"])
    rates = [record.get("lr") or 0.0 for record in run.records.train]
    return max(rates, default=0.0) > SMALLEST_RATE and any(len(losses) > 1 for losses in evaluations.values())


def _batch(run: _One) -> int:
    """Return how many samples a step sees at most."""
    asked: int = config_value(run.config, "train.batch_size", 0)
    there: int = run.records.start["data"].get("n_train", asked)
    return min(asked, there)


def _seed_counts(run: _One) -> bool:
    """Return whether the seed certainly decides the initial weights of a run."""
    init = config_value(run.config, "init", None) or {}
    # A standard deviation of 0 is a way to ask for zeros.
    return init.get("name", "pytorch") in _RANDOM_INITS and init.get("std", 1) != 0


def _keys(run: _One, other: _One) -> str:
    keys = list(differing_keys([run.config, other.config], seed=True)) or ["the data"]
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more keys" if len(keys) > 3 else "")


def _shared_records(runs: Sequence[_One]) -> Iterator[Judgement]:
    """Yield where two logs share losses that they cannot have by themselves: one is a copy."""
    told: set[tuple[str, str]] = set()
    for run, other, shared in _stretches(runs):
        if (run.name, other.name) not in told and (why := _copied(run, other, shared)):
            told.add((run.name, other.name))
            first, last = shared.ours[0][1]["step"], shared.ours[-1][1]["step"]
            where = f"{shared.theirs[0][0]} to {shared.theirs[-1][0].rpartition(':')[2]}"
            what = f"{len(shared.ours)} losses of steps {first:,} to {last:,} are those of {other.name} ({where})"
            yield contradicted(NAME, f"{what}, to the last digit, {why}", shared.ours[0][0])


def _stretches(runs: Sequence[_One]) -> Iterator[tuple[_One, _One, _Shared]]:
    """Yield (run, other, records) of losses that a run has in a row as another one before it has."""
    seen: dict[tuple[Any, ...], tuple[_One, list[Line], int]] = {}
    for run in runs:
        own: dict[tuple[Any, ...], tuple[_One, list[Line], int]] = {}
        for split, lines in run.series().items():
            losses = [record["loss"] for _, record in lines]
            place = 0
            while place + SHARED <= len(losses):
                key = (split, *losses[place : place + SHARED])
                found = seen.get(key)
                # Losses that stay where they are may be those of any net that learns nothing.
                if found is None or len(set(key)) <= SHARED:
                    own.setdefault(key, (run, lines, place))
                    place += 1
                    continue
                other, theirs, at = found
                length = _equal_length(losses[place:], [record["loss"] for _, record in theirs[at:]])
                before = (lines[:place], theirs[:at])
                yield run, other, _Shared(lines[place : place + length], theirs[at : at + length], before)
                place += length
        seen.update({key: value for key, value in own.items() if key not in seen})


def _equal_length(ours: Sequence[float], theirs: Sequence[float]) -> int:
    equal = (place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other)
    return next(equal, min(len(ours), len(theirs)))


def _copied(run: _One, other: _One, shared: _Shared) -> str:
    """Return why shared records cannot be honest, "" if they can: equal runs, and runs that differ only later."""
    (_, ours), (_, theirs) = shared.ours[0], shared.theirs[0]
    if ours["step"] != theirs["step"]:
        # Full batches from the weights of another run go on as that one did; and where no weight moves, losses repeat.
        begun = {config_value(one.config, "init.name", "") for one in (run, other)}
        if "pretrained" in begun or not (_moves(run) and _moves(other)):
            return ""
        return f"where they are of steps {theirs['step']:,} to {shared.theirs[-1][1]['step']:,}"
    if run.identity == other.identity:
        return ""
    # The rate of the last shared record is that of a step after its losses.
    if why := _must_differ(run, other, step=shared.ours[-2][1]["step"]):
        return f"though {why}"
    # Trainings that have once been different do not become equal again.
    there = {(record["step"], record.get("n")): record["loss"] for _, record in shared.before[1]}
    for _, record in shared.before[0]:
        loss = there.get((record["step"], record.get("n")), record["loss"])
        if loss != record["loss"]:
            return f"though they differ at step {record['step']:,}"
    return ""
