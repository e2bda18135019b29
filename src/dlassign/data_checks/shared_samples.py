"""Flaws about equal samples: in two splits, twice in one, or with two labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset
from dlassign.data_checks.chance import binomial_tail, expected_pairs, poisson_tail, share_but_for_a_column
from dlassign.data_checks.columns import columns_of
from dlassign.data_checks.equal import equal_to
from dlassign.data_checks.flaw import SHOWN, Flaw, Place
from dlassign.errors import counted

_CHANCE = 1e-3
"""Equal rows of a table that chance gives less often than once in a thousand tables are copies."""


def shared_samples(dataset: Dataset) -> tuple[list[Flaw], dict[str, list[int]]]:
    """Return flaws of equal samples, and of val and test the rows that also occur in train, where that is no chance.

    dataset: whose samples are compared by their decoded values.
    """
    groups = _Groups(dataset)
    flaws = list(groups.flaws())
    return flaws, groups.leaks


class _Groups:
    """The groups of equal samples of a data set.

    Attributes:
        leaks: of val and test, the rows that also occur in train; complete when `flaws` is exhausted.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._splits = dataset.splits
        self._classes = dataset.classes
        first = equal_to(self._splits)
        numbers = np.arange(len(first))
        # Samples of groups alone: most sets have few, and all that follows looks at them only.
        copies = np.flatnonzero(first != numbers)
        self._rows = np.unique(np.concatenate([copies, first[copies]]))
        self._starts = np.cumsum([0, *(len(split) for split in self._splits.values())])
        self._names = list(self._splits)
        self._part = np.searchsorted(self._starts, self._rows, side="right") - 1
        self._group = first[self._rows]
        self.leaks: dict[str, list[int]] = {}

    def flaws(self) -> Iterator[Flaw]:
        """Yield what is odd, and fill `leaks`."""
        if not len(self._rows):
            return
        for first, second in combinations(self._names, 2):
            yield from self._across(first, second)
        yield from self._two_labels()
        for name in self._names:
            yield from self._within(name)

    def _rows_of(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self._part == self._names.index(split))

    def _across(self, first: str, second: str) -> Iterator[Flaw]:
        """Yield a flaw of the samples of `second` that also occur in `first`."""
        ours, theirs = self._rows_of(second), self._rows_of(first)
        found = ours[np.isin(self._group[ours], self._group[theirs])]
        if not len(found):
            return
        n, size = len(found), len(self._splits[second])
        chance = self._chance(first, second, n)
        rows = self._rows[found] - self._starts[self._names.index(second)]
        trained = first == "train"
        if trained and chance is None:
            self.leaks[second] = rows.tolist()
        shown = list(zip(found[:SHOWN].tolist(), rows[:SHOWN].tolist(), strict=True))
        what = f"{n:,} of {size:,} samples of {second} also occur in {first}"
        yield Flaw(
            kind="equal_across",
            level="note" if chance is not None else "alarm" if trained else "warning",
            text=f"{what}{chance or ''}",
            cure=_cure(cure_of_shared(self._dataset, first, second), second, leaks=trained, chance=chance is not None),
            counts={"samples": n, "of": size},
            samples=tuple(((second, row), self._first(self._group[at], first)) for at, row in shown),
        )

    def _within(self, name: str) -> Iterator[Flaw]:
        ours = self._rows_of(name)
        groups, counts = np.unique(self._group[ours], return_counts=True)
        groups, counts = groups[counts > 1], counts[counts > 1]
        if not len(groups):
            return
        extra = int(counts.sum() - len(counts))
        size = len(self._splits[name])
        yield Flaw(
            kind="equal_within",
            level="note",
            text=f"{extra:,} of {size:,} samples of {name} are copies of others in {name}; each counts as often as it "
            "occurs",
            cure="nothing, if a sample may come several times; else keep one of each",
            counts={"copies": extra, "groups": len(groups), "of": size},
            samples=tuple(tuple(self._members(group, name)[:2]) for group in groups[:SHOWN]),
        )

    def _two_labels(self) -> Iterator[Flaw]:
        """Yield a flaw of the groups whose samples do not all have one label."""
        y = np.concatenate([split.y for split in self._splits.values()])[self._rows]
        order = np.argsort(self._group, kind="stable")
        starts = np.flatnonzero(np.diff(self._group[order], prepend=-1))
        lowest, highest = (f.reduceat(y[order], starts) for f in (np.minimum, np.maximum))
        groups = self._group[order][starts][lowest != highest]
        if not len(groups):
            return
        n = int(np.isin(self._group, groups).sum())
        chance = self._two_labels_by_chance(len(groups))
        samples = tuple(self._unlike(group) for group in groups[:SHOWN])
        labels = [self._classes[self._label(place)] for place in samples[0]]
        yield Flaw(
            kind="two_labels",
            level="alarm" if chance is None else "note",
            text=f"{n:,} samples are equal to samples of another class, in "
            f"{counted(len(groups), 'group')} of equal ones, such as one of {' and of '.join(labels)}{chance or ''}",
            cure="look at them: at most one of the labels of each group is right; mend it, or take them out",
            counts={"samples": n, "groups": len(groups)},
            samples=samples,
        )

    @property
    def _is_table(self) -> bool:
        return self._splits["train"].x.ndim == 2

    def _chance(self, first: str, second: str, n: int) -> str | None:
        """Return that chance gives so many equal rows of a table; None if it does not, and of images."""
        if not self._is_table:
            return None  # two pictures are not equal in each pixel unless one was copied
        a, b = self._splits[first], self._splits[second]
        # Rows are counted, whatever their label; pairs are as many or more, so chance is never made too small.
        expected = sum(expected_pairs(a, b, one_label=one_label) for one_label in (True, False))
        if poisson_tail(n, expected) >= _CHANCE:
            return _by_chance(expected)
        twice = self._twice(first)
        # Were all rows drawn alike, a row of the second split would be as likely to occur in the first as one of the
        # first to occur there again (Good, 1953). The latter come in pairs, so they count as half as many events.
        if binomial_tail(n, n + twice / 2, len(b) / (len(b) + len(a) / 2)) < _CHANCE:
            return None
        near = len(a) * len(b) * self._near
        if poisson_tail(n, near) < _CHANCE:
            return None  # the rows of the first split are copies, too
        return (
            f"; columns that hang together give that by chance: {twice:,} of {len(a):,} samples of {first} occur in "
            f"{first} again, and about {_pairs(near)} of the two splits differ in one column only"
        )

    def _twice(self, split: str) -> int:
        """Return how many samples of a split occur in it again."""
        counts = np.unique(self._group[self._rows_of(split)], return_counts=True)[1]
        return int(counts[counts > 1].sum())

    @cached_property
    def _near(self) -> float:
        """The share of pairs of rows that differ in one column only."""
        columns = [places for _, places in columns_of(self._dataset)]
        return share_but_for_a_column(list(self._splits.values()), columns)

    def _two_labels_by_chance(self, groups: int) -> str | None:
        """Return that chance gives so many groups of equal rows of two labels; None if it does not, and of images."""
        if not self._is_table:
            return None
        pairs = combinations_with_replacement(self._splits.values(), 2)
        expected = sum(expected_pairs(a, b, one_label=False) for a, b in pairs)
        if poisson_tail(groups, expected) >= _CHANCE:
            return _by_chance(expected)
        counts = np.bincount(np.concatenate([split.y for split in self._splits.values()])).astype(np.float64)
        near = self._near * (counts.sum() ** 2 - (counts**2).sum()) / 2
        if poisson_tail(groups, near) < _CHANCE:
            return None
        return (
            f"; columns that hang together give that by chance: about {_pairs(near)} of two classes differ in one "
            "column only"
        )

    def _members(self, group: int, *names: str) -> list[Place]:
        """Return the samples of a group, in these splits, or in all."""
        rows = np.flatnonzero(self._group == group)
        starts = self._starts.tolist()
        found = [
            (self._names[part], number - starts[part])
            for part, number in zip(self._part[rows].tolist(), self._rows[rows].tolist(), strict=True)
        ]
        return [place for place in found if not names or place[0] in names]

    def _first(self, group: int, name: str) -> Place:
        return self._members(group, name)[0]

    def _unlike(self, group: int) -> tuple[Place, ...]:
        """Return the first sample of each label in a group."""
        found: dict[int, Place] = {}
        for place in self._members(group):
            found.setdefault(self._label(place), place)
        return tuple(found.values())

    def _label(self, place: Place) -> int:
        split, row = place
        return int(self._splits[split].y[row])


def cure_of_shared(dataset: Dataset, first: str, second: str) -> str:
    """Return what to do about samples that two splits share."""
    if dataset.origin.get(first) == dataset.origin.get(second):
        # Drawn from one set, so nobody can take them out of a split; and the next seed deals them anew.
        return "keep one of each in the data"
    return f"take them out of {first} or of {second}"


def _cure(mend: str, split: str, *, leaks: bool, chance: bool) -> str:
    if chance:
        return f"nothing, if rows may be equal by chance; else {mend}"
    return f"{mend}; until then results on {split} are also told without them" if leaks else mend


def _by_chance(mean: float) -> str:
    return f"; columns with so few values give about {_pairs(mean)} of equal rows by chance, so that is no wonder"


def _pairs(mean: float) -> str:
    """Return an expected number of pairs in words: below ten a tenth of one counts, above it does not."""
    return counted(round(mean), "pair") if mean >= 9.95 else f"{mean:.1f} pairs"
