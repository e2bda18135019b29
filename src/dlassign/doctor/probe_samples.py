"""Which samples a probe looks at, how many there is time for, and what their neighbours say of the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dlassign.doctor.probe_clock import Clock
from dlassign.doctor.probe_nets import NetView
from dlassign.train.parts import Parts

LOOK_SECONDS = 2.0
"""For each look at the net, about: a large one sees fewer samples, so that a probe stays below a minute."""
_TIMED_SECONDS = 0.02
"""For measuring how fast the net is: a clock that ticks coarsely sees at least one tick."""
COMPARED = 600
"""Samples whose neighbours are looked for: their distances take a few milliseconds."""


def some_rows(n: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of n rows, the same ones for equal n, in an order that says nothing."""
    return np.random.default_rng(0).permutation(n)[:most].astype(np.int64)


def samples_a_second(view: NetView, parts: Parts, clock: Clock) -> float:
    """Return how many samples the net trains on in a second, about: backward takes twice as long as forward."""
    x, y = view.rows(parts.splits["train"], some_rows(len(parts.splits["train"]), 8))
    # The first one does not count: it pays for what is done once.
    view.loss(x, y, training=False)
    began, count = clock(), 0
    while (spent := clock() - began) < _TIMED_SECONDS:
        view.loss(x, y, training=False)
        count += len(y)
    return count / (3 * spent)


def within(fast: float, most: int) -> int:
    """Return how many of at most so many things are done in LOOK_SECONDS, at so many a second; four at least."""
    return int(min(most, max(LOOK_SECONDS * fast, 4)))


def neighbours(view: NetView, parts: Parts) -> tuple[float, float, int]:
    """Return how often the nearest sample has the same label, how often 8 of the nearest 10 share another, and n."""
    x, y = view.rows(parts.splits["train"], some_rows(len(parts.splits["train"]), COMPARED))
    rows, labels = view.array(x).astype(np.float64), np.asarray(y.tolist())
    squares = np.square(rows).sum(1)
    distances = squares[:, None] + squares[None] - 2 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    k = min(10, len(rows) - 1)
    if k < 1 or not np.isfinite(squares).all():
        return 0.0, 0.0, 0
    near = labels[np.argsort(distances, axis=1)[:, :k]]
    counts = (near[:, :, None] == np.arange(len(parts.dataset.classes))).sum(1)
    against = (counts.max(1) >= 8) & (counts.argmax(1) != labels)
    return float(np.mean(near[:, 0] == labels)), float(against.mean()), len(rows)
