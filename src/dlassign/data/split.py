"""How the samples of a source are dealt to train, val and test.

Every fraction is of the part that it is taken from: train and val of the source's training part; test of the
source's own test set or, without one, of the training part too. Within a split samples keep their file order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Labels, Raw, Split
from dlassign.errors import ConfigError

By = Literal["random", "stratified", "position"]
ValAt = Literal["start", "end"]
Size = int | float | None
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SplitSizes:
    """Samples in each split; None if there is no such split."""

    train: int
    val: int | None
    test: int | None


def split_sizes(
    n_train: int,
    n_test: int | None = None,
    *,
    n_val: int | None = None,
    train: Size = None,
    val: Size = None,
    test: Size = None,
) -> SplitSizes:
    """Return how many samples each split gets.

    Args:
        n_train: samples in the source's training part.
        n_test: samples in the source's own test set; None if it has none.
        n_val: samples in the source's own validation set; None if it has none.
        train: what the config asks for: a count, a fraction, or None for all that is left.
        val: a count, a fraction, or None for no validation.
        test: a count, a fraction, or None for the whole test set of the source, if it has one.

    Raises:
        ConfigError: a split is larger than what it is taken from, or would be empty.
    """
    own_test = n_test is not None
    size_test = _size("test", test, n=n_test if n_test is not None else n_train, own=own_test)
    if own_test and size_test is None:
        size_test = n_test
    size_val = n_val if n_val is not None else _size("val", val, n=n_train)
    held_out = (0 if own_test else size_test or 0) + (0 if n_val is not None else size_val or 0)
    rest = n_train - held_out
    if rest < 1:
        raise _too_many(n_train, val=None if n_val is not None else size_val, test=None if own_test else size_test)
    size_train = _size("train", train, n=n_train)
    if size_train is None:
        size_train = rest
    elif isinstance(train, float) and size_train == rest + 1:
        size_train = rest  # the fractions add up, only their rounding does not
    if size_train > rest:
        raise _problem(
            "train",
            f"asks for {size_train} samples, but val and test leave {rest} of {n_train}; "
            f"give at most {rest}, or null for all of them",
        )
    return SplitSizes(size_train, size_val, size_test)


def shuffled(raw: Raw, seed: int) -> Raw:
    """Return a source whose parts are in another order, the same for the same seed on every machine."""

    def permuted(part: Split, number: int) -> Split:
        rows = np.random.default_rng((seed, number)).permutation(len(part))
        return Split(part.x[rows], part.y[rows])

    return replace(
        raw,
        train=permuted(raw.train, 0),
        val=permuted(raw.val, 1) if raw.val is not None else None,
        test=permuted(raw.test, 2) if raw.test is not None else None,
    )


def deal(
    raw: Raw,
    *,
    train: Size = None,
    val: Size = None,
    test: Size = None,
    by: By = "stratified",
    val_at: ValAt = "end",
    seed: int = 0,
) -> Dataset:
    """Deal a source to train, val and test.

    Args:
        raw: the source; x: (N, ...), y: (N,).
        train: samples to train on: a count, a fraction, or None for all that is left.
        val: samples to validate on: a count, a fraction, or None for no validation.
        test: samples to test on: a count, a fraction, or None for the whole test set of the source.
        by: `position` takes train, val, test (or val, train, test) from the start of the file on; `random`
            and `stratified` choose test first, then val, then train, so that a smaller train leaves the
            others as they are.
        val_at: with `position`, whether val lies before or after train.
        seed: of the choice; the same seed and source give the same splits on every machine.

    Raises:
        ConfigError: a split is larger than what it is taken from, or would be empty.
    """
    own_val, own_test = raw.val is not None, raw.test is not None
    sizes = split_sizes(
        len(raw.train),
        len(raw.test) if raw.test is not None else None,
        n_val=len(raw.val) if raw.val is not None else None,
        train=train,
        val=val,
        test=test,
    )
    counts = {
        "train": sizes.train,
        "val": 0 if own_val else sizes.val or 0,
        "test": 0 if own_test else sizes.test or 0,
    }
    order = ["test", "val", "train"]
    if by == "position":
        order = ["val", "train", "test"] if val_at == "start" else ["train", "val", "test"]
    rows = dict(zip(order, _choose(raw.train.y, [counts[k] for k in order], by=by, seed=seed), strict=True))
    dealt_val = raw.val if own_val or sizes.val is None else _take(raw.train, rows["val"])
    dealt_test = None if own_test or sizes.test is None else _take(raw.train, rows["test"])
    if raw.test is not None and sizes.test is not None:
        dealt_test = _take(raw.test, _choose(raw.test.y, [sizes.test], by=by, seed=seed)[0])
    return _with_missing_classes_noted(
        Dataset(
            _take(raw.train, rows["train"]),
            dealt_val,
            dealt_test,
            raw.classes,
            raw.sha256,
            raw.label,
            raw.notes,
        )
    )


def _size(name: str, size: Size, *, n: int, own: bool = False) -> int | None:
    if size is None:
        return None
    count = int(n * size + 0.5) if isinstance(size, float) else size
    part = "of the source's own test set" if own else "there are"
    if count > n:
        raise _problem(name, f"asks for {count} samples, but {'it has' if own else 'there are'} only {n}")
    if count < 1:
        raise _problem(name, f"{size:g} of the {n} samples {part} is none; give a larger fraction, a count or null")
    return count


def _too_many(n: int, *, val: int | None, test: int | None) -> ConfigError:
    asked = " and ".join(f"{name} takes {count}" for name, count in (("val", val), ("test", test)) if count)
    cure = "give fewer, so that some are left to train on"
    return _problem("val" if val else "test", f"{asked} of {n} samples, which leaves none for train; {cure}")


def _problem(name: str, message: str) -> ConfigError:
    return ConfigError.at(f"data.split.{name}", message)


def _choose(y: Labels, counts: list[int], *, by: By, seed: int) -> list[Rows]:
    """Return sorted, disjoint rows, one array a count."""
    if by == "position":
        order = np.arange(len(y))
    elif by == "random":
        order = np.random.default_rng(seed).permutation(len(y))
    else:
        return _choose_stratified(y, counts, seed=seed)
    ends = np.cumsum(counts)
    return [np.sort(order[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _choose_stratified(y: Labels, counts: list[int], *, seed: int) -> list[Rows]:
    """Return sorted, disjoint rows; each class has its share of what earlier counts left, within one."""
    rng = np.random.default_rng(seed)
    queues = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    chosen = []
    for count in counts:
        shares = largest_remainder(np.array([len(q) for q in queues]), count)
        taken = [q[:share] for q, share in zip(queues, shares, strict=True)]
        queues = [q[share:] for q, share in zip(queues, shares, strict=True)]
        chosen.append(np.sort(np.concatenate(taken)))
    return chosen


def largest_remainder(sizes: Rows, total: int) -> Rows:
    """Return whole shares of `total`, in proportion to `sizes`, each within one of its exact share.

    Args:
        sizes: (K,) class sizes; the shares never exceed them.
        total: 0 to sum(sizes).
    """
    exact = sizes.astype(np.int64) * total  # in units of 1 / sum(sizes): whole numbers, so that ties are exact
    shares, remainders = np.divmod(exact, max(1, int(sizes.sum())))
    short = total - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:short]] += 1
    return shares


def _take(split: Split, rows: Rows) -> Split:
    """Return these rows; no copy if they are all of them."""
    return split if len(rows) == len(split) else Split(split.x[rows], split.y[rows])


def _with_missing_classes_noted(dataset: Dataset) -> Dataset:
    present = np.bincount(dataset.train.y, minlength=len(dataset.classes)) > 0
    missing = [name for name, there in zip(dataset.classes, present, strict=True) if not there]
    if not missing:
        return dataset
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    note = (
        f"train has no sample of {len(missing)} of {len(dataset.classes)} classes ({shown}); "
        "if the source is sorted by class, use data.split.by: stratified"
    )
    return replace(dataset, notes=(*dataset.notes, note))
