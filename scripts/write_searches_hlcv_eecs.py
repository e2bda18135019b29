"""Write docs/results/searches_hlcv_eecs.md: what EECS 598 and HLCV chose by validation, from the records of the sweeps.

    dlassign sweep configs/sweeps/hlcv_depth.yaml              # and the other files that SECTIONS names
    python scripts/write_searches_hlcv_eecs.py --out out       # reads the runs, writes the table and the page
    python scripts/write_searches_hlcv_eecs.py                 # writes the page anew from searches_hlcv_eecs.csv

Runs of a sweep that is not in the folder stay in the table. Every number of the page comes from the runs. What early
stopping would give is read from the logs of `hlcv:h4_best`: to stop a run early changes nothing before it stops.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.config.values import value_text
from dlassign.stats.intervals import SHARE, mean_interval, t_quantile
from dlassign.stats.text import short_names
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import RunRecords, read_records
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import read_table
from write_searches import MARGIN_TEXT, Effect, Said, claims, lines, reverse, with_kept, write_csv

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TABLE, PAGE = RESULTS / "searches_hlcv_eecs.csv", RESULTS / "searches_hlcv_eecs.md"
PATIENCE, PATIENCES = "train.early_stop.patience", (2, 3, 5, 8, 12, 20)
MOST_ROWS = 15
TEXT = """\
# What EECS 598 and HLCV chose by validation

Written by `scripts/write_searches_hlcv_eecs.py` from [searches_hlcv_eecs.csv](searches_hlcv_eecs.csv), which it
collects from the logs of {runs} runs; do not edit. Data: {data}. The sweeps took {minutes} minutes on a
machine that others used too.

The reports name what they chose, and mostly not what they chose from. Accuracy in percent, with the weights that the
config keeps. Where a point has several seeds it is their mean, and in brackets where that mean lies with 95 %
confidence (t interval). `data` is the homework's table of 1,000 rows; `cifar10-jpeg` is a lossy copy of CIFAR-10. The
best of many on validation is partly luck. So sweeps with one seed a point train their first points again with fresh
seeds: "fresh". Test figures take no part in any choice.

A difference of less than {margin} matters to no claim here. That one is better is **seen** if the whole 95 % interval
of the difference is beyond {margin}, and **not seen** if the whole interval is short of it; that one is no better, or
that something gains nothing, is the reverse, and likewise for worse. Else, or without an interval, these runs **cannot
tell**. A point counts with its fresh seeds if it has any. How far one run strays is taken from all points of the sweep
that have several. The intervals are about other seeds on the same validation samples. On other samples, one accuracy
is off by its "standard error" as well.
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line of the table: accuracies from 0 to 1, `train` as the mean of the last epoch's or record's batches."""

    sweep: str
    values: str
    seed: int
    confirms: bool
    val: float | None
    test: float | None
    train: float | None
    n_val: int
    batch_size: int
    steps: int
    seconds: float
    data: str


@dataclass(frozen=True)
class Point:
    """The runs of one point that chose, and those with fresh seeds."""

    values: Mapping[str, Any]
    runs: tuple[Run, ...]
    fresh: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The values."""
        return ", ".join(_named(value) for value in self.values.values())

    @property
    def judged(self) -> tuple[Run, ...]:
        """The runs that no choice has made look better than they are, if there are any."""
        return self.fresh or self.runs

    def mean(self, figure: str = "val") -> float:
        """Return the mean over the seeds that chose; NaN if there is none."""
        found = _figures(self.runs, figure)
        return math.fsum(found) / len(found) if found else math.nan


def _figures(runs: Sequence[Run], figure: str) -> list[float]:
    return [value for run in runs if (value := getattr(run, figure)) is not None]


def _text(runs: Sequence[Run], figure: str) -> str:
    values = _figures(runs, figure)
    if not values:
        return ""
    found = mean_interval(values, within=SHARE)
    interval = "" if found.low is None or found.high is None else f" ({100 * found.low:.1f} to {100 * found.high:.1f})"
    return f"{100 * found.mean:.1f}{interval}"


