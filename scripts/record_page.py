"""The page of scripts/bench_record.py: rules, the newest measurement of each recipe, every entry of record.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from airbench_port import COMMIT, FILE
from bench_startup import ROOT, spread
from dlassign.config.load import load_config
from dlassign.errors import UserError
from dlassign.stats.intervals import SHARE, mean_interval

Row = dict[str, str]
"""Of record.csv. Values of the seeds stand in one cell, in the order of the seeds from 0."""
COLUMNS = (
    *("date", "commit", "load", "recipe", "config", "precision", "data", "accuracies", "accuracies_with_views"),
    *("seconds", "decoding", "port_epochs", "port_accuracies", "port_accuracies_with_views", "port_seconds"),
    *("processor", "threads", "system", "versions", "command"),
)
ALIKE = 0.005
"""By how much the port's mean accuracy may be above ours: a port that trains longer makes our ratio smaller."""


class Bounds(NamedTuple):
    """What a recipe has to reach: mean accuracies, ratio to the port's time, seconds; None: not asked for."""

    plain: float
    views: float | None = None
    ratio: float | None = None
    seconds: float | None = None


RECIPES = {
    "cifar10_82": Bounds(0.819, ratio=0.22),
    "cifar10_best": Bounds(0.895, views=0.905, ratio=0.55),
    "mnist_99": Bounds(0.9904, seconds=15),
}
TEXT = """\
# The fast recipes from Enter to their accuracy, beside airbench94 on the same CPU

## Rules

- The clock is cold: it runs from the start of a new process to the test accuracy on its standard output. Importing,
  reading the data, choosing kernels, training, evaluating and, of ours, checkpoint and pictures are all in it. Nobody
  runs a warm-up: the port's file leaves its own out.
- Each run reads the test images once, at its end. How the choices of a recipe were made, and whether test accuracy was
  read for one of them, stands below, as its config says it.
- An accuracy is the mean over seeds that were fixed before (0, 1, 2, ...), with a 95 % t interval; seconds are medians
  with the smallest and the largest in brackets. Ratios are ours over the port's in the same round, in which the two
  take turns.
- Both sides read images that are decoded already: ours from its cache, the port from the tensors of the same pixels.
  What it costs to decode the files the first time is told beside it. Files are in the system's cache.
- The port is that of {file},
  commit `{commit}`, changed in memory by `scripts/airbench_port.py`: fp32 weights, bf16 autocast in training and
  evaluation, a clock of the system, one evaluation at its end, and another number of epochs. That number was chosen by
  the port's test accuracy, so that it comes near to ours.
- Plain accuracies are compared with plain ones. The port's mean may be at most {alike:g} above ours: a port that trains
  longer than it must makes our ratio smaller. It may be below ours by any amount, which makes our ratio larger.
- `cifar10-jpeg` is a JPEG copy of CIFAR-10. It is lossy, and accuracies on it are lower than on CIFAR-10.

## The newest measurement of each recipe

{newest}

## Every entry

{history}

Accuracies and seconds of each seed are in [record.csv](record.csv).
"""


def config_of(recipe: str) -> str:
    return f"configs/fast/{recipe}.yaml"


def numbers(row: Row, key: str) -> list[float]:
    return [float(value) for value in row[key].split()]


def ratios(row: Row) -> list[float]:
    """Return our seconds over the port's, round by round."""
    return [own / other for own, other in zip(numbers(row, "seconds"), numbers(row, "port_seconds"), strict=False)]


def accuracy(values: list[float]) -> str:
    """Return a mean and its 95 % t interval."""
    if not values:
        return ""
    found = mean_interval(values, within=SHARE)
    return f"{found.mean:.4f}" + (f" [{found.low:.4f}, {found.high:.4f}]" if found.low is not None else "")


def verdicts(row: Row) -> list[tuple[bool, str]]:
    """Return for each bound of a recipe whether it holds, and a sentence."""
    bounds, found = RECIPES[row["recipe"]], []
    for name, key, least in (("test accuracy", "", bounds.plain), ("with views", "_with_views", bounds.views)):
        if least is not None:
            values = numbers(row, f"accuracies{key}")
            mean = fmean(values) if values else 0.0
            found.append((mean >= least, f"{name} {mean:.4f}, at least {least:g}"))
    if bounds.seconds is not None:
        seconds = median(numbers(row, "seconds"))
        found.append((seconds <= bounds.seconds, f"{seconds:.1f} s from Enter, at most {bounds.seconds:g}"))
    if bounds.ratio is not None and not row["port_seconds"]:
        found.append((False, f"the port was not measured; at most {bounds.ratio:g} of its time"))
    elif bounds.ratio is not None:
        ratio = median(ratios(row))
        found.append((ratio <= bounds.ratio, f"{ratio:.3f} of the port's time, at most {bounds.ratio:g}"))
        above = fmean(numbers(row, "port_accuracies")) - fmean(numbers(row, "accuracies"))
        found.append((above <= ALIKE, f"the port's accuracy minus ours is {above:+.4f}, at most {ALIKE:+g}"))
    return found


