"""The order of training samples: what each order promises, and that any step can be resumed from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlassign.data.batches import (
    Batches,
    Full,
    Order,
    Oversampled,
    Rows,
    Shuffled,
    UvaNextBatch,
    Window,
    WithReplacement,
    make_order,
)

sizes = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
seeds = st.integers(0, 2**63 - 1)


def indices(n: int, rows: Rows) -> list[int]:
    return np.arange(n)[rows].tolist()


def epoch(order: Order, n: int, number: int) -> list[list[int]]:
    return [indices(n, rows) for rows in order.epoch(number)]


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


@given(sizes, seeds, st.integers(0, 1000))
def test_an_epoch_is_a_permutation(size: tuple[int, int], seed: int, number: int) -> None:
    n, batch_size = size
    order = Shuffled(n, batch_size, seed)
    batches = epoch(order, n, number)
    assert sorted(flat(batches)) == list(range(n))
    assert len(batches) == order.steps_per_epoch == -(-n // batch_size)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == (n % batch_size or batch_size)


@given(sizes, seeds, st.integers(0, 1000))
def test_drop_last_leaves_out_the_short_batch_only(size: tuple[int, int], seed: int, number: int) -> None:
    n, batch_size = size
    order = Shuffled(n, batch_size, seed, drop_last=True)
    batches = epoch(order, n, number)
    assert batches == epoch(Shuffled(n, batch_size, seed), n, number)[: n // batch_size]
    assert len(batches) == order.steps_per_epoch
    assert all(len(batch) == batch_size for batch in batches)


def test_epochs_and_seeds_differ() -> None:
    permutations = [flat(epoch(Shuffled(50, 7, seed), 50, number)) for seed in (0, 1) for number in (0, 1, 2)]
    assert len({tuple(p) for p in permutations}) == 6


def test_every_position_is_equally_likely() -> None:
    """6,000 permutations of 4: each row at each place 1,500 times, give or take five standard deviations of 34."""
    counts = np.zeros((4, 4))
    for number in range(6000):
        for place, row in enumerate(flat(epoch(Shuffled(4, 2, 9), 4, number))):
            counts[place, row] += 1
    assert np.abs(counts - 1500).max() < 170


class NextBatch:
    """The UvA starter code's pointer rule; source: experiments.md 1.0. Permutes with its own generator."""

    def __init__(self, n: int) -> None:
        self.n, self.pointer, self.epochs_completed = n, 0, 0
        self.rows = np.arange(n)
        self.rng = np.random.RandomState(42)

    def __call__(self, size: int) -> tuple[list[int], bool]:
        """Return the rows, and whether this call reshuffled."""
        start = self.pointer
        self.pointer += size
        reshuffle = self.pointer > self.n
        if reshuffle:
            self.epochs_completed += 1
            self.rng.shuffle(self.rows)
            start, self.pointer = 0, size
        return self.rows[start : self.pointer].tolist(), reshuffle


@given(sizes, seeds)
def test_uva_has_the_passes_of_the_pointer_rule(size: tuple[int, int], seed: int) -> None:
    n, batch_size = size
    order, pointer = UvaNextBatch(n, batch_size, seed), NextBatch(n)
    calls = [pointer(batch_size) for _ in range(4 * order.steps_per_epoch)]
    ours = [(batch, number > 0 and i == 0) for number in range(4) for i, batch in enumerate(epoch(order, n, number))]
    assert [reshuffled for _, reshuffled in ours] == [reshuffled for _, reshuffled in calls]
    first = order.steps_per_epoch
    assert [rows for rows, _ in ours[:first]] == [rows for rows, _ in calls[:first]]  # file order
    assert [len(rows) for rows, _ in ours] == [len(rows) for rows, _ in calls]
    for number in range(4):  # no row twice within a pass
        rows = flat(batch for batch, _ in ours[number * first : (number + 1) * first])
        assert len(set(rows)) == len(rows) == n // batch_size * batch_size


@pytest.mark.parametrize(("batch_size", "steps"), [(200, 250), (32, 1562), (3000, 16)])
def test_uva_steps_per_epoch_of_cifar10(batch_size: int, steps: int) -> None:
    assert UvaNextBatch(50_000, batch_size, 0).steps_per_epoch == steps


