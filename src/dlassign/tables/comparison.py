"""What `dlassign compare` finds out about groups of runs."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from dlassign.errors import ConfigError, UserError
from dlassign.stats.compare import Difference, SeedsNeeded, compare_means, holm, seeds_to_see
from dlassign.stats.intervals import ANYWHERE, SHARE, MeanInterval, mean_interval
from dlassign.stats.proportion import sampling_interval
from dlassign.store.identity import differing_keys
from dlassign.store.run_group import RunGroup, data_record
from dlassign.store.select import runs_at
from dlassign.store.summary import RunSummary

SplitName = Literal["val", "test"]
MetricName = Literal["accuracy", "loss"]

MOST_GROUPS = 26
"""As many as there are letters to call them."""
SIGNIFICANT = 0.05
GOAL = 0.8


@dataclass(frozen=True, kw_only=True)
class ComparedGroup:
    """A group in a comparison.

    Attributes:
        letter: what the output calls it.
        group: its runs.
        counted: the runs whose figures count, one a seed.
        values: their figures by seed; accuracy 0..1.
        interval: their mean.
        diverged: runs that diverged; they have no figure.
        left_out: other runs that do not count, and why.
        marks: what has to be known before its figure is believed.
        sampling: where the mean lies as far as the number of samples of the split tells; None of a loss, or of many.
    """

    letter: str
    group: RunGroup
    counted: tuple[RunSummary, ...]
    values: dict[int, float]
    interval: MeanInterval
    diverged: tuple[RunSummary, ...]
    left_out: tuple[tuple[RunSummary, str], ...]
    marks: tuple[str, ...] = ()
    sampling: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A group against the first one.

    Attributes:
        a, b: the first group and the other.
        found: the difference, b minus a.
        p: the p value, corrected if several groups are compared with the first.
        seeds: how many would show it.
        keys: config keys in which they differ, with both values.
        notes: what makes them less comparable.
    """

    a: ComparedGroup
    b: ComparedGroup
    found: Difference
    p: float | None
    seeds: SeedsNeeded
    keys: dict[str, list[Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """How the figures of a split and a metric are written."""

    split: SplitName
    metric: MetricName

    @property
    def scale(self) -> float:
        """What a figure is multiplied with: accuracies are shown in percent."""
        return 100.0 if self.metric == "accuracy" else 1.0

    def text(self, value: float, sign: str = "") -> str:
        """Return a figure, or a difference of two with its sign."""
        return f"{value * self.scale:{sign}.{2 if self.metric == 'accuracy' else 4}f}"

    def between(self, low: float | None, high: float | None, sign: str = "") -> str:
        """Return an interval, `none` if there is none."""
        return "none" if low is None or high is None else f"{self.text(low, sign)} .. {self.text(high, sign)}"

    def difference(self, value: float, sign: str = "") -> str:
        """Return a difference with its unit."""
        return self.text(value, sign) + (" points" if self.metric == "accuracy" else "")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The groups, and each but the first against the first."""

    groups: list[ComparedGroup]
    against_first: list[Versus]
    figures: Figures


def compare_groups(
    groups: Sequence[RunGroup], *, split: SplitName | None, metric: MetricName, effect: float | None
) -> Comparison:
    """Compare two or more groups of runs with the first of them.

    Args:
        groups: the groups.
        split: whose final figures; None is test if all have them, else val.
        metric: what to compare.
        effect: the difference that seeds are counted for, in points or units of the loss; None is the observed one.

    Raises:
        ConfigError: there are too few groups, or too many.
        UserError: two groups share a run or differ in their data, or a group has no finished run.
    """
    if not 2 <= len(groups) <= MOST_GROUPS:
        raise ConfigError(f"compare takes 2 to {MOST_GROUPS} groups, such as out/NAME or out/NAME/HASH8")
    _check_apart(groups)
    finished = [_finished(group) for group in groups]
    _check_data(finished)
    tested = all(getattr(run, f"test_{metric}") is not None for runs in finished for run in runs)
    figures = Figures(split or ("test" if tested else "val"), metric)
    compared = [
        _compared(letter, group, figures) for letter, group in zip(string.ascii_uppercase, groups, strict=False)
    ]
    against = _versus(compared, None if effect is None else effect / figures.scale, figures)
    return Comparison(groups=compared, against_first=against, figures=figures)


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
    return f"contradicted; dlassign verify {quote(run.run)}" if run.status == "contradicted" else run.status


def _check_data(finished: Sequence[Sequence[RunSummary]]) -> None:
    """Raise UserError if runs were made with different samples."""
    records = [(run, data_record(run)) for runs in finished for run in runs]
    first, wanted = records[0]
    for run, found in records:
        # What is read of each sample may differ, as by data.drop: that is a difference to compare, like any other key.
        same = found.get("samples_sha256") is not None and found.get("samples_sha256") == wanted.get("samples_sha256")
        if found.get("sha256") != wanted.get("sha256") and not same:
            unknown = {"label": "unknown", "sha256": "unknown"}
            texts = ["{label} (sha256 {sha256!s:.12})".format_map({**unknown, **record}) for record in (wanted, found)]
            places = f"{first.run} and {run.run} were trained on different data"
            raise UserError(f"{places}: {' and '.join(texts)}; their figures cannot be compared")


def _compared(letter: str, group: RunGroup, figures: Figures) -> ComparedGroup:
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
        interval=mean_interval(list(values.values()), within=SHARE if figures.metric == "accuracy" else ANYWHERE),
        diverged=tuple(run for run in group.runs if run.status == "diverged"),
        left_out=tuple(left_out),
        marks=tuple(_marks(letter, group, figures)),
        sampling=_sampling(tuple(counted.values()), values, figures),
    )


def _sampling(runs: Sequence[RunSummary], values: Mapping[int, float], figures: Figures) -> tuple[float, float] | None:
    """Return where the mean accuracy lies as far as the number of samples tells, which all seeds share."""
    if figures.metric != "accuracy":
        return None
    return sampling_interval(sum(values.values()) / len(values), getattr(runs[0], f"{figures.split}_n"))


def _marks(letter: str, group: RunGroup, figures: Figures) -> Iterator[str]:
    """Yield what flatters the figure of a group, or makes it less than it seems."""
    looked = [run for run in group.runs if run.test_max is not None]
    if figures.split == "test" and looked:
        best = max(run.test_max or 0.0 for run in looked)
        yield (
            f"{letter} looked at the test set while it trained ({looked[0].mark}: {100 * best:.2f} %); "
            "compared is the figure at the end."
        )
    opened = [run for run in group.runs if run.test_opened is not None]
    if figures.split == "test" and opened:
        where = f"{opened[0].run}, at step {opened[0].test_opened}"
        more = f", and {len(opened) - 1} more" if len(opened) > 1 else ""
        yield f"{letter}: the test set was opened early, before a run was over ({where}{more})."
    seen = [(run.run, text) for run in group.runs if (text := getattr(run, f"{figures.split}_unseen", ""))]
    if seen:
        more = f" (and {len(seen) - 1} more)" if len(seen) > 1 else ""
        yield f"{letter}: {figures.split} accuracy of {seen[0][0]} is {seen[0][1]}{more}."
    row = group.rank
    if row is not None and not row.confirmed and (row.split, row.metric) == (figures.split, figures.metric):
        yield (
            f"{letter} has rank {row.rank} of {row.of} by this very figure, so luck had a part in it; `confirm` in the "
            "sweep file trains the best again on fresh seeds."
        )
    elif row is not None and row.split == figures.split == "test":
        yield f"{letter} was chosen by the test set."
    if len(group.runs) == 1 and (first := group.runs[0]).hash:
        family = Path(first.run).parent / first.hash
        if (others := len(runs_at(family))) > 1:
            yield f"{letter} is one run; {family} takes all {others} of its seeds."


def _versus(groups: Sequence[ComparedGroup], effect: float | None, figures: Figures) -> list[Versus]:
    a, others = groups[0], groups[1:]
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
    n_a, n_b = (data_record(one.counted[0]).get(f"n_{figures.split}") for one in (a, b))
    if n_a != n_b:
        yield f"* They are judged on different {figures.split} images: {n_a} | {n_b}."
    elif any(key.startswith("data.split.") for key in keys):
        yield f"* data.split differs, so their {figures.split} images may not be the same."
    precision = [", ".join(sorted({str(run.precision) for run in one.counted})) for one in (a, b)]
    if precision[0] != precision[1]:
        yield f"* They were computed in different precision: {precision[0]} | {precision[1]}."
