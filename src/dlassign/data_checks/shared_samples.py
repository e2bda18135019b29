"""Flaws about equal samples: in two splits, twice in one, or with two labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset
from dlassign.data_checks.chance import any_alone, expected_pairs, more_than_dealt, poisson_tail
from dlassign.data_checks.equal import equal_to
from dlassign.data_checks.flaw import SHOWN, Flaw, Place
from dlassign.errors import counted

_CHANCE = 1e-3
"""Equal rows that chance gives less often than once in a thousand tables, if columns do not hang together."""
_NEAR = "each has others near it, so columns that hang together can make rows equal, or it is one answer all through"
"""Why chance may have made rows equal."""
_MEND_LABELS = (
    "look at them: at most one of the labels of each group is right; keep one sample of each, with that label"
)


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
        chance = self._chance(first, second, found)
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
            text=f"{extra:,} of {size:,} samples of {name} are equal to others in {name}; each counts as often as it "
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
        chance = self._two_labels_by_chance(groups)
        samples = tuple(self._unlike(group) for group in groups[:SHOWN])
        labels = [self._classes[self._label(place)] for place in samples[0]]
        yield Flaw(
            kind="two_labels",
            level="alarm" if chance is None else "note",
            text=f"{n:,} samples are equal to samples of another class, in "
            f"{counted(len(groups), 'group')} of equal ones, such as one of class {' and one of class '.join(labels)}"
            f"{chance or ''}",
            cure=_cure(_MEND_LABELS, "", leaks=False, chance=chance is not None),
            counts={"samples": n, "groups": len(groups)},
            samples=samples,
        )

    @property
    def _is_table(self) -> bool:
        return self._splits["train"].x.ndim == 2

    def _chance(self, first: str, second: str, found: NDArray[np.int64]) -> str | None:
        """Return that chance gives so many equal rows of a table, or may; None if it does not, and of images."""
        if not self._is_table:
            return None  # two pictures are not equal in each pixel unless one was copied
        a, b = self._splits[first], self._splits[second]
        # Rows are counted, whatever their label; pairs are as many or more, so chance is never made too small.
        expected = sum(expected_pairs(a, b, one_label=one_label) for one_label in (True, False))
        usual = poisson_tail(len(found), expected) >= _CHANCE
        if not usual and self._any_alone(self._group[found]):
            return None
        sizes = [len(split) for split in self._splits.values()]
        at = {"first": self._names.index(first), "second": self._names.index(second)}
        if more_than_dealt(self._group, self._part, sizes, **at):
            return None
        if usual:
            return _by_chance(expected)
        return (
            f"; whether they are copies cannot be told: {self._twice(first):,} of {len(a):,} samples of {first} occur "
            f"in {first} again, rows dealt to the splits anew have as many equal ones, and {_NEAR}"
        )

    def _any_alone(self, groups: NDArray[np.int64]) -> bool:
        """Return whether one of these groups cannot be of rows that are equal by chance."""
        parts = list(self._splits.values())
        numbers = np.unique(groups)
        at = np.searchsorted(self._starts, numbers, side="right") - 1
        rows = [parts[part].x[number] for part, number in zip(at, numbers - self._starts[at], strict=True)]
        return any_alone(np.stack(rows), parts)

    def _twice(self, split: str) -> int:
        """Return how many samples of a split occur in it again."""
        counts = np.unique(self._group[self._rows_of(split)], return_counts=True)[1]
        return int(counts[counts > 1].sum())

    def _two_labels_by_chance(self, groups: NDArray[np.int64]) -> str | None:
        """Return that chance gives so many groups of equal rows of two labels, or may; else None, and of images."""
        if not self._is_table:
            return None
        pairs = combinations_with_replacement(self._splits.values(), 2)
        expected = sum(expected_pairs(a, b, one_label=False) for a, b in pairs)
        if poisson_tail(len(groups), expected) >= _CHANCE:
            return _by_chance(expected)
        return None if self._any_alone(groups) else f"; whether a label is wrong cannot be told: {_NEAR}"

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