def test_uva_later_epochs_are_shuffled_over_all_rows() -> None:
    order = UvaNextBatch(103, 10, 0)
    passes = [flat(epoch(order, 103, number)) for number in range(4)]
    assert passes[0] == list(range(100))
    assert len({tuple(p) for p in passes}) == 4
    assert set().union(*passes[1:]) == set(range(103))  # the tail of the file is seen too


def test_with_replacement_draws_rows_uniformly() -> None:
    order = WithReplacement(10, 5, seed=1)
    draws = np.array([epoch(order, 10, number) for number in range(1000)])
    assert draws.shape == (1000, 2, 5)
    frequency = np.bincount(draws.ravel(), minlength=10)
    assert np.abs(frequency - 1000).max() < 5 * 30  # 10,000 draws: a standard deviation of 30
    assert any(len(set(batch)) < 5 for batch in draws.reshape(-1, 5).tolist())


def test_with_replacement_may_draw_more_than_there_are() -> None:
    """HLCV's toy training draws 200 of 5 samples; an epoch is one step."""
    order = WithReplacement(5, 200, seed=0)
    (batch,) = epoch(order, 5, 0)
    assert (order.steps_per_epoch, len(batch), set(batch)) == (1, 200, {0, 1, 2, 3, 4})
    assert WithReplacement(49_000, 200, 0).steps_per_epoch == 245


@given(sizes, seeds, st.integers(0, 100))
def test_windows_are_contiguous(size: tuple[int, int], seed: int, number: int) -> None:
    n, batch_size = size
    order = Window(n, batch_size, seed)
    batches = epoch(order, n, number)
    assert len(batches) == order.steps_per_epoch == n // batch_size
    for batch in batches:
        assert batch == list(range(batch[0], batch[0] + batch_size))


def test_windows_start_anywhere() -> None:
    starts = {batch[0] for number in range(200) for batch in epoch(Window(10, 4, 0), 10, number)}
    assert starts == set(range(7))


@given(st.integers(1, 20), st.integers(0, 30), seeds)
def test_a_window_larger_than_the_set_is_the_set(n: int, more: int, seed: int) -> None:
    order = Window(n, n + more, seed)
    assert epoch(order, n, 3) == [list(range(n))]
    assert order.steps_per_epoch == 1


def test_full() -> None:
    assert epoch(Full(5), 5, 0) == epoch(Full(5), 5, 7) == [[0, 1, 2, 3, 4]]
    assert Full(5).steps_per_epoch == 1


def test_make_order() -> None:
    values = {"batch_size": 4, "seed": 3}
    assert make_order("shuffled", 10, **values) == Shuffled(10, 4, 3)
    assert make_order("shuffled", 10, **values, drop_last=True) == Shuffled(10, 4, 3, drop_last=True)
    assert make_order("uva", 10, **values) == UvaNextBatch(10, 4, 3)
    assert make_order("with_replacement", 10, **values) == WithReplacement(10, 4, 3)
    assert make_order("window", 10, **values) == Window(10, 4, 3)
    assert make_order("full", 10, **values) == Full(10)
    with pytest.raises(ValueError, match="unknown order 'sorted'; known: shuffled"):
        make_order("sorted", 10, **values)


@pytest.mark.parametrize("name", ["shuffled", "uva"])
def test_a_batch_larger_than_the_split_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a batch of 11 is larger than the training split of 10"):
        make_order(name, 10, batch_size=11, seed=0)
    assert make_order(name, 10, batch_size=10, seed=0).steps_per_epoch == 1


@pytest.mark.parametrize("name", ["with_replacement", "window", "full"])
def test_other_orders_take_any_batch_size(name: str) -> None:
    assert make_order(name, 10, batch_size=11, seed=0).steps_per_epoch == 1