def points_of(runs: Iterable[Run]) -> list[Point]:
    """Return the points of a sweep, the best on validation first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.values, []).append(run)
    points = [
        Point(json.loads(values), tuple(r for r in own if not r.confirms), tuple(r for r in own if r.confirms))
        for values, own in found.items()
    ]
    return sorted(points, key=lambda point: -point.mean())


Figure = Callable[[Run], float]


def validation(run: Run) -> float:
    """Return the accuracy on validation; NaN if there is none."""
    return math.nan if run.val is None else run.val


def over_fits(run: Run) -> float:
    """Return how much larger the accuracy of training is; NaN if one of them is not there."""
    return math.nan if run.train is None else run.train - validation(run)


def lead(one: Point, other: Point, points: Sequence[Point], figure: Figure = validation) -> Effect:
    """Return how much larger a figure of one point is than of another.

    d +- t s sqrt(1/n + 1/m), s being the spread within all points that have several seeds, as in analysis of variance.
    """
    groups = [found for point in points if (found := _known(point.judged, figure))]
    df = sum(len(values) - 1 for values in groups)
    squares = math.fsum((value - _mean(values)) ** 2 for values in groups for value in values)
    a, b = (_known(point.judged, figure) for point in (one, other))
    mean = _mean(a) - _mean(b)
    if not (df and squares and a and b):
        return Effect(mean)
    half = t_quantile(0.975, df) * math.sqrt(squares / df * (1 / len(a) + 1 / len(b)))
    return Effect(mean, mean - half, mean + half)


def largest(points: Iterable[Point], figure: Figure = validation) -> Point:
    """Return the point with the largest mean of a figure, over the seeds that chose."""
    return max(points, key=lambda point: _mean(_known(point.runs, figure) or [-math.inf]))


def _known(runs: Sequence[Run], figure: Figure) -> list[float]:
    return [value for run in runs if not math.isnan(value := figure(run))]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def claims_on_choice(points: Sequence[Point], chosen: Mapping[str, Any]) -> Iterator[Said]:
    """Say whether the report's choice is as good as the best of the others."""
    ours, others = ([point for point in points if (point.values == chosen) is here] for here in (True, False))
    if ours and others:
        found = lead(ours[0], largest(others), points)
        numbers = f"it less the best of the others ({largest(others).name}): {found}"
        yield Said("the report's choice is no worse than any other", reverse(found.is_loss), numbers)


def claims_on_activations(points: Sequence[Point]) -> Iterator[Said]:
    """Say whether ReLU is best, as report 004 does."""
    relu, other = (
        largest(point for point in points if (point.values["model.activation"] == "relu") is here)
        for here in (True, False)
    )
    found = lead(relu, other, points)
    numbers = f"the best of ReLU ({relu.name}) less the best of the others ({other.name}): {found}"
    yield Said("ReLU does better than sigmoid and tanh", found.is_gain, numbers)


def claims_on_depth(points: Sequence[Point]) -> Iterator[Said]:
    """Say what many layers do, three and more, as report 003 does."""
    many, few = (
        [point for point in points if (len(point.values["model"]["hidden"]) > 2) is here] for here in (True, False)
    )
    found = lead(largest(many), largest(few), points)
    numbers = f"the best of these ({largest(many).name}) less the best of fewer ({largest(few).name}): {found}"
    yield Said("three and more hidden layers are no better than one or two", reverse(found.is_gain), numbers)
    one, other = (largest(of, over_fits) for of in (many, few))
    found = lead(one, other, points, over_fits)
    numbers = (
        f"training less validation, the largest of these ({one.name}) less the largest of fewer ({other.name}): {found}"
    )
    yield Said("some of them over-fit more", found.is_gain, numbers)


