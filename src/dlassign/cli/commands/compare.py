"""`dlassign compare`."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.comparison import (
    GOAL,
    SIGNIFICANT,
    ComparedGroup,
    Figures,
    MetricName,
    SplitName,
    Versus,
    report,
)
from dlassign.errors import ConfigError, UserError
from dlassign.stats.compare import compare_means, holm, seeds_to_see
from dlassign.stats.intervals import mean_interval
from dlassign.store.identity import differing_keys
from dlassign.store.run_group import RunGroup, data_record, find_group
from dlassign.store.select import runs_at
from dlassign.store.summary import RunSummary

_LETTERS = string.ascii_uppercase


def compare_command(
    groups: Sequence[str],
    *,
    split: SplitName | None = None,
    metric: MetricName = "accuracy",
    effect: float | None = None,
    as_json: bool = False,
) -> None:
    """Compare groups of runs with the first of them, and say what the differences mean.

    Args:
        groups: two or more names, as `find_group` takes them.
        split: whose final figures; None is test if all have them, else val.
        metric: accuracy or loss.
        effect: difference that the number of seeds is worked out for, in points or units of the loss; None is the
            observed one.
        as_json: print one JSON object; accuracies are 0..1 there.

    Raises:
        UserError: a group is not there, is not one group, has no finished run, or has other data.
        ConfigError: fewer than two groups, or too many, were named.
    """
    if not 2 <= len(groups) <= len(_LETTERS):
        raise ConfigError(f"compare takes 2 to {len(_LETTERS)} groups, such as out/NAME or out/NAME/HASH8")
    found = [find_group(place) for place in groups]
    _check_apart(found)
    finished = [_finished(group) for group in found]
    _check_data(finished)
    figures = Figures(split or _split([run for runs in finished for run in runs], metric), metric)
    entries = [_entry(_LETTERS[i], group, figures) for i, group in enumerate(found)]
    comparisons = _versus(entries, None if effect is None else effect / figures.scale, figures)
    if as_json:
        click.echo(json.dumps(_json(entries, comparisons, figures)))
    else:
        click.echo(report(entries, comparisons, figures))


def _check_apart(groups: Sequence[RunGroup]) -> None:
    """Raise UserError if a run is in two groups."""
    owner: dict[Path, str] = {}
    for group in groups:
        for path in {Path(run.run).resolve() for run in group.runs}:
            if path in owner:
                raise UserError(f"{owner[path]} and {group.place} hold the same run {path}; name two different groups")
        owner |= {Path(run.run).resolve(): group.place for run in group.runs}


def _finished(group: RunGroup) -> list[RunSummary]:
    finished = [run for run in group.runs if run.status == "finished"]
    if not finished:
        there = ", ".join(f"{run.run} ({_standing(run)})" for run in group.runs)
        raise UserError(f"{group.place}: no run has finished: {there}")
    return finished


def _standing(run: RunSummary) -> str:
    if run.status in ("interrupted", "running", "pruned") and run.planned:
        return f"{run.status} at step {run.steps} of {run.planned}"
    return run.status


def _check_data(finished: Sequence[Sequence[RunSummary]]) -> None:
    """Raise UserError if runs were made with different data."""
    records = [(run, data_record(run)) for runs in finished for run in runs]
    first, wanted = records[0]
    for run, found in records:
        if found.get("sha256") != wanted.get("sha256"):
            raise UserError(
                f"{first.run} and {run.run} were trained on different data: "
                f"{_data_text(wanted)} and {_data_text(found)}; their figures cannot be compared"
            )


def _data_text(record: dict[str, Any]) -> str:
    return f"{record.get('label', 'unknown')} (sha256 {str(record.get('sha256', 'unknown'))[:12]})"


def _split(runs: Sequence[RunSummary], metric: MetricName) -> SplitName:
    return "test" if all(getattr(run, f"test_{metric}") is not None for run in runs) else "val"


def _entry(letter: str, group: RunGroup, figures: Figures) -> ComparedGroup:
    """Return the runs of a group that count, and why the others do not."""
    counted: dict[int, RunSummary] = {}
    values: dict[int, float] = {}
    left_out: list[tuple[RunSummary, str]] = []
    for run in group.runs:
        value = getattr(run, f"{figures.split}_{figures.metric}")
        if run.status == "diverged":
            continue
        if run.status != "finished":
            left_out.append((run, _standing(run)))
        elif run.seed is None or value is None:
            left_out.append((run, f"it has no final {figures.split} {figures.metric}"))
        elif run.seed in counted:
            left_out.append((run, f"seed {run.seed} is there already: {counted[run.seed].run}"))
        else:
            counted[run.seed], values[run.seed] = run, value
    if not values:
        raise UserError(f"{group.place} has no final {figures.split} {figures.metric}; --split names another split")
    return ComparedGroup(
        letter=letter,
        group=group,
        counted=tuple(counted.values()),
        values=values,
        interval=mean_interval(list(values.values())),
        diverged=tuple(run for run in group.runs if run.status == "diverged"),
        left_out=tuple(left_out),
        marks=tuple(_marks(letter, group, figures)),
    )


def _marks(letter: str, group: RunGroup, figures: Figures) -> Iterator[str]:
    """Yield what flatters the figure of a group, or makes it less than it seems."""
    looked = [run for run in group.runs if run.test_max is not None]
    if figures.split == "test" and looked:
        best = max(run.test_max or 0.0 for run in looked)
        yield (
            f"{letter} looked at the test set while it trained ({looked[0].mark}: {100 * best:.2f} %); "
            "compared is the figure at the end."
        )
    rank = group.rank
    if rank is not None and not rank.confirmed and (rank.split, rank.metric) == (figures.split, figures.metric):
        yield (
            f"{letter} has rank {rank.rank} of {rank.of} by this very figure, so luck had a part in it; "
            "`confirm` in the sweep file trains the best again on fresh seeds."
        )
    elif rank is not None and rank.split == figures.split == "test":
        yield f"{letter} was chosen by the test set."
    if len(group.runs) == 1 and (first := group.runs[0]).hash:
        family = Path(first.run).parent / first.hash
        if (others := len(runs_at(family))) > 1:
            yield f"{letter} is one run; {family} takes all {others} of its seeds."


def _versus(entries: Sequence[ComparedGroup], effect: float | None, figures: Figures) -> list[Versus]:
    a, others = entries[0], entries[1:]
    found = [compare_means(a.values, b.values) for b in others]
    alpha = SIGNIFICANT / len(others)
    return [
        Versus(
            a=a,
            b=b,
            found=difference,
            p=p,
            seeds=seeds_to_see(difference, effect, alpha=alpha, goal=GOAL),
            keys=(keys := differing_keys([a.group.config, b.group.config])),
            notes=tuple(_notes(a, b, keys, figures)),
        )
        for b, difference, p in zip(others, found, holm([difference.p for difference in found]), strict=True)
    ]


def _notes(a: ComparedGroup, b: ComparedGroup, keys: dict[str, list[Any]], figures: Figures) -> Iterator[str]:
    """Yield what makes two groups less comparable."""
    n_a, n_b = (data_record(entry.counted[0]).get(f"n_{figures.split}") for entry in (a, b))
    if n_a != n_b:
        yield f"* They are judged on different {figures.split} images: {n_a} | {n_b}."
    elif any(key.startswith("data.split.") for key in keys):
        yield f"* data.split differs, so their {figures.split} images may not be the same."
    precision = [", ".join(sorted({str(run.precision) for run in entry.counted})) for entry in (a, b)]
    if precision[0] != precision[1]:
        yield f"* They were computed in different precision: {precision[0]} | {precision[1]}."


def _json(entries: Sequence[ComparedGroup], comparisons: Sequence[Versus], figures: Figures) -> dict[str, Any]:
    return {
        "split": figures.split,
        "metric": figures.metric,
        "level": 0.95,
        "power": GOAL,
        "groups": [_entry_json(entry) for entry in entries],
        "comparisons": [_versus_json(versus, len(comparisons)) for versus in comparisons],
    }


def _entry_json(entry: ComparedGroup) -> dict[str, Any]:
    return {
        "letter": entry.letter,
        "group": entry.group.place,
        "runs": [
            {"run": run.run, "seed": seed, "value": entry.values[seed]}
            for seed, run in zip(entry.values, entry.counted, strict=True)
        ],
        **asdict(entry.interval),
        "diverged": [run.run for run in entry.diverged],
        "left_out": [{"run": run.run, "why": why} for run, why in entry.left_out],
        "marks": list(entry.marks),
    }


def _versus_json(versus: Versus, count: int) -> dict[str, Any]:
    return {
        "a": versus.a.letter,
        "b": versus.b.letter,
        **asdict(versus.found),
        "p_corrected": versus.p,
        "correction": "holm" if count > 1 else None,
        "seeds": asdict(versus.seeds),
        "keys": versus.keys,
        "notes": list(versus.notes),
    }