class Counted:
    """Batches over arrays that count how often an epoch's rows are made."""

    def __init__(self, n: int, order: Order) -> None:
        self.made = 0
        self.x, self.y = np.arange(2 * n).reshape(n, 2), np.arange(n)
        self.at: list[tuple[int, int]] = []
        self.batches = Batches[NDArray[Any]](order=order, cut=self.cut, as_rows=self.as_rows)

    def cut(self, rows: Any, epoch: int, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
        self.at.append((epoch, step))
        return self.x[rows], self.y[rows]

    def as_rows(self, rows: list[Rows]) -> list[Any]:
        self.made += 1
        return list(rows)

    def rows(self, start: int, stop: int) -> list[list[int]]:
        found = []
        for x, y in self.batches.between(start, stop):
            assert x[:, 1].tolist() == [2 * row + 1 for row in y]
            found.append(y.tolist())
        return found


orders = st.sampled_from(["shuffled", "uva", "with_replacement", "window", "full"])


@given(orders, sizes, st.integers(0, 2**20), st.lists(st.integers(0, 40), min_size=1, max_size=5), st.booleans())
def test_any_cut_gives_the_rows_of_an_unbroken_pass(
    name: str, size: tuple[int, int], seed: int, cuts: list[int], drop_last: bool
) -> None:
    """Each part is asked of new batches, as a resumed run does, and of those that gave the part before."""
    n, batch_size = size
    order = make_order(name, n, batch_size=batch_size, seed=seed, drop_last=drop_last)
    whole = Counted(n, order).rows(0, 40)
    per_epoch = order.steps_per_epoch
    assert whole == [indices(n, order.epoch(step // per_epoch)[step % per_epoch]) for step in range(40)]
    same, resumed, bounds = Counted(n, order), [], [0, *sorted(cuts), 40]
    continued = []
    for start, stop in pairwise(bounds):
        resumed += Counted(n, order).rows(start, stop)
        continued += same.rows(start, stop)
    assert resumed == whole
    assert continued == whole
    assert same.at == [(step // per_epoch, step) for step in range(40)]


def test_an_epochs_rows_are_made_once() -> None:
    counted = Counted(10, Shuffled(10, 3, 0))
    assert counted.batches.steps_per_epoch == 4
    for step in range(8):
        counted.rows(step, step + 1)
    assert counted.made == 2


def test_no_steps_no_batches() -> None:
    assert Counted(10, Full(10)).rows(5, 5) == []


labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


@given(labels, seeds, st.integers(0, 1000), st.integers(1, 8))
def test_oversampled_classes_have_equal_shares_of_an_epoch(
    y: NDArray[np.int64], seed: int, number: int, batch_size: int
) -> None:
    plain = Shuffled(len(y), min(batch_size, len(y)), seed)
    order = Oversampled(plain, y, seed)
    batches = epoch(order, len(y), number)
    assert [len(batch) for batch in batches] == [len(batch) for batch in epoch(plain, len(y), number)]
    assert order.steps_per_epoch == plain.steps_per_epoch
    rows, times = np.unique(flat(batches), return_counts=True)
    shares = [times[y[rows] == label].sum() for label in np.unique(y)]
    assert max(shares) - min(shares) <= 1
    assert sum(shares) == len(y)
    for label, share in zip(np.unique(y), shares, strict=True):
        own, n = times[y[rows] == label], int((y == label).sum())
        assert own.max() - own.min() <= 1  # none comes twice before each has come once
        assert len(own) == min(n, share)
    assert epoch(order, len(y), number) == batches


def test_another_part_of_a_frequent_class_comes_in_each_epoch() -> None:
    y = np.array([0] * 30 + [1] * 10)
    order = Oversampled(Shuffled(40, 8, 3), y, 3)
    seen = [set(flat(epoch(order, 40, number))) for number in range(12)]
    assert all(len(rows) == 30 for rows in seen)  # 20 of one class and all 10 of the other, twice
    assert set().union(*seen) == set(range(40))
    assert len({frozenset(rows) for rows in seen}) == 12


def test_orders_on_equal_data_are_equal() -> None:
    y = np.array([0, 1, 1])
    assert Oversampled(Shuffled(3, 2, 0), y, 0) == Oversampled(Shuffled(3, 2, 0), y.copy(), 0)
    assert Oversampled(Shuffled(3, 2, 0), y, 0) != Oversampled(Shuffled(3, 2, 1), y, 1)


def test_every_row_in_every_step_of_a_full_batch_is_balanced() -> None:
    y = np.array([0, 0, 0, 1])
    [rows] = Oversampled(Full(4), y, 0).epoch(0)
    assert sorted(y[rows].tolist()) == [0, 0, 1, 1]
