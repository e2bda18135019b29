"""Write docs/results/searches.md: what the searches of the UvA reports find, from the records of their sweeps.

    dlassign sweep configs/sweeps/uva2018_lr.yaml    # and the other files that SWEEPS names
    python scripts/write_searches.py --out out       # reads the sweeps' folders, writes searches.csv and the page
    python scripts/write_searches.py                 # writes the page anew from searches.csv

Runs of a sweep that is not in the folder stay in searches.csv. A sentence of the page that says whether a report's
claim is seen is the outcome of a rule below: no number is typed in.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from dlassign.config.values import value_text
from dlassign.stats.compare import compare_means
from dlassign.stats.intervals import SHARE, mean_interval
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import read_table

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TEXT = """\
# What the reports' searches find

Written by `scripts/write_searches.py` from [searches.csv](searches.csv), which it collects from the logs of {runs:,}
runs; do not edit. Data: {data}. {environment}.

The reports of UvA name what they searched over, but hardly a figure, and chose on the test set. These are the same
searches at a small budget, over three seeds each: {images} million images in all, {minutes} minutes of one core that
others used too. That is too short to find the best net. It is enough to ask which way a setting moves the result. Each
section says how many steps its nets made; `configs/sweeps/` has the files, with all settings.

Accuracy on the first 5,000 training images, which no net was trained on, in percent, after the last step: the mean over
seeds and where it lies with 95 % confidence (t interval). Differences are taken within seeds, with their interval in
brackets. *diverged* counts runs whose loss was no longer finite; they have no figure.

A difference of less than {margin} matters to no claim here. That one setting is better, best or worse is **seen** if
the whole interval of the difference is beyond {margin}, and **not seen** if the whole interval is short of it. That a
setting gains nothing, or is similar, is the reverse. Else, or without an interval, these runs **cannot tell**. Where a
claim says two things, both must be seen, and it is not seen if one is not. The best of several is the best in the same
runs that it is judged by, so its lead is a little too large. None of this says what a longer search would give.
"""
SPLITS = ("val", "train")
MARGIN = 0.01
"""The smallest difference of accuracy that matters here."""
MARGIN_TEXT = f"{100 * MARGIN:g} point"
NOT_MEASURED = "not measured"

Verdict = Literal["seen", "not seen", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line of searches.csv."""

    sweep: str
    values: str
    seed: int
    status: str
    val: float | None
    train: float | None
    batch_size: int
    steps: int
    seconds: float
    data: str
    environment: str

    def of(self, key: str) -> Any:
        """Return the value of a key of the sweep's space."""
        return json.loads(self.values).get(key)

    def size(self) -> int:
        """Return the batch size."""
        return self.batch_size