def newest(row: Row, *, judged: bool = True) -> str:
    """Return the section of a recipe's newest measurement; judged: with its bounds."""
    config = config_of(row["recipe"])
    rows = {
        "Processor": f"{row['processor']}, {row['threads']} torch threads",
        "System": row["system"],
        "Versions": row["versions"],
        "Commit, date": f"{row['commit']}, {row['date']}",
        "Ours computes in": row["precision"],
        "Load when it began": row["load"],
        "Command": f"`{row['command']}`",
    }
    lines = [f"### {row['recipe']}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    lines += ["", f"Data: `{row['data']}`. Of the choice `{config}` says: {load_config(ROOT / config).notes}.", ""]
    if row["decoding"]:
        lines += [f"Where the files are not decoded yet, ours takes {row['decoding']} s more.", ""]
    lines += ["| side | seeds | test accuracy | with views | seconds from Enter | ratio |", "|---|---|---|---|---|---|"]
    ratio = spread(ratios(row), ".3f") if row["port_seconds"] else ""
    sides = [(f"`{row['recipe']}`", "", ratio)]
    sides += [(f"airbench94, {row['port_epochs']} epochs", "port_", "1")] * bool(row["port_seconds"])
    for name, key, value in sides:
        plain, views = (accuracy(numbers(row, f"{key}accuracies{end}")) for end in ("", "_with_views"))
        seconds = numbers(row, f"{key}seconds")
        lines.append(f"| {name} | {len(seconds)} | {plain} | {views} | {spread(seconds, '.1f')} | {value} |")
    if not judged:
        return "\n".join([*lines, "", "Not judged: a trial of the script."])
    lines += ["", *(f"- {'Holds' if holds else 'DOES NOT HOLD'}: {text}." for holds, text in verdicts(row))]
    return "\n".join(lines)


def page(rows: list[Row], *, judged: bool = True) -> str:
    """Return the page of all measurements, the oldest first; judged: whether the last one is no trial."""
    last = {row["recipe"]: row for row in rows}
    heads = ["date", "commit", "recipe", "config", "data", "seeds", "test accuracy", "with views", "seconds from Enter"]
    heads += ["port", "its accuracy", "its seconds", "ratio", "processor", "versions"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row[key] for key in ("date", "commit", "recipe", "config", "data")]
        cells += [str(len(numbers(row, "seconds")))]
        cells += [accuracy(numbers(row, key)) for key in ("accuracies", "accuracies_with_views")]
        cells += [spread(numbers(row, "seconds"), ".1f")]
        if row["port_seconds"]:
            cells += [f"{row['port_epochs']} epochs", accuracy(numbers(row, "port_accuracies"))]
            cells += [spread(numbers(row, "port_seconds"), ".1f"), spread(ratios(row), ".3f")]
        else:
            cells += [""] * 4
        lines.append(f"| {' | '.join([*cells, row['processor'], row['versions']])} |")
    sections = "\n\n".join(
        newest(last[recipe], judged=judged or last[recipe] is not rows[-1]) for recipe in RECIPES if recipe in last
    )
    return TEXT.format(file=FILE, alike=ALIKE, commit=COMMIT, newest=sections, history="\n".join(lines))


def read_rows(file: Path) -> list[Row]:
    """Return the rows of record.csv, none if there is no such file or nothing in it.

    Raises:
        UserError: a line is not one of this script, or the file cannot be read.
    """
    if not file.exists():
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except ValueError as error:
        raise UserError(f"{file}: is not text in UTF-8; take it back from git") from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    rows: list[Row] = []
    try:
        for row in reader:
            if tuple(row) != COLUMNS or None in row.values() or row["recipe"] not in RECIPES:
                raise ValueError
            for key in (key for key in COLUMNS if key.endswith(("accuracies", "_with_views", "seconds"))):
                numbers(row, key)  # a ValueError if there is anything else
            rows.append(row)
    except (ValueError, csv.Error) as error:
        place = f"{file}:{reader.line_num}"
        raise UserError(f"{place}: is no row that bench_record.py wrote; take the file back from git") from error
    if text and not text.endswith("\n"):
        raise UserError(f"{file}:{reader.line_num}: the last line is cut off; take the file back from git")
    return rows


def append_row(file: Path, row: Row) -> None:
    """Append a row to record.csv, which read_rows has read."""
    new = not file.exists() or not file.stat().st_size
    with file.open("a", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
