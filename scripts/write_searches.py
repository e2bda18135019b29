"""Write docs/results/searches.md: what the searches of the UvA reports find, from the records of their sweeps.

    dlassign sweep configs/sweeps/uva2018_lr.yaml    # and the other files that SWEEPS names
    python scripts/write_searches.py --out out       # reads the sweeps' folders, writes searches.csv and the page
    python scripts/write_searches.py                 # writes the page anew from searches.csv

A sentence of the page that says whether a report's claim is seen is the outcome of a rule below: no number is typed in.
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
from typing import Any

from dlassign.config.values import value_text
from dlassign.stats.compare import compare_means
from dlassign.stats.intervals import SHARE, mean_interval
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import read_table

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SWEEPS = (
    "uva2018_batch",
    "uva2018_batch_steps",
    "uva2018_lr",
    "uva2018_momentum",
    "uva2018_dropout",
    "uva2018_penalty",
    "uva2018_hidden",
    "uva2018_init",
    "uva2020_norm_batch",
    "uva2018_lr_batch_steps",
)
TEXT = """\
# What the reports' searches find

Written by `scripts/write_searches.py` from [searches.csv](searches.csv), which it collects from the logs of {runs:,}
runs; do not edit. Data: {data}. {environment}.

The reports of UvA name what they searched over, but hardly a figure, and chose on the test set. These are the same
searches at a small budget, over three seeds each: {images} million images in all, {minutes} minutes of one core that
others used too. That is too short to find the best net. It is enough to ask which way a setting moves the result. Each
section says how many steps its nets made; `configs/sweeps/` has the files, with all settings.

Accuracy on the first 5,000 training images, which no net was trained on, in percent, after the last step: the mean over
seeds and where it lies with 95 % confidence (t interval). Differences are taken within seeds. **Seen** says that a rule
of the script finds the report's claim in these numbers, **not seen** that it does not; neither says what a longer
search would give. *diverged* counts runs whose loss was no longer finite; they have no figure.
"""
SPLITS = ("val", "train")
MARGIN = 0.01
"""A difference of accuracy that is too small to matter here."""
SOME = "not measured"


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

    def less(self, other: Cell) -> Gap:
        """Return how much better this point is than another."""
        return Gap.between(other.figures(), self.figures())

    def mean(self, of: str = "val") -> float:
        """Return the mean accuracy; -inf if no run has one."""
        values = list(self.figures(of).values())
        return math.fsum(values) / len(values) if values else -math.inf

    def over_fits(self) -> float:
        """Return how much larger the accuracy of training is."""
        return self.mean("train") - self.mean()

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
        return ", ".join(parts) or SOME


@dataclass(frozen=True)
class Gap:
    """How much better a second point is than a first, with its 95 % interval; within seeds; NaN if there is none."""

    mean: float
    low: float
    high: float

    @classmethod
    def between(cls, first: Mapping[int, float], second: Mapping[int, float]) -> Gap:
        """Return second less first; both are seed -> accuracy."""
        if not first or not second:
            return cls(math.nan, math.nan, math.nan)
        found = compare_means(first, second)
        low, high = (found.difference if end is None else end for end in (found.low, found.high))
        return cls(found.difference, low, high)

    @property
    def is_gain(self) -> bool:
        """Whether the second is better beyond the interval."""
        return self.low > 0

    @property
    def is_loss(self) -> bool:
        """Whether the second is worse beyond the interval."""
        return self.high < 0

    def __str__(self) -> str:
        mean, low, high = (100 * value for value in (self.mean, self.low, self.high))
        return SOME if math.isnan(mean) else f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


@dataclass(frozen=True)
class Said:
    """What a report says, whether it is seen here, and the numbers that say so."""

    claim: str
    seen: bool
    numbers: str


Column = dict[Any, Cell]
"""The points of a search, by the value that was searched."""
Found = tuple[str, list[Said]]
"""The table of a section, and what the report says beside it."""


def column(runs: Iterable[Run], sweep: str, key: Callable[[Run], Any], keep: Callable[[Run], bool] = bool) -> Column:
    """Return the points of a sweep by what `key` says of their runs; `keep`: which runs."""
    found: dict[Any, list[Run]] = {}
    for run in runs:
        if run.sweep == sweep and keep(run):
            found.setdefault(key(run), []).append(run)
    return {value: Cell(tuple(sorted(of, key=lambda run: run.seed))) for value, of in found.items()}


def best(points: Column) -> Any:
    """Return the key of the point with the highest mean."""
    return max(points, key=lambda key: points[key].mean())


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
        gap = points[large].less(points[small])
        numbers = f"{what}: the best of 1,000 and more ({large:,}) less the best of 100 and less ({small}): {gap}"
        said.append(Said("large batches are better than small ones", gap.is_gain, numbers))
        low = [f"{size}" for size, cell in points.items() if size <= 100 and cell.mean() < 0.4]
        top = best(points)
        numbers = f"{what}, below .4 of those up to 100: {', '.join(low) or 'none'}; the best of all, {top:,}, has "
        numbers += points[top].text()
        said.append(Said("small batches alone stay below .4", bool(low) and points[top].mean() >= 0.4, numbers))
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
        found = best(points)
        gap = "" if found == reported else f"; it less {reported:g}: {points[found].less(points[reported])}"
        numbers = f"{name}: best {found:g}{gap}"
        said.append(Said(f"{rule} is best at about {reported:g}", reported / 4 < found < 4 * reported, numbers))
    return side_by_side("rate", columns), said


def _momentum(run: Run) -> str:
    rule = run.of("optimizer")
    if rule["name"] == "adam":
        return "Adam at 1e-4"
    kind = "Nesterov's" if rule.get("nesterov") else "momentum"
    return f"{kind} {rule['momentum']:g}" if rule.get("momentum") else "none"


def _decay(run: Run) -> float:
    return float(run.of("optimizer").get("weight_decay") or 0)


def momentum(runs: Sequence[Run]) -> Found:
    """SGD with momentum, Nesterov's momentum and weight decay, UvA 2018."""
    decays = sorted({_decay(run) for run in runs if run.sweep == "uva2018_momentum"})
    columns = {
        f"weight decay {decay:g}": column(runs, "uva2018_momentum", _momentum, lambda run, of=decay: _decay(run) == of)
        for decay in decays
    }
    plain = columns["weight decay 0"]
    nesterov = {
        name: cell.less(plain[name.replace("Nesterov's", "momentum")]) for name, cell in plain.items() if "'s" in name
    }
    most = max(nesterov, key=lambda name: nesterov[name].high)
    gains = {
        f"{head}, {name}": cell.less(plain[name])
        for head, points in columns.items()
        if points is not plain
        for name, cell in points.items()
    }
    top = max(gains, key=lambda name: gains[name].high)
    nine = plain["momentum 0.9"].less(plain["none"])
    return side_by_side("SGD at 1e-5", columns), [
        Said("momentum of .8 to .9 is best for SGD", nine.is_gain, f"momentum .9 less none: {nine}"),
        Said("Nesterov's gains nothing", nesterov[most].high < MARGIN, f"its largest gain, {most}: {nesterov[most]}"),
        Said("weight decay does not help", gains[top].high < MARGIN, f"its largest gain, {top}: {gains[top]}"),
    ]