@dataclass(frozen=True)
class Cell:
    """The runs of one point, by seed."""

    runs: tuple[Run, ...]

    def figures(self, of: str = "val") -> dict[int, float]:
        """Return seed -> accuracy of those that have one."""
        found = {run.seed: getattr(run, of) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def minus(self, other: Cell) -> Effect:
        """Return how much better this point is than another."""
        return Effect.of(self.figures(), other.figures())

    def mean(self, of: str = "val") -> float:
        """Return the mean accuracy; -inf if no run has one."""
        values = list(self.figures(of).values())
        return math.fsum(values) / len(values) if values else -math.inf

    def over_fits(self) -> dict[int, float]:
        """Return seed -> how much larger the accuracy of training is."""
        train = self.figures("train")
        return {seed: train[seed] - value for seed, value in self.figures().items() if seed in train}

    def reaches(self, accuracy: float) -> Verdict:
        """Return whether the mean is above an accuracy."""
        found = mean_interval(list(self.figures().values()), within=SHARE) if self.figures() else None
        return beyond(found.low, found.high, accuracy) if found else "cannot tell"

    def text(self, of: str = "val") -> str:
        """Return mean and interval in percent, and how many runs diverged."""
        values = list(self.figures(of).values())
        lost = sum(run.status == "diverged" for run in self.runs)
        parts = [f"{lost} diverged"] if lost else []
        if values:
            found = mean_interval(values, within=SHARE)
            no_interval = found.low is None or found.high is None
            interval = "" if no_interval else f" ({100 * found.low:.1f} to {100 * found.high:.1f})"
            parts.insert(0, f"{100 * found.mean:.1f}{interval}")
        return ", ".join(parts) or NOT_MEASURED


def beyond(low: float | None, high: float | None, bound: float) -> Verdict:
    """Return whether a value is above a bound, by its interval; None: it has none."""
    if low is not None and low > bound:
        return "seen"
    return "not seen" if high is not None and high < bound else "cannot tell"


def reverse(verdict: Verdict) -> Verdict:
    """Return the verdict on the opposite claim."""
    return {"seen": "not seen", "not seen": "seen", "cannot tell": "cannot tell"}[verdict]


def both(*verdicts: Verdict) -> Verdict:
    """Return the verdict on a claim of several parts."""
    if "not seen" in verdicts:
        return "not seen"
    return "cannot tell" if "cannot tell" in verdicts else "seen"


@dataclass(frozen=True)
class Effect:
    """How much better one point is than another, with its 95 % interval.

    Attributes:
        mean: the difference; NaN if one of the points has no figure.
        low, high: ends of the interval; None where the runs allow none, as with one seed.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, one: Mapping[int, float], other: Mapping[int, float]) -> Effect:
        """Return one less the other, within seeds; both are seed -> accuracy."""
        if not one or not other:
            return cls(math.nan)
        found = compare_means(other, one)
        return cls(found.difference, found.low, found.high)

    def __neg__(self) -> Effect:
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Effect(-self.mean, low, high)

    @property
    def is_gain(self) -> Verdict:
        """Whether the one is better by more than the margin."""
        return beyond(self.low, self.high, MARGIN)

    @property
    def is_loss(self) -> Verdict:
        """Whether the one is worse by more than the margin."""
        return (-self).is_gain

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return NOT_MEASURED
        ends = "" if self.low is None or self.high is None else f"{100 * self.low:+.2f} to {100 * self.high:+.2f}"
        return f"{100 * self.mean:+.2f} points ({ends or 'no interval'})"


@dataclass(frozen=True)
class Said:
    """What a report says, whether it is seen here, and the numbers that say so."""

    claim: str
    verdict: Verdict
    numbers: str

    def __str__(self) -> str:
        return f"- {self.claim}: **{self.verdict}**. {self.numbers}"


Column = dict[Any, Cell]
"""The points of a search, by the value that was searched."""
Found = tuple[str, list[Said]]
"""The table of a section, and what the report says beside it."""


def column(
    runs: Iterable[Run], sweep: str, key: Callable[[Run], Any], keep: Callable[[Run], bool] | None = None
) -> Column:
    """Return the points of a sweep by what `key` says of their runs; `keep`: which runs, None is all."""
    found: dict[Any, list[Run]] = {}
    for run in runs:
        if run.sweep == sweep and (keep is None or keep(run)):
            found.setdefault(key(run), []).append(run)
    return {value: Cell(tuple(sorted(of, key=lambda run: run.seed))) for value, of in found.items()}


def best(points: Column) -> Any:
    """Return the key of the point with the highest mean."""
    return max(points, key=lambda key: points[key].mean())


def is_best(points: Column, ours: Callable[[Any], bool], name: Callable[[Any], str]) -> tuple[Verdict, str]:
    """Return whether the best of some points is better than the best of all others, and what says so."""
    one, other = (best({key: cell for key, cell in points.items() if ours(key) is here}) for here in (True, False))
    lead = points[one].minus(points[other])
    return lead.is_gain, f"the best of these ({name(one)}) less the best of the others ({name(other)}): {lead}"


def lines(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a Markdown table."""
    body = [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *body])


def side_by_side(head: str, columns: Mapping[str, Column]) -> str:
    """Return a table with a row a value, a column a search."""
    keys = dict.fromkeys(key for points in columns.values() for key in points)
    rows = {_name(key): [points[key].text() if key in points else "" for points in columns.values()] for key in keys}
    return lines([head, *columns], rows)


def with_training(head: str, columns: Mapping[str, Column]) -> str:
    """Return a table with two columns a search: validation and training."""
    heads = [f"{name}: {what}" for name in columns for what in ("validation", "training")]
    keys = dict.fromkeys(key for points in columns.values() for key in points)
    rows = {
        _name(key): [points[key].text(of) for points in columns.values() for of in ("val", "train")] for key in keys
    }
    return lines([head, *heads], rows)


