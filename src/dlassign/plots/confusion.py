"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from dlassign.errors import UserError
from dlassign.plots.groups import title as title_of
from dlassign.plots.series import Run
from dlassign.plots.style import fixed_style, percent_text
from dlassign.store.summary import DAMAGE

_MOST_ANNOTATED = 20
_LONGEST_NAME = 18


def build_final(run: Run, split: str, *, title: str | None = None) -> Figure:
    """Return the figure of the confusion matrix of a run's final evaluation of a split.

    Raises:
        UserError: the log is damaged, and holds another number of classes than its matrix.
    """
    try:
        classes = [str(name) for name in run.records.start["data"]["classes"]]
        head = title or f"{title_of([run])}, final {split}"
        return build_confusion(run.records.confusions[split], classes, title=head)
    except DAMAGE as error:
        raise UserError(f"{run.paths.log} is damaged: {error}; move {run.paths.root} away to train it anew") from error


def build_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str) -> Figure:
    """Return the figure of a confusion matrix.

    Args:
        counts: (K, K), rows the true and columns the predicted class.
        classes: the K class names.
        title: stands above the matrix.

    Raises:
        ValueError: counts is not a square matrix of the size of `classes`.
    """
    table = np.array(counts, dtype=np.int64)
    if table.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of {len(classes)} classes cannot have the shape {table.shape}")
    rows = table.sum(axis=1)
    shares = 100 * table / np.maximum(rows, 1)[:, None]
    annotated = len(classes) <= _MOST_ANNOTATED
    side = max(2.6, 0.56 * len(classes)) if annotated else 7.0
    with fixed_style():
        figure = Figure(figsize=(side, side))
        axes = figure.add_axes((0, 0, 1, 1))
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
        recalls = 0.8 if annotated else 1.0  # inches that they take
        bar = figure.colorbar(image, cax=axes.inset_axes((1 + recalls / side, 0, 0.2 / side, 1)))
        bar.set_label("share of the true class (%)")
        if annotated:
            _annotate(axes, table, shares)
        _label(axes, classes, annotated=annotated)
        _recalls(axes, image, table, annotated=annotated)
        n = int(rows.sum())
        accuracy = percent_text(int(table.trace()) / max(1, n), n)
        # With y given, matplotlib measures no ticks to find a place above those that it has there.
        axes.set_title(f"{title}\naccuracy {accuracy} of {n:,} samples", y=1.0, pad=18, parse_math=False)
    return figure


def _annotate(axes: Axes, table: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """Write count and row percentage into every cell that is not empty."""
    for row, column in zip(*np.nonzero(table), strict=True):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{table[row, column]:,}\n{share:.1f} %",
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if share > 55 else "black",
        )


def _label(axes: Axes, classes: Sequence[str], *, annotated: bool) -> None:
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1].rstrip()}…" for name in classes]
    step = 1 if len(classes) <= 60 else 2 if len(classes) <= 120 else -(-len(classes) // 60)
    places = range(0, len(classes), step)
    size = 9 if annotated else 6
    long = max(len(name) for name in names) > 6 or not annotated
    axes.set_xticks(places, [names[i] for i in places], rotation=90 if long else 0, fontsize=size, parse_math=False)
    axes.set_yticks(places, [names[i] for i in places], fontsize=size, parse_math=False)


def _recalls(axes: Axes, image: AxesImage, table: NDArray[np.int64], *, annotated: bool) -> None:
    """Show the recall of each class right of the matrix: as numbers, or as bars if there is no room."""
    rows = table.sum(axis=1)
    recall = 100 * np.diag(table) / np.maximum(rows, 1)
    if annotated:
        axes.annotate("recall", (1, 1), (6, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8.5)
        for i, share in enumerate(recall.tolist()):
            text = f"{share:.1f} %" if rows[i] else "no samples"
            axes.annotate(
                text,
                (1, i),
                (6, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                fontsize=8.5,
                va="center",
            )
        return
    beside = axes.inset_axes((1.015, 0.0, 0.1, 1.0), sharey=axes)
    beside.barh(np.arange(len(rows)), recall, height=0.9, color=image.get_cmap()(0.75))
    beside.set_xlim(0, 100)
    beside.set_xticks([0, 100])
    beside.set_xlabel("recall (%)", fontsize=8)
    beside.tick_params(left=False, labelleft=False, labelsize=7)