def claims_on_patience(points: Sequence[Point]) -> Iterator[Said]:
    """Say what patience does, as report 004 does; all are of the same runs, so differences are taken within seeds."""
    of = {point.values[PATIENCE]: {run.seed: run.val for run in point.runs if run.val is not None} for point in points}
    least, middle, most = PATIENCES[0], PATIENCES[len(PATIENCES) // 2 - 1], PATIENCES[-1]
    less, more = Effect.of(of[most], of[least]), Effect.of(of[most], of[middle])
    yield Said("little patience costs accuracy", less.is_gain, f"a patience of {most} less one of {least}: {less}")
    yield Said(
        "more patience gains nothing", reverse(more.is_gain), f"a patience of {most} less one of {middle}: {more}"
    )


def _named(value: Any) -> str:
    if isinstance(value, dict):  # a whole net: its layers say all
        pairs = zip(value["hidden"], value["activation"], strict=True)
        return ", ".join(f"{width} {activation}" for width, activation in pairs)
    return "-".join(map(str, value)) if isinstance(value, list) else value_text(value)


def table(points: Sequence[Point], chosen: Mapping[str, Any] | None) -> str:
    """Return the first points, and the report's own if it is not among them; its name is in bold."""
    keys = list(points[0].values)
    names = short_names(keys)
    columns = {"validation": "val", "test": "test", "training": "train"}
    columns = {name: figure for name, figure in columns.items() if any(_figures(p.runs, figure) for p in points)}
    confirmed = any(point.fresh for point in points)
    heads = ["rank", *(names[key] for key in keys), *columns]
    heads += ["fresh: validation", "fresh: test"] if confirmed else []
    rows: dict[str, list[str]] = {}
    for rank, point in enumerate(points, 1):
        own = chosen is not None and point.values == chosen
        if rank <= MOST_ROWS or own:
            cells = [_named(point.values[key]) for key in keys]
            cells += [_text(point.runs, figure) for figure in columns.values()]
            cells += [_text(point.fresh, figure) for figure in ("val", "test")] if confirmed else []
            rows[f"**{rank}**" if own else f"{rank}"] = cells
    return lines(heads, rows)


def by_key(points: Sequence[Point]) -> str:
    """Return the mean of all points that share a value, for each key with several points a value; empty for one key."""
    keys = list(points[0].values)
    if len(keys) < 2:
        return ""
    rows = {}
    for key in keys:
        groups: dict[str, list[float]] = {}
        for point in points:
            groups.setdefault(_named(point.values[key]), []).append(point.mean())
        cells = [f"{value}: {100 * math.fsum(of) / len(of):.1f}" for value, of in groups.items()]
        rows[short_names(keys)[key]] = ["; ".join(cells)]
    return lines(["mean validation over all points with", "value: accuracy"], rows)


def chance(points: Sequence[Point], chosen: Mapping[str, Any] | None) -> str:
    """Return how far the points are apart, what chance does, and where the report's choice is."""
    best, n_val, seeds = points[0], points[0].runs[0].n_val, len(points[0].runs)
    top = best.mean()
    error = 100 * math.sqrt(top * (1 - top) / n_val)
    spread = 100 * (top - min(point.mean() for point in points))
    text = f"Best and last of {len(points)} are {spread:.1f} points apart; the standard error of one accuracy on "
    text += f"{n_val:,} samples is {error:.1f} points."
    for rank, point in enumerate(points, 1):
        if chosen is not None and point.values == chosen:
            text += f" The report's choice (bold) is number {rank}."
    return text + (f" {seeds} seeds a point." if seeds > 1 else " One seed a point.")


@dataclass(frozen=True)
class Section:
    """A search: its heading, its sweep, what the report says, the point that it chose, if any, and what it claims."""

    title: str
    sweep: str
    said: str
    chosen: Mapping[str, Any] | None = None
    claims: Callable[[Sequence[Point]], Iterable[Said]] = lambda points: ()


SECTIONS = (
    Section(
        "Hidden units, logistic loss",
        "eecs598_hidden_logistic",
        "EECS 598, question 2.4, chose 1,000 hidden units and reports 94 % on test.",
        {"model.hidden": [1000]},
    ),
    Section(
        "Hidden units, hinge loss",
        "eecs598_hidden_hinge",
        "EECS 598, question 3.4, chose 1,000 hidden units and reports 94 % on test.",
        {"model.hidden": [1000]},
    ),
    Section(
        "Hidden units, MNIST",
        "eecs598_hidden_units",
        "EECS 598, question 4.4, chose 1,000 hidden units and reports 93.63 % on test.",
        {"model.hidden": [1000]},
    ),
    Section(
        "Filter size and hidden units",
        "eecs598_filter_sizes",
        "EECS 598, question 5.3, chose 7x7 filters and 100 hidden units and reports 98.39 % on test, after more "
        "epochs.",
        {"model.kernel_size": 7, "model.hidden": 100},
    ),
    Section(
        "Dropout and batch normalisation",
        "eecs598_dropout",
        "EECS 598, question 5.4, chose batch norm and a rate of dropout of .8, which in the homework is the share that "
        "is kept: .2 here. It reports 98.68 % on test, after more epochs.",
        {"model.dropout": 0.2, "model.norm": "batch_from_zero"},
    ),
    Section(
        "The grid of 144",
        "hlcv_h3_grid",
        "Report 003 chose a learning rate of .002, 80 hidden units, a penalty of 1e-4 and batches of 400, and reports "
        "51.9 % on validation and 50 % on test. It does not say how many steps a point has. Weights are those of the "
        "best evaluation, and these come once an epoch, so the last one is nearer to the end with some batch sizes "
        "than with others: batch sizes are not compared at equal steps here.",
        {
            "optimizer.lr": 2e-3,
            "model.hidden": [80],
            "loss.penalty.0.coefficient": 1e-4,
            "train.batch_size": 400,
        },
    ),
    Section(
        "The grid of 24",
        "hlcv_h4_grid",
        "Report 004 chose 80 hidden units, 4,500 steps, a learning rate of .0015 and a penalty of .29, and reports 53 "
        "% on validation and 50.8 % on test. This grid has the plain images, without the copies of the report, and, to "
        "fit the budget, a quarter of its steps: 500 and 1,125 stand for 2,000 and 4,500. The report's four best at "
        "full length are rows of [reproduction.md](reproduction.md).",
        {
            "model.hidden": [80],
            "train.steps": 1125,
            "optimizer.lr": 1.5e-3,
            "loss.penalty.0.coefficient": 0.29,
        },
    ),
    Section(
        "Patience",
        "hlcv_h4_best",
        "Report 004 says that with little patience its best net stops very early with a low accuracy, and with more "
        "there is not much gain. It names no number. Patience is counted in evaluations, one an epoch; the figures are "
        "read from the logs of `hlcv:h4_best`, whose runs go on to the last step.",
        claims=claims_on_patience,
    ),
    Section(
        "ReLU, sigmoid, tanh",
        "hlcv_activations",
        "Report 004 says that ReLU does better than sigmoid and tanh, without a number.",
        {"model.activation": "relu", "model.hidden": [70, 70]},
        claims=claims_on_activations,
    ),
    Section(
        "Depth and mixes of activations",
        "hlcv_depth",
        "Report 003 says that many layers do not promise a better result, and sometimes over-fit. Its table is lost.",
        claims=claims_on_depth,
    ),
)


def section(one: Section, runs: Sequence[Run]) -> Iterator[str]:
    """Yield the paragraphs of a section."""
    yield f"## {one.title}"
    yield _wrapped(one.said)
    if not runs:
        yield f"Not measured yet: `dlassign sweep configs/sweeps/{one.sweep}.yaml`."
        return
    points = points_of(runs)
    steps, sizes = sorted({run.steps for run in runs}), sorted({run.batch_size for run in runs})
    budget = f"{len(runs)} runs of {_range(steps)} steps, batches of {_range(sizes)}"
    place = "`hlcv:h4_best`" if one.title == "Patience" else f"[{one.sweep}](../../configs/sweeps/{one.sweep}.yaml)"
    yield _wrapped(f"{budget}: {place}. {chance(points, one.chosen)}")
    said = [*(claims_on_choice(points, one.chosen) if one.chosen is not None else ()), *one.claims(points)]
    if one.title == "Patience":
        points = sorted(points, key=lambda point: int(point.values[PATIENCE]))
        rows = {
            f"{point.values[PATIENCE]}": [_range(sorted(run.steps for run in point.runs)), _text(point.runs, "val")]
            for point in points
        }
        yield lines(["patience", "stops at step", "validation"], rows)
    else:
        yield table(points, one.chosen)
        if marginal := by_key(points):
            yield marginal
    if said:
        yield claims(said)


def _range(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if values[0] == values[-1] else f"{values[0]:,} to {values[-1]:,}"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 120, break_on_hyphens=False, break_long_words=False))


