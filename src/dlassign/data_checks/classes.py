"""Classes: which are missing in a split, and whether the splits have the same shares of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Labels
from dlassign.data_checks.chance import RARE, chi_squared
from dlassign.data_checks.flaw import Flaw
from dlassign.errors import first_few

_EXPECTED = 5
_FAR_APART = 0.1
"""Share of samples that would need another class before two splits have equal shares of classes. From here on at least
one answer in ten hangs on it; below, a difference that is no chance changes results less than most choices do."""
_SHOWN = 5
Counts = Mapping[str, NDArray[np.int64]]


def class_counts(dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Return the samples of each class (K,) by split."""
    return {name: np.bincount(split.y, minlength=len(dataset.classes)) for name, split in dataset.splits.items()}


def missing_classes(dataset: Dataset, counts: Counts) -> Iterator[Flaw]:
    """Yield a flaw for each split that lacks classes."""
    every = np.sum(list(counts.values()), axis=0)
    for split, found in counts.items():
        lacking = np.flatnonzero(found == 0)
        if not len(lacking):
            continue
        names = first_few([dataset.classes[k] for k in lacking], _SHOWN)
        lost = int(every[lacking].sum())
        what = f"{split} has no sample of {len(lacking)} of {len(dataset.classes)} classes ({names})"
        cure = "if the source is sorted by class, use data.split.by: stratified; else add samples, or remove the class"
        if split == "train" and lost:
            yield Flaw(
                kind="missing_class",
                level="alarm",
                text=f"{what}, so a net cannot learn them and gets their {lost:,} samples in other splits wrong",
                cure=cure,
                counts={"classes": len(lacking), "samples_elsewhere": lost},
            )
        else:
            says = "so nothing can be learnt of them" if split == "train" else "so its results say nothing of them"
            counted = {"classes": len(lacking), "samples_elsewhere": lost}
            yield Flaw(kind="missing_class", level="warning", text=f"{what}, {says}", cure=cure, counts=counted)


def class_shares(dataset: Dataset, counts: Counts, *, by: str | None) -> Iterator[Flaw]:
    """Yield flaws of val and test if their shares of classes are not those of train, and that is no chance.

    by: `data.split.by`.
    """
    found = {split: _difference(counts["train"], counts[split]) for split in ("val", "test") if split in counts}
    apart = {split: far for split, (_, rare, far) in found.items() if rare < RARE and far >= _FAR_APART}
    cut = [split for split in apart if by == "position" and dataset.origin.get(split) == dataset.origin.get("train")]
    changes = _changes_of_class(dataset.train.y) if cut else None
    for split, far in sorted(apart.items(), key=lambda item: -item[1]):
        ordered = changes is not None and split in cut
        what = "the samples are in the order of their classes, and the split is by position: " if ordered else ""
        elsewhere = "see whether the splits were drawn from one population"
        yield Flaw(
            kind="order_by_class" if ordered else "class_shares",
            level="alarm" if split in cut else "warning",
            text=f"{what}{split} has other shares of classes than train; {_most_apart(dataset, counts, split)} (chance "
            "gives that once in more than a million)",
            cure="use data.split.by: stratified" if split in cut else elsewhere,
            counts={
                "chi_squared": round(found[split][0], 1),
                "apart": round(far, 4),
                **(changes if ordered and changes else {}),
            },
        )
        if ordered:
            return  # the same order makes the other split unlike train


def _difference(train: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return chi-squared of counts of classes (K,), its probability, and the share of samples that differ in class.

    Classes of which a split should have fewer than _EXPECTED samples count as one: chi-squared has its law only where
    each count is large enough. From the share that differs goes the one that chance gives.

    Source: Cochran (1954), Some methods for strengthening the common chi-squared tests.
    """
    both = np.stack([train, other])
    expected = both.sum(axis=0) * both.sum(axis=1).min() / both.sum()
    rare = expected < _EXPECTED
    pooled = np.concatenate([both[:, ~rare], both[:, rare].sum(axis=1, keepdims=True)], axis=1)
    sizes = pooled.sum(axis=1)
    shares, together = pooled / sizes[:, None], pooled.sum(axis=0) / sizes.sum()
    # The mean size of a normal error is sqrt(2 / pi) of its spread.
    by_chance = np.sqrt(2 / np.pi * together * (1 - together) * (1 / sizes).sum())
    apart = np.abs(shares[0] - shares[1]).sum() - by_chance.sum()
    return *chi_squared(pooled), max(float(apart) / 2, 0.0)


def _most_apart(dataset: Dataset, counts: Counts, split: str) -> str:
    shares = np.stack([counts[name] / counts[name].sum() for name in ("train", split)])
    k = int(np.argmax(np.abs(shares[0] - shares[1])))
    in_train, there = (f"{100 * share:.1f} %" for share in shares[:, k])
    return f"class {dataset.classes[k]} makes up {in_train} of train and {there} of {split}"


def _changes_of_class(y: Labels) -> dict[str, float] | None:
    """Return how often the class changes from one sample to the next, and how often it would in any order.

    None if it changes as often as it would, within chance.
    """
    n = len(y)
    shares = np.bincount(y) / max(n, 1)
    change = 1 - float((shares**2).sum())
    changes, expected = int((np.diff(y) != 0).sum()), (n - 1) * change
    # Changes are nearly independent of each other, so their spread is at most that of a coin with these odds.
    if changes > expected - 5 * float(np.sqrt(max(n * change * (1 - change), 1))):
        return None
    return {"class_changes": changes, "class_changes_expected": round(expected)}
