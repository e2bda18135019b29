"""Columns of a table that give the label away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Labels
from dlassign.data_checks.chance import RARE, poisson_head
from dlassign.data_checks.flaw import Flaw
from dlassign.errors import first_few

_ROWS = 20_000
"""Rows that are looked at; half of them are judged, so one wrong row in a thousand is 10."""
_COLUMNS = 2000
"""Columns that are looked at; a table of more holds pixels or genes."""
_FEWER = 10
"""A column stands out if it errs ten times less than guessing, and than the best other column."""
_ENOUGH = 20
"""Fewest rows on which ten times fewer errors can be seen."""


def leaking_columns(dataset: Dataset) -> Iterator[Flaw]:
    """Yield a flaw of the columns that alone give the label of nearly all rows.

    Each column alone predicts the label: the range of its values is cut into as many parts as there can be with about
    ten rows each, and each part predicts its most common class. One half of train is learnt from, the other judged.
    """
    x, y = dataset.train.x, dataset.train.y
    if x.ndim != 2 or len(np.unique(y)) < 2:
        return
    step = max(1, -(-len(y) // _ROWS))
    # Every second row is judged: in a table that is sorted, halves would hold other classes.
    x, y = x[::step], y[::step]
    if len(y) < 2 * _ENOUGH:
        return
    columns = columns_of(dataset)[:_COLUMNS]
    wrong = {name: _wrong(_values(x[:, places]), y) for name, places in columns}
    judged = len(y[1::2])
    guessing = judged - int(np.bincount(y[1::2]).max())
    leaks = [name for name, errors in wrong.items() if _stands_out(errors, guessing)]
    others = [errors for name, errors in wrong.items() if name not in leaks]
    # Where all columns tell the classes apart, the classes are easy, and none gives them away.
    leaks = [name for name in leaks if others and _stands_out(wrong[name], min(others))]
    if not leaks:
        return
    named = first_few([f"column {name!r}" for name in leaks], 5)
    errors, best = max(wrong[name] for name in leaks), min(others)
    # A measurement may tell classes apart, too, but it has more values than there are classes.
    labels = len(np.unique(y))
    values = [_values(x[1::2][:, places]) for name, places in columns if name in leaks]
    again = errors == 0 and any(len(np.unique(value)) <= labels for value in values)
    yield Flaw(
        kind="leaking_column",
        level="alarm" if again else "warning",
        text=f"{named} alone gives the label of {judged - errors:,} of {judged:,} rows that it was not fitted on; the "
        f"best of the others gives that of {judged - best:,}, guessing of {judged - guessing:,}",
        cure=f"if a new sample would not have it, set data.drop: [{', '.join(leaks[:5])}]",
        counts={"rows": judged, "wrong": errors, "wrong_other": best, "wrong_guessing": guessing},
    )


def constant_columns(dataset: Dataset) -> Iterator[Flaw]:
    """Yield a flaw if no column of a table has more than one value in train: there is nothing to learn from."""
    x = dataset.train.x
    if x.ndim != 2 or len(x) < 2 or (x != x[:1]).any():
        return
    names = [name for name, _ in columns_of(dataset)]
    who = f"the only column, {names[0]!r}, has" if len(names) == 1 else f"all {len(names):,} columns have"
    yield Flaw(
        kind="constant_columns",
        level="alarm",
        text=f"{who} one value in all {len(x):,} samples of train, so nothing can be learnt from them",
        cure="look at the file, and at data.drop: no column that tells the classes apart is read",
        counts={"columns": len(names), "samples": len(x)},
    )


def columns_of(dataset: Dataset) -> list[tuple[str, list[int]]]:
    """Return the columns of the table, each with its features: a column of texts has become several."""
    if dataset.encoding is None:
        return [(str(number), [number]) for number in range(dataset.train.x.shape[1])]
    found, start = [], 0
    for column in dataset.encoding.columns:
        width = len(column.features())
        found.append((column.column.name or str(column.column.number), list(range(start, start + width))))
        start += width
    return found


def _stands_out(errors: int, others: int) -> bool:
    """Return whether so many errors are ten times fewer than the others, and could not be by chance."""
    # So that none of `others` expected errors is left in one table of a million only, there must be 14 or more.
    return _FEWER * errors <= others and poisson_head(errors, others) < RARE


def _values(x: NDArray[np.float64]) -> NDArray[Any]:
    """Return one value (N,) for features (N, k) of one column: a number, or which text it is."""
    if x.shape[1] == 1:
        return x[:, 0]
    if x.shape[1] == 2:
        # A number and where it is missing, which comes first and so is a part of its own; or two texts.
        ranks: NDArray[np.int64] = np.unique(x[:, ::-1] * (-1, 1), axis=0, return_inverse=True)[1].reshape(-1)
        return ranks
    texts: NDArray[np.int64] = x.argmax(axis=1) + (x.max(axis=1) > 0)
    return texts


def _wrong(value: NDArray[Any], y: Labels) -> int:
    """Return how many of every second row a rule gets wrong that takes this value (N,) alone."""
    fit, judge = value[::2], value[1::2]
    edges = np.unique(np.quantile(fit, np.linspace(0, 1, max(2, len(fit) // 10)), method="nearest"))
    classes = int(y.max()) + 1
    counts = np.bincount(np.searchsorted(edges, fit) * classes + y[::2], minlength=(len(edges) + 1) * classes)
    rule = counts.reshape(-1, classes)
    common = int(rule.sum(axis=0).argmax())
    says = np.where(rule.sum(axis=1) > 0, rule.argmax(axis=1), common)
    return int((says[np.searchsorted(edges, judge)] != y[1::2]).sum())
