"""The split of a source into train, val and test.

A source may bring a test set of its own; the samples that it does not set aside are its training part. A fraction for
train or val is a fraction of the training part. One for test is a fraction of the source's own test set or, without
one, of the training part. Samples keep their file order within each split. Where samples belong to groups, whole groups
are dealt, and the sizes are met as nearly as that allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Labels, Raw, Split
from dlassign.errors import ConfigError, first_few

By = Literal["random", "stratified", "position", "group"]
ValAt = Literal["start", "end"]
Size = int | float | None
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SplitSizes:
    """The number of samples in each split; None for a split that does not exist."""

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

    The source has n_train in its training part, and n_val and n_test in sets of its own, or None; its own validation
    set stays whole. train, val and test are a count, a fraction or None: for train all samples that the others leave,
    for val no validation, for test the source's whole test set, if it has one.

    Raises:
        ConfigError: a split is larger than what it is taken from, or would be empty.
    """
    size_test = _size("test", test, n=n_train if n_test is None else n_test, own=n_test is not None)
    size_val = _size("val", val, n=n_train) if n_val is None else n_val
    # A set that the source brings takes no samples away from its training part.
    taken = {"val": 0 if n_val is not None else size_val or 0, "test": 0 if n_test is not None else size_test or 0}
    rest = n_train - sum(taken.values())
    if rest < 1:
        raise _nothing_left(n_train, taken)
    size_train = _size("train", train, n=n_train)
    # Fractions that add up to 1 may ask for one sample too many, because each of them is rounded.
    if size_train is None or (isinstance(train, float) and size_train == rest + 1):
        size_train = rest
    if size_train > rest:
        message = f"asks for {size_train} samples, but val and test leave {rest} of {n_train}"
        raise ConfigError.at("data.split.train", f"{message}; give at most {rest}, or null for all of them")
    return SplitSizes(size_train, size_val, n_test if size_test is None else size_test)


