"""Predictions as a table, CSV or JSON, line by line, and what is counted of them."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

from dlassign.cli.views.notes import say_once
from dlassign.cli.views.target import check_target
from dlassign.data.bundle import Samples
from dlassign.deploy.predict import Prediction, Tally, column_names, row_values
from dlassign.launch.display import PLAIN_SECONDS
from dlassign.stats.text import columns_text, csv_line, share_text
from dlassign.store.files import make_folder, replacing

_LARGEST_MATRIX = 12
_CONFUSIONS = 5


def text_lines(
    rows: Iterable[Prediction], how: str, *, classes: Sequence[str], top: int, widest: int = 0, labelled: bool = True
) -> Iterator[str]:
    """Yield the lines of predictions, as they come.

    Args:
        rows: the predictions.
        how: table, csv, json or jsonl.
        classes: names of the classes.
        top: classes told of each.
        widest: letters of the longest name of a sample, for a table.
        labelled: whether some true classes are known; a table has no column for them otherwise.
    """
    names = column_names(top)
    cells = (row_values(row, classes, top=top) for row in rows)
    found = (dict(zip(names, own, strict=True)) for own in cells)
    match how:
        case "jsonl":
            yield from (json.dumps(row) for row in found)
        case "json":
            before = "["
            for row in found:
                yield f"{before}{json.dumps(row)}"
                before = ","
            yield "]" if before == "," else "[]"
        case "csv":
            yield from map(csv_line, chain([names], cells))
        case _:
            # Whether there will be errors is not known when the head is written: they stand in place of the classes.
            widths = {"path": max(4, widest)} | {
                name: max(len(name), *map(len, classes)) if "label" in name else len(name)
                for name in names[1 : -1 if labelled else -2]
            }
            yield _table_line({name: name for name in widths}, widths)
            for row in found:
                line = _table_line({name: _cell(row[name]) for name in widths}, widths)
                yield f"{row['path']:{widths['path']}}  error: {row['error']}" if row["error"] else line


def form_of(target: Path, *, option: str, cure: str = "") -> str:
    """Return the form of predictions that the ending of a file says.

    Raises:
        click.UsageError: it says none.
    """
    forms = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".txt": "table"}
    if target.suffix.lower() not in forms:
        raise click.UsageError(f"{option} {target}: end the name in {', '.join(forms)}{cure}")
    return forms[target.suffix.lower()]


def sheet_of(grid: str | None) -> Path | None:
    """Return the file that --grid draws into, None without it.

    Raises:
        click.UsageError: its name says no kind of picture, or it must not be written over.
    """
    if grid is None:
        return None
    if not grid.lower().endswith((".png", ".svg", ".pdf")):
        raise click.UsageError(f"--grid {grid}: end the name in .png, .svg or .pdf")
    check_target(Path(grid), option="--grid")
    return Path(grid)


def write_lines(lines: Iterable[str], target: Path | None) -> None:
    """Write lines to standard output, or to a file, all or nothing."""
    if target is None:
        for line in lines:
            click.echo(line)
        return
    make_folder(target.parent)
    with replacing(target) as file:
        for line in lines:
            file.write(f"{line}\n".encode(errors="backslashreplace"))
    click.echo(f"wrote  {target}", err=True)


def draw_sheet(
    pictures: Sequence[tuple[Prediction, Samples]], target: Path, *, classes: Sequence[str], white: int, title: str
) -> None:
    """Draw pictures, each with its name, the predicted class, its probability and, if it is wrong, the true class.

    Args:
        pictures: at least one; (C, H, W) each.
        target: the file.
        classes: names of the classes.
        white: the value of a full pixel.
        title: stands above the pictures.
    """
    from dlassign.plots.contact_sheet import Tile, build_contact_sheet, file_line
    from dlassign.plots.style import save_figure

    tiles = []
    for row, picture in pictures:
        true = (f"true {classes[row.true]}",) if row.wrong and row.true is not None else ()
        said = f"{'said ' if true else ''}{classes[row.classes[0]]}: {row.probabilities[0]:.2f}"
        lines = (file_line(row.name), said, *true)
        tiles.append(Tile(picture, lines, wrong=row.wrong, white=white))
    save_figure(build_contact_sheet(tiles, title=title), target, say=say_once)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # A line feed in the name of a file or class would tear the table.
    return (
        f"{value:.4f}" if isinstance(value, float) else re.sub(r"[\x00-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", value)
    )


def _table_line(cells: dict[str, str], widths: dict[str, int]) -> str:
    padded = (cell.ljust(widths[name]) for name, cell in cells.items())
    return "  ".join(padded).rstrip()


def summary_lines(tally: Tally, classes: Sequence[str]) -> Iterator[str]:
    """Yield accuracy and confusion of the samples whose true class is known; nothing if there is none."""
    counts = tally.confusion
    n, right = int(counts.sum()), int(counts.trace())
    if not n:
        return
    yield f"accuracy {share_text(right / n, n)}: {right:,} of {n:,}"
    there = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1)).tolist()
    if len(there) <= _LARGEST_MATRIX:
        table = {"true class": [classes[i] for i in there]}
        table |= {f"as {classes[k]}": [f"{counts[i, k]:,}" for i in there] for k in there}
        yield columns_text(table, left=("true class",))
        return
    wrong = counts - np.diag(np.diag(counts))
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]:
        true, predicted = np.unravel_index(place, counts.shape)
        if wrong[true, predicted]:
            yield f"{classes[true]} taken for {classes[predicted]}: {wrong[true, predicted]:,}"


@contextmanager
def counting(total: int, *, noun: str, shown: bool) -> Iterator[Callable[[int], object]]:
    """Give a function that is told how many samples are done: a bar on a terminal, else a line every few seconds.

    Args:
        total: number of samples.
        noun: what they are called.
        shown: whether anything is shown; lines of predictions on the same terminal are progress enough.
    """
    if not shown:
        yield lambda done: None
        return
    if not sys.stderr.isatty():
        yield _PlainCount(total, noun)
        return
    from rich.console import Console
    from rich.progress import Progress

    # Redirected, the lines of predictions would go to the bar's stream, and not to the file that the shell opened.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("predicting", total=total)
        yield lambda done: progress.update(task, completed=done)


class _PlainCount:
    def __init__(self, total: int, noun: str) -> None:
        self._total = total
        self._noun = noun
        self._shown = self._began = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown >= PLAIN_SECONDS and done < self._total:
            self._shown = now
            rate = done / (now - self._began)
            click.echo(f"predicted {done:,} of {self._total:,}  {rate:,.0f} {self._noun}/s", err=True)
