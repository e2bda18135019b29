"""Labels that may be wrong, by predictions of nets that had not seen the samples.

Source: Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels
from dlassign.data_checks.flaw import Flaw

HALF = "about half of such candidates are right elsewhere (51 % in ten public sets: Northcutt et al., 2021)"


def candidates(probabilities: NDArray[np.float64], y: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples (M,) that another class suits better than their own, and that class (M,); the surest first.

    A class suits a sample if its probability is at least the mean that the samples labelled so have: nets are surer of
    some classes than of others. Of several classes the most probable one counts. Sorted by how much more probable it is
    than the sample's own class.

    Args:
        probabilities: (N, K) of each class, from nets that were not trained on the sample.
        y: (N,) their labels, 0..K-1.
    """
    n, k = probabilities.shape
    own = probabilities[np.arange(n), y]
    with np.errstate(invalid="ignore"):  # a class without samples suits nobody
        mean = np.bincount(y, own, minlength=k) / np.bincount(y, minlength=k)
    suits = probabilities >= np.where(np.isnan(mean), np.inf, mean)
    best = np.where(suits, probabilities, -1.0).argmax(axis=1)
    rows = np.flatnonzero(suits.any(axis=1) & (best != y))
    margin = probabilities[rows, best[rows]] - own[rows]
    rows = rows[np.argsort(-margin, kind="stable")]
    return rows, best[rows]


def label_flaw(rows: NDArray[np.int64], better: NDArray[np.int64], y: Labels, *, classes: Sequence[str]) -> Flaw | None:
    """Return what to say of the candidates of train, or None if there is none; the arrays are those of `candidates`."""
    if not len(rows):
        return None
    (label, other), most = Counter(zip(y[rows].tolist(), better.tolist(), strict=True)).most_common(1)[0]
    often = f", most often {classes[label]} that looks like {classes[other]} ({most:,})" if most > 1 else ""
    return Flaw(
        kind="label_candidates",
        level="warning",
        text=f"{len(rows):,} of {len(y):,} labels of train may be wrong, by nets that had not seen the samples{often}; "
        f"{HALF}",
        cure="look at them, the surest first, and mend those that are wrong; --grid FILE.png draws them, "
        "and --json names all",
        counts={"samples": len(rows), "of": len(y)},
        samples=tuple((("train", row),) for row in rows.tolist()),
    )