def dropout(runs: Sequence[Run]) -> Found:
    """Six rates of dropout, with and without batch norm, UvA 2018."""

    def of(norm: str) -> Column:
        return column(
            runs, "uva2018_dropout", lambda run: run.of("model.dropout"), lambda run: bool(run.of("model.norm") == norm)
        )

    plain, norm = of("none"), of("batch")
    found, most = best(plain), max(plain)
    closed = plain[0.0].over_fits() - plain[most].over_fits()
    lost = plain[most].less(plain[0.0])
    gain, worse = plain[found].less(plain[0.0]), norm[0.0].less(plain[0.0])
    return with_training("dropout", {"no norm": plain, "batch norm": norm}), [
        Said(
            "rates of .05 to .1 are best",
            0.05 <= found <= 0.1 and gain.is_gain,
            f"best {found:g}; it less none: {gain}",
        ),
        Said("batch normalisation is worse", worse.is_loss, f"with it less without, no dropout: {worse}"),
        Said(
            "dropout closes the gap between training and test, and costs accuracy",
            closed > 0 and lost.is_loss,
            f"{most:g} against none: the gap closes by {100 * closed:.1f} points; accuracy {lost}",
        ),
    ]


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
        found, most = best(points), max(points)
        gap = points[1e-4].less(points[0])
        numbers = f"1e-4 less none: {gap}; best {found:g}, it less none: {points[found].less(points[0])}"
        said.append(Said(f"alpha of 1e-4 is a good choice ({name})", not gap.is_loss, numbers))
        closed = points[0].over_fits() - points[most].over_fits()
        lost = points[most].less(points[0])
        numbers = f"{name}, {most:g} against none: the gap closes by {100 * closed:.1f} points; accuracy {lost}"
        what = "a strong penalty closes the gap between training and test, and costs accuracy"
        said.append(Said(what, closed > 0 and lost.is_loss, numbers))
    return with_training("alpha", columns), said