def _name(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return value_text(value)


def _loss(name: str) -> Callable[[Run], bool]:
    return lambda run: bool(run.of("loss.name") == name)


def batch_sizes(runs: Sequence[Run]) -> Found:
    """All 17 batch sizes of UvA 2018."""
    columns = {
        "one pass, softmax twice": column(runs, "uva2018_batch", Run.size, _loss("double_softmax")),
        "one pass, one softmax": column(runs, "uva2018_batch", Run.size, _loss("cross_entropy")),
        "50 steps, softmax twice": column(runs, "uva2018_batch_steps", Run.size),
    }
    columns = {what: points for what, points in columns.items() if points}
    said = []
    for what, points in columns.items():
        small = best({size: cell for size, cell in points.items() if size <= 100})
        large = best({size: cell for size, cell in points.items() if size >= 1000})
        more = best({size: cell for size, cell in points.items() if size > 100})
        lead = points[large].minus(points[small])
        numbers = f"{what}: the best of 1,000 and more ({large:,}) less the best of 100 and less ({small}): {lead}"
        said.append(Said("large batches are better than small ones", lead.is_gain, numbers))
        numbers = f"{what}: the best of 100 and less ({small}) has {points[small].text()}, the best of more "
        numbers += f"({more:,}) {points[more].text()}"
        stays_below = reverse(points[small].reaches(0.4))
        # Where no size reaches .4, these steps are too few to ask which ones do.
        alone: Verdict = "seen" if points[more].reaches(0.4) == "seen" else "cannot tell"
        said.append(Said("small batches alone stay below .4", both(stays_below, alone), numbers))
    return side_by_side("batch size", columns), said


def learning_rates(runs: Sequence[Run]) -> Found:
    """Eleven rates for SGD and Adam, UvA 2018."""

    def of(rule: str, loss: str) -> Column:
        def keep(run: Run) -> bool:
            return bool(run.of("optimizer.name") == rule and run.of("loss.name") == loss)

        return column(runs, "uva2018_lr", lambda run: run.of("optimizer.lr"), keep)

    columns = {
        f"{name}, {what}": of(rule, loss)
        for rule, name in (("sgd", "SGD"), ("adam", "Adam"))
        for loss, what in (("double_softmax", "softmax twice"), ("cross_entropy", "one softmax"))
    }
    said = []
    for name, points in columns.items():
        rule = name.split(",")[0]
        reported = 1e-5 if rule == "SGD" else 1e-4
        verdict, numbers = is_best(points, lambda rate, at=reported: at / 4 < rate < 4 * at, "{:g}".format)
        claim = f"{rule} is best at about {reported:g}, from {reported / 4:g} to {4 * reported:g}"
        said.append(Said(claim, verdict, f"{name}: {numbers}"))
    return side_by_side("rate", columns), said


def _momentum(run: Run) -> str:
    rule = run.of("optimizer")
    if rule["name"] == "adam":
        return "Adam at 1e-4"
    kind = "Nesterov's" if rule.get("nesterov") else "momentum"
    return f"{kind} {rule['momentum']:g}" if rule.get("momentum") else "none"


def _decay(run: Run) -> float:
    return float(run.of("optimizer").get("weight_decay") or 0)


def _factor(run: Run) -> float:
    return float(run.of("optimizer").get("momentum") or 0)


def _is_plain(run: Run) -> bool:
    """Whether this is SGD without weight decay and without Nesterov's momentum."""
    rule = run.of("optimizer")
    return rule["name"] == "sgd" and not _decay(run) and not rule.get("nesterov")


def momentum(runs: Sequence[Run]) -> Found:
    """SGD with momentum, Nesterov's momentum and weight decay, UvA 2018."""
    decays = sorted({_decay(run) for run in runs if run.sweep == "uva2018_momentum"})
    columns = {
        f"weight decay {decay:g}": column(runs, "uva2018_momentum", _momentum, lambda run, of=decay: _decay(run) == of)
        for decay in decays
    }
    plain = columns["weight decay 0"]
    tried = column(runs, "uva2018_momentum", _factor, _is_plain)
    verdict, numbers = is_best(tried, lambda factor: 0.8 <= factor <= 0.9, "{:g}".format)
    if best(tried) == max(tried):
        verdict, numbers = both(verdict, "cannot tell"), f"{numbers}; the best is the largest that was tried"
    nesterov = {
        name: cell.minus(plain[name.replace("Nesterov's", "momentum")]) for name, cell in plain.items() if "'s" in name
    }
    decay = {
        f"{head}, {name}": cell.minus(plain[name])
        for head, points in columns.items()
        if points is not plain
        for name, cell in points.items()
    }
    return side_by_side("SGD at 1e-5", columns), [
        Said("momentum of .8 to .9 is best for SGD", verdict, numbers),
        _no_gain("Nesterov's gains nothing", nesterov),
        _no_gain("weight decay does not help", decay),
    ]


def _no_gain(claim: str, effects: Mapping[str, Effect]) -> Said:
    """Say whether none of several settings is a gain, by the one whose interval goes furthest up."""
    verdict = both(*(reverse(effect.is_gain) for effect in effects.values()))
    top = max(effects, key=lambda name: effects[name].mean if (high := effects[name].high) is None else high)
    return Said(claim, verdict, f"the one that may gain most, {top}: {effects[top]}")


def dropout(runs: Sequence[Run]) -> Found:
    """Six rates of dropout, with and without batch norm, UvA 2018."""

    def of(norm: str) -> Column:
        return column(
            runs, "uva2018_dropout", lambda run: run.of("model.dropout"), lambda run: bool(run.of("model.norm") == norm)
        )

    plain, norm = of("none"), of("batch")
    verdict, numbers = is_best(plain, lambda rate: 0.05 <= rate <= 0.1, "{:g}".format)
    worse = norm[0.0].minus(plain[0.0])
    return with_training("dropout", {"no norm": plain, "batch norm": norm}), [
        Said("rates of .05 to .1 are best", verdict, numbers),
        Said("batch normalisation is worse", worse.is_loss, f"with it less without, no dropout: {worse}"),
        _closes_and_costs("dropout", "", plain),
    ]


def _closes_and_costs(what: str, name: str, points: Column) -> Said:
    """Say whether the largest value has a smaller gap between training and test than 0, and a lower accuracy."""
    most = max(points)
    closed = Effect.of(points[0].over_fits(), points[most].over_fits())
    lost = points[most].minus(points[0])
    numbers = f"{name}{most:g} against none: the gap closes by {closed}; accuracy {lost}"
    claim = f"{what} closes the gap between training and test, and costs accuracy"
    return Said(claim, both(closed.is_gain, lost.is_loss), numbers)


def penalty(runs: Sequence[Run]) -> Found:
    """The factor of L1 and L2 norm, UvA 2018."""

    def of(name: str) -> Column:
        def keep(run: Run) -> bool:
            return all(term["name"] == name for term in run.of("loss.penalty"))

        def alpha(run: Run) -> float:
            return float(sum(term["coefficient"] for term in run.of("loss.penalty")))

        return column(runs, "uva2018_penalty", alpha, keep)

    columns = {"L1": of("l1"), "L2": of("l2")}
    said = []
    for name, points in columns.items():
        other = best({alpha: cell for alpha, cell in points.items() if alpha != 1e-4})
        lead = points[1e-4].minus(points[other])
        numbers = f"1e-4 less the best of the others ({other:g}): {lead}"
        said.append(
            Said(f"alpha of 1e-4 is a good choice, no worse than any other ({name})", reverse(lead.is_loss), numbers)
        )
        said.append(_closes_and_costs("a strong penalty", f"{name}, ", points))
    return with_training("alpha", columns), said


def hidden(runs: Sequence[Run]) -> Found:
    """Hidden layers, UvA 2018."""
    points = column(runs, "uva2018_hidden", lambda run: tuple(run.of("model.hidden")))
    verdict, numbers = is_best(points, lambda layers: layers == (1000, 800, 600, 400), _name)
    said = [Said("the four layers of the final model are best", verdict, numbers)]
    return side_by_side("hidden layers", {"validation": points}), said


def _initial(run: Run) -> str:
    init = run.of("init")
    return "PyTorch's" if init["name"] == "pytorch" else f"normal, {init['std']:g}"


def initial(runs: Sequence[Run]) -> Found:
    """Initial weights, UvA 2018."""
    columns = {
        "-".join(["100"] * depth): column(
            runs, "uva2018_init", _initial, lambda run, depth=depth: len(run.of("model.hidden")) == depth
        )
        for depth in (1, 4)
    }
    said = []
    for name, points in columns.items():
        found = best({key: cell for key, cell in points.items() if key != "PyTorch's"})
        lead = points[found].minus(points["PyTorch's"])
        numbers = f"{name}: the best of them ({found}) less PyTorch's: {lead}"
        said.append(Said("normal weights are similar to PyTorch's or worse", reverse(lead.is_gain), numbers))
    return side_by_side("initial weights", columns), said


def norms(runs: Sequence[Run]) -> Found:
    """Batch and layer norm over batch sizes, UvA 2020."""

    def of(norm: str) -> Column:
        return column(runs, "uva2020_norm_batch", Run.size, lambda run: bool(run.of("model.norm") == norm))

    columns = {"batch norm": of("batch"), "own batch norm": of("batch_manual"), "own layer norm": of("layer_manual")}
    layer = columns["own layer norm"]
    small, large = min(layer), max(layer)
    said = []
    for name, points in columns.items():
        if points is not layer:
            at = {size: points[size].minus(layer[size]) for size in (small, large)}
            more = Effect.of(_change(points, small, large), _change(layer, small, large))
            numbers = f"{name} less layer norm at {small}: {at[small]}; at {large}: {at[large]}; the change: {more}"
            said.append(Said("small batches harm batch norm, not layer norm", more.is_loss, numbers))
    return side_by_side("batch size", columns), said


def _change(points: Column, small: int, large: int) -> dict[int, float]:
    """Return seed -> how much better a small batch is than a large one."""
    of_large = points[large].figures()
    return {seed: value - of_large[seed] for seed, value in points[small].figures().items() if seed in of_large}


def rates_and_batches(runs: Sequence[Run]) -> Found:
    """The 33 pairs of learning rate and batch size of UvA 2018."""

    def of(loss: str) -> Column:
        return column(runs, "uva2018_lr_batch_steps", lambda run: (run.batch_size, run.of("optimizer.lr")), _loss(loss))

    columns = {"softmax twice": of("double_softmax"), "one softmax": of("cross_entropy")}
    said = []
    for what, points in columns.items():
        small, large = (
            best({key: cell for key, cell in points.items() if key[1] == 1e-4 and low <= key[0] <= high})
            for low, high in ((0, 200), (1000, math.inf))
        )
        lead = points[large].minus(points[small])
        numbers = f"{what}, at 1e-4: the best of 1,000 and more ({large[0]:,}) less the best of 200 and less: {lead}"
        said.append(Said("large batches are better than small ones", lead.is_gain, numbers))
        for size in (500, 800):
            usual, high = (
                best({key: cell for key, cell in points.items() if key[0] == size and (key[1] >= 2e-4) is is_high})
                for is_high in (False, True)
            )
            lead = points[high].minus(points[usual])
            numbers = f"{what}, batches of {size}: the best of 2e-4 and more ({high[1]:g}) less that of the others "
            said.append(Said("from 2e-4 on the accuracy collapses", lead.is_loss, f"{numbers}({usual[1]:g}): {lead}"))
    named = {
        what: {f"{size:,} at {rate:g}": points[size, rate] for size, rate in sorted(points)}
        for what, points in columns.items()
    }
    return side_by_side("batch size and rate", named), said


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, its sweeps, and what makes its table and its claims."""

    title: str
    sweeps: tuple[str, ...]
    found: Callable[[Sequence[Run]], Found]


SECTIONS = (
    Section("Batch sizes", ("uva2018_batch", "uva2018_batch_steps"), batch_sizes),
    Section("Learning rates", ("uva2018_lr",), learning_rates),
    Section("Momentum and weight decay", ("uva2018_momentum",), momentum),
    Section("Dropout and batch normalisation", ("uva2018_dropout",), dropout),
    Section("Penalty", ("uva2018_penalty",), penalty),
    Section("Hidden layers", ("uva2018_hidden",), hidden),
    Section("Initial weights", ("uva2018_init",), initial),
    Section("Normalisation and batch size", ("uva2020_norm_batch",), norms),
    Section("Pairs of rate and batch size", ("uva2018_lr_batch_steps",), rates_and_batches),
)
SWEEPS = [name for section in SECTIONS for name in section.sweeps]


def page(runs: Sequence[Run]) -> str:
    """Return the page."""
    images = round(sum(run.steps * run.batch_size for run in runs) / 1e6)
    head = TEXT.format(
        runs=len(runs),
        data=" and ".join(sorted({run.data for run in runs})),
        environment=" and ".join(sorted({run.environment for run in runs})),
        images=images,
        minutes=round(sum(run.seconds for run in runs) / 60),
        margin=MARGIN_TEXT,
    )
    parts = [head]
    for section in SECTIONS:
        own = [run for run in runs if run.sweep in section.sweeps]
        parts.append(f"## {section.title}")
        if missing := [name for name in section.sweeps if all(run.sweep != name for run in own)]:
            parts += [f"Not measured yet: `dlassign sweep configs/sweeps/{name}.yaml`." for name in missing]
        if not own:
            continue
        table, said = section.found(own)
        parts += [_budget(own, section.sweeps), table, claims(said)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def claims(said: Iterable[Said]) -> str:
    """Return a list of claims with their verdicts."""
    return "\n".join("\n".join(textwrap.wrap(str(one), 118, subsequent_indent="  ")) for one in said)


def _budget(runs: Sequence[Run], sweeps: Sequence[str]) -> str:
    ended = [run for run in runs if run.status != "diverged"] or runs
    steps, sizes = ({getattr(run, key) for run in ended} for key in ("steps", "batch_size"))
    links = ", ".join(f"[{name}](../../configs/sweeps/{name}.yaml)" for name in sweeps)
    text = f"{len(runs)} runs of {_range(steps)} steps, batches of {_range(sizes)}: {links}."
    return "\n".join(textwrap.wrap(text, 120, break_on_hyphens=False))


def _range(values: set[int]) -> str:
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"


def collect(out: Path) -> Iterator[Run]:
    """Yield the runs of the sweeps that are there and over.

    Raises:
        UserError: the table of a sweep cannot be read.
    """
    for name in SWEEPS:
        if not SweepPaths(out / name).table_json.is_file():
            continue
        for point in read_table(out / name).rows:
            for one in point.runs:
                records = read_records(RunPaths(out / name / one.run).log)
                if records.end is None:
                    raise SystemExit(f"{out / name / one.run} has not ended; run the sweep again")
                accuracy = {split: seen[-1]["accuracy"] for split in SPLITS if (seen := records.evaluations(split))}
                lost = one.status == "diverged"
                start = records.start
                yield Run(
                    sweep=name,
                    values=json.dumps(point.values),
                    seed=one.seed,
                    status=one.status,
                    val=None if lost else accuracy["val"],
                    train=None if lost else accuracy.get("train"),
                    batch_size=start["config"]["train"]["batch_size"],
                    steps=records.end["steps"],
                    seconds=round(records.end["seconds"]["total"], 2),
                    data=start["data"]["label"],
                    environment=_machine(start["environment"]),
                )


def _machine(environment: Mapping[str, Any]) -> str:
    return f"torch {environment['packages']['torch']} on {environment['device_name']}"


class OfSweep(Protocol):
    """A line of a file of runs."""

    @property
    def sweep(self) -> str:
        """Name of its sweep."""


Line = TypeVar("Line", bound=OfSweep)


def with_kept(found: Iterable[Line], kept: Sequence[Line], sweeps: Iterable[str]) -> list[Line]:
    """Return the runs that were found, and for each sweep without any those that were kept from an earlier time.

    Raises:
        SystemExit: there are fewer runs of a sweep than were kept.
    """
    new, lines = list(found), []
    for name in sweeps:
        own, old = ([run for run in runs if run.sweep == name] for runs in (new, kept))
        if own and len(own) < len(old):
            raise SystemExit(
                f"{name}: {len(own)} runs are there, the file of results has {len(old)}; nothing was written. End the "
                "sweep, or move its folder away to keep those"
            )
        if not own:
            print(f"{name}: not there, " + (f"its {len(old)} runs of an earlier time stay" if old else "left out"))
        lines += own or old
    return lines


def write_csv(runs: Sequence[Any], file: Path) -> None:
    """Write runs, at least one, as a line each; their attributes are the columns."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(runs[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(run) for run in runs)


def read_csv(file: Path) -> list[Run]:
    """Read searches.csv."""
    with file.open(newline="") as stream:
        return [
            Run(
                **{key: row[key] for key in ("sweep", "values", "status", "data", "environment")},
                **{key: int(row[key]) for key in ("seed", "batch_size", "steps")},
                **{key: float(row[key]) if row[key] else None for key in ("val", "train")},
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(stream)
        ]


def main() -> None:
    """Write the page, and with --out the file that it is made of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the folder of the sweeps; without it searches.csv is read")
    out = parser.parse_args().out
    table = RESULTS / "searches.csv"
    if out:
        write_csv(with_kept(collect(out), read_csv(table) if table.is_file() else [], SWEEPS), table)
    (RESULTS / "searches.md").write_text(page(read_csv(table)))


if __name__ == "__main__":
    main()