def page(runs: Sequence[Run]) -> str:
    """Return the page."""
    data = ", ".join(sorted({run.data for run in runs}))
    seconds = math.fsum(run.seconds for run in runs if run.sweep != "hlcv_h4_best")
    parts = [TEXT.format(runs=len(runs), data=data, minutes=round(seconds / 60), margin=MARGIN_TEXT).rstrip()]
    for one in SECTIONS:
        parts += section(one, [run for run in runs if run.sweep == one.sweep])
    return "\n\n".join(parts) + "\n"


def collect(out: Path) -> Iterator[Run]:
    """Yield the runs of the sweeps that are over, and what patience would make of those of hlcv:h4_best."""
    for one in SECTIONS:
        if one.title == "Patience":
            yield from patience(out / one.sweep)
        elif SweepPaths(out / one.sweep).table_json.is_file():
            for point in read_table(out / one.sweep).rows:
                for run in point.runs:
                    records = read_records(RunPaths(out / one.sweep / run.run).log)
                    yield _run(records, sweep=one.sweep, values=point.values, confirms=run.confirms)


def patience(folder: Path) -> Iterator[Run]:
    """Yield, for each run in the folder and each patience, where it would stop and its best evaluation until then."""
    for paths in find_runs(folder):
        records = read_records(paths.log)
        evaluations = records.evaluations("val")
        for limit in PATIENCES if records.end is not None else ():
            best, at, stop = -1.0, 0, len(evaluations) - 1
            for number, record in enumerate(evaluations):
                if record["accuracy"] > best:
                    best, at = record["accuracy"], number
                elif number - at >= limit:
                    stop = number
                    break
            found = {"val": best, "test": None, "train": None, "steps": evaluations[stop]["step"]}
            yield _run(records, sweep=folder.name, values={PATIENCE: limit}, **found)


