"""The order in which a run sees its training samples.

Which rows step s sees is a function of (seed, s) alone: epoch e draws from its own generator, seeded with (seed, e). So
a resumed run needs no state but the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Labels

Rows = NDArray[np.int64] | slice
Array = TypeVar("Array")


class Order(Protocol):
    """Which rows each step of an epoch sees."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch."""
        ...

    def epoch(self, number: int) -> list[Rows]:
        """Return the rows of each step of an epoch: index arrays, or slices where the rows lie side by side."""
        ...


@dataclass(frozen=True)
class _WholeBatches:
    """What the orders share whose batches all have batch_size rows; n: samples in the training split."""

    n: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """max(floor(n / batch_size), 1)."""
        return max(self.n // self.batch_size, 1)


@dataclass(frozen=True)
class Shuffled(_WholeBatches):
    """Every epoch a new permutation; the last batch is short, or left out."""

    drop_last: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """ceil(n / batch_size), or floor with drop_last."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def epoch(self, number: int) -> list[Rows]:
        """Return consecutive parts of a permutation of all rows."""
        return _cut(_generator(self.seed, number).permutation(self.n), self.batch_size, self.steps_per_epoch)


class UvaNextBatch(_WholeBatches):
    """The UvA starter code's order: the first epoch in file order, later ones shuffled, an incomplete tail left out.

    Source: UvA Deep Learning 2018 and 2020, assignment 1, cifar10_utils.next_batch.
    """

    def epoch(self, number: int) -> list[Rows]:
        """Return consecutive slices in the first epoch, parts of a permutation later."""
        if number == 0:
            return [slice(i * self.batch_size, (i + 1) * self.batch_size) for i in range(self.steps_per_epoch)]
        return _cut(_generator(self.seed, number).permutation(self.n), self.batch_size, self.steps_per_epoch)


class WithReplacement(_WholeBatches):
    """Every row of every batch drawn uniformly, so that a batch may hold one twice. Source: EECS 598, HLCV."""

    def epoch(self, number: int) -> list[Rows]:
        """Return rows drawn independently for every step."""
        steps = self.steps_per_epoch
        return list(_generator(self.seed, number).integers(self.n, size=(steps, self.batch_size)))


class Window(_WholeBatches):
    """A contiguous window at a random place; the whole split if it is smaller than a batch. Source: HLCV report H3."""

    def epoch(self, number: int) -> list[Rows]:
        """Return slices of batch_size rows."""
        size = min(self.batch_size, self.n)
        starts = _generator(self.seed, number).integers(self.n - size + 1, size=self.steps_per_epoch)
        return [slice(int(start), int(start) + size) for start in starts]


@dataclass(frozen=True)
class Full:
    """All rows in every step."""

    n: int

    @property
    def steps_per_epoch(self) -> int:
        """1, as one step sees every row."""
        return 1

    def epoch(self, number: int) -> list[Rows]:
        """Return one slice with every row."""
        return [slice(0, self.n)]


@dataclass(frozen=True)
class SideBySide:
    """The rows of several orders in one batch, one after the other; they have equal batch sizes."""

    orders: tuple[Order, ...]

    @property
    def steps_per_epoch(self) -> int:
        """The steps of each order, which are equal."""
        return self.orders[0].steps_per_epoch

    def epoch(self, number: int) -> list[Rows]:
        """Return the joined rows of each step as index arrays."""
        steps = zip(*(order.epoch(number) for order in self.orders), strict=True)
        return [np.concatenate([np.r_[rows] for rows in step]) for step in steps]  # r_ turns slices into indices


@dataclass(frozen=True)
class Oversampled:
    """An order over as many samples as there are, of which each class has an equal share.

    For every epoch each class deals out its samples as often as they fit into its share, and some of them once more,
    drawn anew; a class with more samples than its share deals out a part of them. The order then says when each comes.
    So what a step sees is still a function of seed, epoch and step.
    """

    order: Order
    y: Labels = field(compare=False)  # of runs on equal data, whose orders are compared to share a batch
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The steps of the order."""
        return self.order.steps_per_epoch

    def epoch(self, number: int) -> list[Rows]:
        """Return the rows of each step as index arrays."""
        dealt = self._deal(_generator(self.seed, number, 1))
        return [dealt[rows] for rows in self.order.epoch(number)]

    def _deal(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of an epoch, class by class."""
        classes = [np.flatnonzero(self.y == label) for label in np.unique(self.y)]
        share, more = divmod(len(self.y), len(classes))
        dealt = []
        # Which classes have one sample more is drawn too, so that none has it in every epoch.
        for place, rows in zip(rng.permutation(len(classes)), classes, strict=True):
            times, rest = divmod(share + (place < more), len(rows))
            dealt += [np.tile(rows, times), rng.permutation(rows)[:rest]]
        return np.concatenate(dealt)


def make_order(name: str, n: int, *, batch_size: int, seed: int, drop_last: bool = False) -> Order:
    """Return the order with this name over n rows.

    Raises:
        ValueError: the name is not known, or a batch is larger than n where that is not allowed.
    """
    if name in ("shuffled", "uva") and batch_size > n:
        raise ValueError(f"a batch of {batch_size} is larger than the training split of {n}")
    orders: dict[str, Order] = {
        "shuffled": Shuffled(n, batch_size, seed, drop_last),
        "uva": UvaNextBatch(n, batch_size, seed),
        "with_replacement": WithReplacement(n, batch_size, seed),
        "window": Window(n, batch_size, seed),
        "full": Full(n),
    }
    if name not in orders:
        raise ValueError(f"unknown order {name!r}; known: {', '.join(orders)}")
    return orders[name]


class Batches(Generic[Array]):
    """Batches of the training split.

    Args:
        order: which rows a step sees.
        cut: (rows, epoch, step) -> samples and labels. The rows come from `as_rows`; epoch and step count from 0.
        as_rows: turns the rows of all steps of an epoch into what `cut` takes, such as tensors on the device.
    """

    def __init__(
        self,
        *,
        order: Order,
        cut: Callable[[Any, int, int], tuple[Array, Any]],
        as_rows: Callable[[list[Rows]], list[Any]],
    ) -> None:
        self.order = order
        self._cut = cut
        self._as_rows = as_rows
        self._epoch = -1  # which epoch `_rows` belongs to
        self._rows: list[Any] = []

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch."""
        return self.order.steps_per_epoch

    def between(self, start: int, stop: int) -> Iterator[tuple[Array, Any]]:
        """Yield the batches of steps start, ..., stop - 1, counted from 0."""
        cut = self._cut
        while start < stop:
            epoch, first = divmod(start, self.steps_per_epoch)
            if epoch != self._epoch:
                # Only the newest epoch is kept: a resumed run goes straight to its epoch and draws no earlier one.
                self._rows = self._as_rows(self.order.epoch(epoch))
                self._epoch = epoch
            last = min(first + stop - start, self.steps_per_epoch)
            for step, rows in enumerate(self._rows[first:last], start):
                yield cut(rows, epoch, step)
            start += last - first


def _cut(rows: NDArray[np.int64], size: int, steps: int) -> list[Rows]:
    return [rows[i * size : (i + 1) * size] for i in range(steps)]


def _generator(seed: int, epoch: int, *stream: int) -> np.random.Generator:
    # A generator for each epoch: resuming at epoch e needs no draws of the epochs before it.
    return np.random.default_rng((seed, epoch, *stream))