def hidden(runs: Sequence[Run]) -> Found:
    """Hidden layers, UvA 2018."""
    points = column(runs, "uva2018_hidden", lambda run: tuple(run.of("model.hidden")))
    final = (1000, 800, 600, 400)
    other = best({key: cell for key, cell in points.items() if key != final})
    gap = points[final].less(points[other])
    numbers = f"they less the best of the others ({_name(other)}): {gap}"
    return side_by_side("hidden layers", {"validation": points}), [
        Said("the four layers of the final model are best", gap.is_gain, numbers)
    ]


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
        gap = points[found].less(points["PyTorch's"])
        numbers = f"{name}: the best of them ({found}) less PyTorch's: {gap}"
        said.append(Said("normal weights are similar to PyTorch's or worse", not gap.is_gain, numbers))
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
            at = {size: points[size].less(layer[size]) for size in (small, large)}
            loses = [
                {seed: value - points[large].figures()[seed] for seed, value in points[small].figures().items()}
                for points in (layer, points)
            ]
            more = Gap.between(*loses)
            numbers = f"{name} less layer norm at {small}: {at[small]}; at {large}: {at[large]}; the change: {more}"
            said.append(Said("small batches harm batch norm, not layer norm", more.is_loss, numbers))
    return side_by_side("batch size", columns), said


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
        gap = points[large].less(points[small])
        numbers = f"{what}, at 1e-4: the best of 1,000 and more ({large[0]:,}) less the best of 200 and less: {gap}"
        said.append(Said("large batches are better than small ones", gap.is_gain, numbers))
        for size in (500, 800):
            rates = {key: cell for key, cell in points.items() if key[0] == size}
            usual, high = (
                best({key: cell for key, cell in rates.items() if (key[1] >= 2e-4) is large}) for large in (False, True)
            )
            gap = points[high].less(points[usual])
            numbers = f"{what}, batches of {size}: the best of 2e-4 and more ({high[1]:g}) less that of the others "
            said.append(Said("from 2e-4 on the accuracy collapses", gap.is_loss, f"{numbers}({usual[1]:g}): {gap}"))
    named = {
        what: {f"{size:,} at {rate:g}": points[size, rate] for size, rate in sorted(points)}
        for what, points in columns.items()
    }
    return side_by_side("batch size and rate", named), said


SECTIONS: dict[str, Callable[[Sequence[Run]], Found]] = {
    "Batch sizes": batch_sizes,
    "Learning rates": learning_rates,
    "Momentum and weight decay": momentum,
    "Dropout and batch normalisation": dropout,
    "Penalty": penalty,
    "Hidden layers": hidden,
    "Initial weights": initial,
    "Normalisation and batch size": norms,
    "Pairs of rate and batch size": rates_and_batches,
}
OF_SECTION = dict(zip(SECTIONS, (SWEEPS[:2], *((sweep,) for sweep in SWEEPS[2:])), strict=True))


def page(runs: Sequence[Run]) -> str:
    """Return the page."""
    images = round(sum(run.steps * run.batch_size for run in runs) / 1e6)
    head = TEXT.format(
        runs=len(runs),
        data=" and ".join(sorted({run.data for run in runs})),
        environment=" and ".join(sorted({run.environment for run in runs})),
        images=images,
        minutes=round(sum(run.seconds for run in runs) / 60),
    )
    parts = [head]
    for title, of in SECTIONS.items():
        sweeps = OF_SECTION[title]
        own = [run for run in runs if run.sweep in sweeps]
        parts.append(f"## {title}")
        if missing := [name for name in sweeps if all(run.sweep != name for run in own)]:
            parts += [f"Not measured yet: `dlassign sweep configs/sweeps/{name}.yaml`." for name in missing]
        if not own:
            continue
        table, said = of(own)
        lines = [f"- {one.claim}: **{'seen' if one.seen else 'not seen'}**. {one.numbers}" for one in said]
        wrapped = ["\n".join(textwrap.wrap(line, 118, subsequent_indent="  ")) for line in lines]
        parts += [_budget(own, sweeps), table, "\n".join(wrapped)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


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
            print(f"{name}: not there, left out")
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
    if out:
        write_csv(list(collect(out)), RESULTS / "searches.csv")
    (RESULTS / "searches.md").write_text(page(read_csv(RESULTS / "searches.csv")))


if __name__ == "__main__":
    main()