def _run(records: RunRecords, *, sweep: str, values: Mapping[str, Any], **given: Any) -> Run:
    start, end, finals = records.start, records.end, records.finals
    if end is None:
        raise SystemExit(f"{sweep}: a run has not ended; run the sweep again")
    found: dict[str, Any] = {
        "seed": start["seed"],
        "confirms": False,
        "val": finals["val"]["accuracy"] if "val" in finals else None,
        "test": finals["test"]["accuracy"] if "test" in finals else None,
        "train": records.train[-1]["accuracy"] if records.train else None,
        "n_val": start["data"]["n_val"],
        "batch_size": start["config"]["train"]["batch_size"],
        "steps": end["steps"],
        "seconds": round(end["seconds"]["total"], 2),
        "data": start["data"]["label"],
    }
    return Run(sweep=sweep, values=json.dumps(values), **found | given)


def read_csv(file: Path) -> list[Run]:
    """Read the table."""
    with file.open(newline="") as stream:
        return [
            Run(
                sweep=row["sweep"],
                values=row["values"],
                seed=int(row["seed"]),
                confirms=row["confirms"] == "True",
                val=_number(row["val"]),
                test=_number(row["test"]),
                train=_number(row["train"]),
                n_val=int(row["n_val"]),
                batch_size=int(row["batch_size"]),
                steps=int(row["steps"]),
                seconds=float(row["seconds"]),
                data=row["data"],
            )
            for row in csv.DictReader(stream)
        ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def main() -> None:
    """Write the page, and with --out the table that it is made of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help=f"the folder of the sweeps; without it {TABLE.name} is read")
    out = parser.parse_args().out
    if out:
        kept = read_csv(TABLE) if TABLE.is_file() else []
        write_csv(with_kept(collect(out), kept, [one.sweep for one in SECTIONS]), TABLE)
    PAGE.write_text(page(read_csv(TABLE)))


if __name__ == "__main__":
    main()