def shuffled(raw: Raw, seed: int) -> Raw:
    """Return the source with each part in a random order, the same for the same seed on every machine."""
    streams = {"train": 0, "val": 1, "test": 2}
    # A generator for each part: the order of one does not depend on whether the others exist.
    rows = {
        name: np.random.default_rng((seed, streams[name])).permutation(len(part)) for name, part in raw.splits.items()
    }
    parts = {name: Split(part.x[rows[name]], part.y[rows[name]]) for name, part in raw.splits.items()}
    groups = {name: of_part[rows[name]] for name, of_part in raw.groups.items()}
    numbers = {name: _numbers(raw, name)[of_part] for name, of_part in rows.items()}
    return replace(
        raw, train=parts["train"], val=parts.get("val"), test=parts.get("test"), groups=groups, numbers=numbers
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
    """Split a source into train, val and test of the sizes that `split_sizes` finds.

    by: `position` takes train, val, test (or val, train, test, if val_at is start) in file order; `random` draws
    samples; `stratified` draws them so that each split has the same class shares; `group` draws whole groups of
    `raw.groups`, each for the split that lacks most of its classes. The same seed and source give the same splits on
    every machine.

    Raises:
        ConfigError: a split is larger than what it is taken from, or would be empty.
    """
    n_val, n_test = (None if part is None else len(part) for part in (raw.val, raw.test))
    sizes = split_sizes(len(raw.train), n_test, n_val=n_val, train=train, val=val, test=test)
    wanted = {
        "test": sizes.test if raw.test is None else None,
        "val": sizes.val if raw.val is None else None,
        "train": sizes.train,
    }
    # Random draws take test first and train last, so that asking for fewer training samples changes no other split.
    order = list(wanted)
    if by == "position":
        order = ["val", "train", "test"] if val_at == "start" else ["train", "val", "test"]
    groups = raw.groups if by == "group" else {}
    counts = [wanted[name] or 0 for name in order]
    chosen = _choose(raw.train.y, counts, by=by, seed=seed, groups=groups.get("train"))
    rows = {name: own for name, own in zip(order, chosen, strict=True) if wanted[name] is not None}
    taken = {name: _take(raw.train, own) for name, own in rows.items()}
    own_test = raw.test
    if own_test is not None and sizes.test is not None:
        [rows["test"]] = _choose(own_test.y, [sizes.test], by=by, seed=seed, groups=groups.get("test"))
        own_test = _take(own_test, rows["test"])
    val_split, test_split = taken.get("val", raw.val), taken.get("test", own_test)
    origin = {name: name for name in raw.splits} | dict.fromkeys(taken, "train")
    notes = [
        *_missing_classes(taken["train"], raw.classes),
        *_unmeasured_classes({"val": val_split, "test": test_split}, raw.classes),
        *_dealt_groups(groups.get("train"), {name: rows[name] for name in ("train", "val", "test") if name in taken}),
    ]
    return Dataset(
        train=taken["train"],
        val=val_split,
        test=test_split,
        classes=raw.classes,
        sha256=raw.sha256,
        label=raw.label,
        samples_sha256=raw.samples_sha256,
        notes=(*raw.notes, *notes),
        bits=raw.bits,
        numbers={name: _numbers(raw, part)[rows.get(name, slice(None))] for name, part in origin.items()},
        origin=origin,
    )


def _numbers(raw: Raw, part: str) -> Labels:
    """Return the numbers by which the samples of a part are named."""
    return raw.numbers[part] if part in raw.numbers else np.arange(len(raw.splits[part]))


def _size(name: str, size: Size, *, n: int, own: bool = False) -> int | None:
    if size is None:
        return None
    count = int(n * size + 0.5) if isinstance(size, float) else size
    part = "of the source's own test set" if own else "there are"
    path = f"data.split.{name}"
    if count > n:
        raise ConfigError.at(path, f"asks for {count} samples, but {'it has' if own else 'there are'} only {n}")
    if count < 1:
        message = f"{size:g} of the {n} samples {part} is none; give a larger fraction, a count or null"
        raise ConfigError.at(path, message)
    return count


def _nothing_left(n: int, taken: dict[str, int]) -> ConfigError:
    asked = " and ".join(f"{name} takes {count}" for name, count in taken.items() if count)
    cure = "give fewer, so that some are left to train on"
    path = f"data.split.{'val' if taken['val'] else 'test'}"
    return ConfigError.at(path, f"{asked} of {n} samples, which leaves none for train; {cure}")


def _choose(y: Labels, counts: list[int], *, by: By, seed: int, groups: Labels | None = None) -> list[Rows]:
    """Return disjoint arrays of row numbers, one for each count, each sorted so that samples keep their file order."""
    if by == "group":
        if groups is None:
            raise ValueError("this source has no groups")
        return _choose_groups(y, counts, seed=seed, groups=groups)
    if by == "position":
        order = np.arange(len(y))
    elif by == "random":
        order = np.random.default_rng(seed).permutation(len(y))
    else:
        return _choose_stratified(y, counts, seed=seed)
    ends = np.cumsum(counts)
    return [np.sort(order[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _choose_stratified(y: Labels, counts: list[int], *, seed: int) -> list[Rows]:
    """Return rows as `_choose` does; each class has its exact share of the samples still left, rounded up or down."""
    rng = np.random.default_rng(seed)
    # Each class waits in a queue of its own, shuffled once. Every split takes from the front of all queues.
    queues = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    chosen = []
    for count in counts:
        shares = largest_remainder(np.array([len(q) for q in queues]), count)
        taken = [q[:share] for q, share in zip(queues, shares, strict=True)]
        queues = [q[share:] for q, share in zip(queues, shares, strict=True)]
        chosen.append(np.sort(np.concatenate(taken)))
    return chosen


def _choose_groups(y: Labels, counts: list[int], *, seed: int, groups: Labels) -> list[Rows]:
    """Return rows as `_choose` does, whole groups, and as many as come nearest to the counts.

    Raises:
        ConfigError: there are fewer groups than splits.
    """
    names, number = np.unique(groups, return_inverse=True)
    content = np.zeros((len(names), int(y.max()) + 1), dtype=np.int64)
    np.add.at(content, (number, y), 1)
    # What each split lacks of each class, times the number of samples: whole numbers, equal on every machine. The last
    # line is for what no split takes, if train is a part only.
    wanted = np.array([*counts, len(y) - sum(counts)])
    lacks = np.outer(wanted, content.sum(axis=0))
    empty = [split for split, count in enumerate(counts) if count]
    if len(names) < len(empty):
        message = f"{len(empty)} splits of {len(names)} groups; each split needs a group of its own"
        raise ConfigError.at("data.split.by", f"{message}; give fewer splits, or a pattern that finds more groups")
    split_of = np.empty(len(names), dtype=np.int64)
    for waiting, group in zip(
        range(len(names), 0, -1), np.random.default_rng(seed).permutation(len(names)), strict=True
    ):
        # No split may end empty, however small it is: the last groups go to those that have none.
        open_to = empty if waiting <= len(empty) else np.flatnonzero(wanted).tolist()
        split = max(open_to, key=lambda split: int(lacks[split] @ content[group]))
        split_of[group] = split
        lacks[split] -= len(y) * content[group]
        if split in empty:
            empty.remove(split)
    return [np.flatnonzero(split_of[number] == split) for split in range(len(counts))]


def largest_remainder(sizes: Rows, total: int) -> Rows:
    """Divide `total` in proportion to `sizes`, (K,), into whole numbers, each less than one away from its exact share.

    No share exceeds its size; total: 0 to sum(sizes).
    """
    # In units of 1 / sum(sizes) exact shares are whole numbers. As floats, equal remainders could differ by rounding.
    exact = sizes.astype(np.int64) * total
    shares, remainders = np.divmod(exact, max(1, int(sizes.sum())))
    short = total - int(shares.sum())
    # A stable sort gives the first of equal classes the sample, on every machine.
    shares[np.argsort(-remainders, kind="stable")[:short]] += 1
    return shares


def _take(split: Split, rows: Rows) -> Split:
    """Return these rows of a split; the split itself, not a copy, if they are all its rows."""
    return split if len(rows) == len(split) else Split(split.x[rows], split.y[rows])


def _missing_classes(train: Split, classes: tuple[str, ...]) -> list[str]:
    """Return a note of the classes without a training sample, if there are any."""
    missing = _absent(train, classes)
    if not missing:
        return []
    return [f"train {_lacks(missing, classes)}; if the source is sorted by class, use data.split.by: stratified"]


def _absent(split: Split, classes: tuple[str, ...]) -> list[str]:
    counts = np.bincount(split.y, minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if not count]


def _lacks(missing: list[str], classes: tuple[str, ...]) -> str:
    shown = first_few(missing, 5)
    return f"has no sample of {len(missing)} of {len(classes)} classes ({shown})"


def _unmeasured_classes(splits: Mapping[str, Split | None], classes: tuple[str, ...]) -> Iterator[str]:
    """Yield a note of the classes without a sample in a split that results are measured on."""
    for name, split in splits.items():
        if split is not None and (missing := _absent(split, classes)):
            yield f"{name} {_lacks(missing, classes)}, so its results say nothing of them"


def _dealt_groups(groups: Labels | None, rows: Mapping[str, Rows]) -> Iterator[str]:
    """Yield a note of how many groups each split has got."""
    if groups is not None:
        counts = ", ".join(f"{len(np.unique(groups[of_split]))} in {name}" for name, of_split in rows.items())
        yield f"groups of samples that stay together: {counts}"
