"""How samples are dealt: by position, at random and by class, with exact sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from dlassign.data.bundle import Dataset, Raw, Split
from dlassign.data.split import deal, largest_remainder, shuffled, split_sizes
from dlassign.errors import ConfigError


def rows(n: int, n_classes: int = 3, start: int = 0) -> Split:
    """A split whose x is its own row numbers."""
    return Split(np.arange(start, start + n)[:, None].astype(float), np.arange(n, dtype=np.int64) % n_classes)


def source(n: int = 1000, *, test: int | None = None, val: int | None = None, n_classes: int = 3) -> Raw:
    return Raw(
        train=rows(n, n_classes),
        val=None if val is None else rows(val, n_classes, start=20_000),
        test=None if test is None else rows(test, n_classes, start=10_000),
        classes=tuple(map(str, range(n_classes))),
        sha256="0",
        label="rows",
    )


def ids(split: Split | None) -> list[int]:
    return [] if split is None else split.x[:, 0].astype(int).tolist()


def lengths(dataset: Dataset) -> tuple[int, int, int]:
    return len(ids(dataset.train)), len(ids(dataset.val)), len(ids(dataset.test))


def test_nothing_asked_for_is_all_for_training() -> None:
    dealt = deal(source(10))
    assert ids(dealt.train) == list(range(10))
    assert dealt.val is None
    assert dealt.test is None


def test_position_goes_train_val_test() -> None:
    dealt = deal(source(1000), val=250, test=250, by="position")
    assert ids(dealt.train) == list(range(500))
    assert ids(dealt.val) == list(range(500, 750))
    assert ids(dealt.test) == list(range(750, 1000))


def test_position_starts_at_the_first_row() -> None:
    dealt = deal(source(1000), train=100, val=50, test=20, by="position")
    assert (ids(dealt.train)[-1], ids(dealt.val)[0], ids(dealt.test)[0], ids(dealt.test)[-1]) == (
        99,
        100,
        150,
        169,
    )


def test_validation_at_the_start() -> None:
    dealt = deal(source(100, test=10), val=30, by="position", val_at="start")
    assert ids(dealt.val) == list(range(30))
    assert ids(dealt.train) == list(range(30, 100))


def test_own_test_set_is_kept_or_cut() -> None:
    assert ids(deal(source(100, test=20), val=0.1).test) == list(range(10_000, 10_020))
    assert ids(deal(source(100, test=20), test=5, by="position").test) == list(range(10_000, 10_005))
    cut = deal(source(100, test=30), test=9, by="stratified")
    assert cut.test is not None
    assert np.bincount(cut.test.y).tolist() == [3, 3, 3]
    assert len(cut.train) == 100


def test_own_validation_set_is_kept() -> None:
    dealt = deal(source(100, val=20), test=10)
    assert ids(dealt.val) == list(range(20_000, 20_020))
    assert lengths(dealt) == (90, 20, 10)


def test_fractions_are_of_what_they_are_taken_from() -> None:
    assert lengths(deal(source(1797), val=0.15, test=0.2)) == (1168, 270, 359)
    assert lengths(deal(source(100, test=50), val=0.1, test=0.5)) == (90, 10, 25)


@pytest.mark.parametrize("n", [7, 99, 999, 1001, 1003])
def test_rounding_of_fractions_that_add_up_is_no_error(n: int) -> None:
    assert abs(sum(lengths(deal(source(n), train=0.5, val=0.25, test=0.25))) - n) <= 1


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_seed_decides(by: Any) -> None:
    first, again, other = (deal(source(), val=100, test=100, by=by, seed=s) for s in (1, 1, 2))
    assert (ids(first.train), ids(first.val), ids(first.test)) == (
        ids(again.train),
        ids(again.val),
        ids(again.test),
    )
    assert ids(first.val) != ids(other.val)


@pytest.mark.parametrize("by", ["random", "stratified"])
def test_fewer_training_samples_leave_val_and_test_alone(by: Any) -> None:
    whole, small = deal(source(), val=100, test=50, by=by), deal(source(), train=90, val=100, test=50, by=by)
    assert (ids(whole.val), ids(whole.test)) == (ids(small.val), ids(small.test))
    assert set(ids(small.train)) < set(ids(whole.train))


@given(
    y=st.lists(st.integers(0, 4), min_size=3, max_size=80),
    data=st.data(),
    by=st.sampled_from(["random", "stratified", "position"]),
    val_at=st.sampled_from(["start", "end"]),
    seed=st.integers(0, 3),
)
def test_splits_are_disjoint_and_in_file_order(y: list[int], data: Any, by: Any, val_at: Any, seed: int) -> None:
    n = len(y)
    n_val = data.draw(st.integers(1, n - 2))
    n_test = data.draw(st.integers(1, n - 1 - n_val))
    n_train = data.draw(st.none() | st.integers(1, n - n_val - n_test))
    raw = Raw(
        train=Split(np.arange(n)[:, None], np.array(y, dtype=np.int64)),
        classes=tuple("abcde"),
        sha256="0",
        label="y",
    )
    dealt = deal(raw, train=n_train, val=n_val, test=n_test, by=by, val_at=val_at, seed=seed)
    assert lengths(dealt) == (n_train or n - n_val - n_test, n_val, n_test)
    parts = [ids(dealt.train), ids(dealt.val), ids(dealt.test)]
    assert all(part == sorted(part) for part in parts)
    everything = [row for part in parts for row in part]
    assert len(set(everything)) == len(everything)
    assert n_train or set(everything) == set(range(n))
    for part, split in zip(parts, (dealt.train, dealt.val, dealt.test), strict=True):
        assert split is not None
        assert split.y.tolist() == [y[i] for i in part]


@given(y=st.lists(st.integers(0, 4), min_size=2, max_size=80), data=st.data())
def test_stratified_shares_are_within_one(y: list[int], data: Any) -> None:
    n_val = data.draw(st.integers(1, len(y) - 1))
    raw = Raw(
        train=Split(np.array(y)[:, None], np.array(y, dtype=np.int64)),
        classes=tuple("abcde"),
        sha256="0",
        label="y",
    )
    dealt = deal(raw, val=n_val, by="stratified")
    whole = np.bincount(y, minlength=5)
    for split in (dealt.train, dealt.val):
        assert split is not None
        assert (np.abs(np.bincount(split.y, minlength=5) - whole * len(split) / len(y)) < 1).all()


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=9), data=st.data())
def test_largest_remainder(sizes: list[int], data: Any) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    shares = largest_remainder(np.array(sizes), total)
    assert shares.sum() == total
    assert (shares <= sizes).all()
    assert (np.abs(shares - np.array(sizes) * total / max(1, sum(sizes))) < 1).all()


@pytest.mark.parametrize(
    ("path", "message", "sizes"),
    [
        ("val", "asks for 1001 samples, but there are only 1000", {"val": 1001}),
        ("val", "val takes 1000 of 1000 samples, which leaves none for train", {"val": 1000}),
        ("val", "val takes 600 and test takes 400 of 1000 samples", {"val": 600, "test": 400}),
        ("test", "test takes 1000 of 1000", {"test": 1000}),
        (
            "train",
            "asks for 950 samples, but val and test leave 900 of 1000; give at most 900",
            {"train": 950, "val": 100},
        ),
        ("train", "asks for 800 samples, but val and test leave 700", {"train": 0.8, "val": 0.3}),
        ("val", "0.0001 of the 1000 samples there are is none", {"val": 0.0001}),
        ("train", "0.0001 of the 1000 samples there are is none", {"train": 0.0001}),
        ("test", "asks for 30 samples, but it has only 20", {"test": 30, "n_test": 20}),
        ("test", "0.01 of the 20 samples of the source's own test set is none", {"test": 0.01, "n_test": 20}),
    ],
)
def test_impossible_sizes(path: str, message: str, sizes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        split_sizes(1000, **sizes)
    [problem] = caught.value.problems
    assert problem.path == f"data.split.{path}"
    assert message in problem.message


def test_a_class_missing_from_train_is_noted() -> None:
    raw = Raw(train=Split(np.zeros((4, 1)), np.array([0, 0, 1, 1])), classes=("a", "b"), sha256="0", label="y")
    note, of_val = deal(raw, val=2, by="position").notes
    assert of_val == "val has no sample of 1 of 2 classes (a), so its results say nothing of them"
    assert "train has no sample of 1 of 2 classes (b)" in note
    assert "stratified" in note


def test_shuffling_keeps_samples_and_labels_together() -> None:
    raw = source(100, test=30, val=20)
    mixed = shuffled(raw, 5)
    assert mixed.val is not None
    assert mixed.test is not None
    for before, after in ((raw.train, mixed.train), (raw.val, mixed.val), (raw.test, mixed.test)):
        assert ids(after) != ids(before)
        assert sorted(ids(after)) == ids(before)
        assert (after.y == np.array(ids(after)) % 20_000 % 10_000 % 3).all()
    assert ids(shuffled(raw, 5).train) == ids(mixed.train)
    assert ids(shuffled(raw, 6).train) != ids(mixed.train)
    assert (shuffled(source(10), 0).val, shuffled(source(10), 0).test) == (None, None)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=30),
    val=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    train=st.none() | st.floats(0.05, 0.2),
    seed=st.integers(0, 5),
)
def test_a_group_is_in_one_split_and_none_is_empty(
    sizes: list[int], val: float, test: float, train: float | None, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    n = len(groups)
    if not min(share * n for share in (val, test, train or 1)) >= 1:
        return
    raw = replace(source(n), groups={"train": groups})
    dealt = deal(raw, val=val, test=test, train=train, by="group", seed=seed)
    found = [set(groups[ids(split)].tolist()) for split in dealt.splits.values()]
    assert all(found)
    assert len(set().union(*found)) == sum(map(len, found))
    whole = sum(len(split) for split in dealt.splits.values())
    assert whole == sum(sizes[group] for group in set().union(*found))
    assert whole == n or train is not None


def test_groups_come_near_to_the_sizes_and_class_shares_asked_for() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 100, 2000)
    dealt = deal(replace(source(2000), groups={"train": groups}), val=0.1, test=0.2, by="group")
    assert_allclose(lengths(dealt), (1400, 200, 400), atol=25)
    for split in dealt.splits.values():
        assert_allclose(np.bincount(split.y) / len(split), 1 / 3, atol=0.05)


def test_more_splits_than_groups() -> None:
    raw = replace(source(10), groups={"train": np.arange(10) % 2})
    with pytest.raises(
        ConfigError, match=r"data\.split\.by: 3 splits of 2 groups; each split needs a group of its own"
    ):
        deal(raw, val=0.3, test=0.3, by="group")


def test_a_class_of_one_sample_is_dealt_and_told() -> None:
    y = np.array([0] * 10 + [1] * 9 + [2])
    raw = replace(source(20), train=Split(np.arange(20.0)[:, None], y))
    dealt = deal(raw, val=0.2, test=0.2)
    assert sum(int((split.y == 2).sum()) for split in dealt.splits.values()) == 1
    assert [note for note in dealt.notes if note.startswith("val has no sample of 1 of 3 classes (2), so its results")]
