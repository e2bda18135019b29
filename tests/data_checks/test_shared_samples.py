"""Equal rows of tables: those that chance gives, whatever hangs together, and copies."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dlassign.data.bundle import Dataset, Split
from dlassign.data_checks.shared_samples import shared_samples


def dealt(x: NDArray[np.float64], y: NDArray[np.int64]) -> Dataset:
    """Return rows split 60:20:20 as they lie."""
    a, b = 6 * len(y) // 10, 8 * len(y) // 10
    train, val, test = (Split(x[rows].copy(), y[rows].copy()) for rows in (slice(a), slice(a, b), slice(b, None)))
    origin = dict.fromkeys(("train", "val", "test"), "train")
    return Dataset(train=train, val=val, test=test, classes=("a", "b"), sha256="0", label="rows", origin=origin)


def answers(correlation: float, seed: int, *, n: int = 1000, columns: int = 8) -> NDArray[np.float64]:
    """Return a questionnaire: answers 0 to 4, each drawn to one opinion of the person."""
    rng = np.random.default_rng(seed)
    opinion = rng.normal(0, 1, (n, 1))
    own = np.sqrt(correlation) * opinion + np.sqrt(1 - correlation) * rng.normal(0, 1, (n, columns))
    return np.digitize(own, [-0.84, -0.25, 0.25, 0.84]).astype(float)


def by_coin(n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed + 1000).integers(0, 2, n)


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.5, 0.75, 0.9])
def test_a_questionnaire_whose_answers_hang_together_raises_no_alarm(correlation: float) -> None:
    for seed in range(40):
        flaws, leaks = shared_samples(dealt(answers(correlation, seed), by_coin(1000, seed)))
        assert not leaks
        assert not [flaw for flaw in flaws if flaw.level != "note"], seed


@pytest.mark.parametrize("columns", [12, 20])
def test_a_small_questionnaire_raises_no_alarm(columns: int) -> None:
    for seed in range(20):
        flaws, leaks = shared_samples(dealt(answers(0.6, seed, n=100, columns=columns), by_coin(100, seed)))
        assert not leaks
        assert not [flaw for flaw in flaws if flaw.level != "note"], seed


@pytest.mark.parametrize("turned", [False, True])
def test_persons_who_tick_one_answer_all_through_are_no_copies(turned: bool) -> None:
    """Turned: every second question is asked the other way round, so that a row of theirs has two values."""
    for seed in range(10):
        x = answers(0.3, seed, n=200, columns=20)
        x[::10] = np.random.default_rng(seed).integers(0, 5, (20, 1))
        x[:, ::2] = 4 - x[:, ::2] if turned else x[:, ::2]
        flaws, leaks = shared_samples(dealt(x, by_coin(200, seed)))
        [across] = [flaw for flaw in flaws if flaw.kind == "equal_across" and "test also occur in train" in flaw.text]
        assert across.level == "note"
        assert "cannot be told" in across.text
        assert not leaks
        assert not [flaw for flaw in flaws if flaw.level != "note"]


def test_copies_in_a_small_questionnaire_of_few_answers_are_told() -> None:
    """By independent columns alone there would be no wonder: 3 answers to 8 questions."""
    found = 0
    for seed in range(10):
        data = dealt(np.digitize(answers(0.3, seed, n=300), [1, 3]).astype(float), by_coin(300, seed))
        assert data.test is not None
        data.test.x[:15] = data.train.x[100:115]
        found += "test" in shared_samples(data)[1]
    assert found >= 5


@pytest.mark.parametrize("seed", range(5))
def test_copies_in_a_questionnaire_are_told(seed: int) -> None:
    data = dealt(answers(0.5, seed), by_coin(1000, seed))
    assert data.test is not None
    data.test.x[:40] = data.train.x[100:140]
    flaws, leaks = shared_samples(data)
    assert set(range(40)) <= set(leaks["test"])
    assert [
        flaw.level for flaw in flaws if flaw.kind == "equal_across" and "of test also occur in train" in flaw.text
    ] == ["alarm"]


@pytest.mark.parametrize("kinds", ["measurements", "answers to many questions", "an identity beside few answers"])
def test_rows_that_were_copied_before_the_split_are_told(kinds: str) -> None:
    """Then train has copies of its own as often as test has them of train, which must not excuse those."""
    rng = np.random.default_rng(0)
    x = {
        "measurements": rng.normal(0, 1, (1000, 8)),
        "answers to many questions": answers(0.5, 0, columns=40),
        "an identity beside few answers": np.column_stack([rng.permutation(1000), answers(0.5, 0)]),
    }[kinds]
    x[900:] = x[rng.integers(0, 900, 100)]
    order = rng.permutation(1000)
    y = (x[:, 1] > np.median(x[:, 1])).astype(np.int64)
    flaws, leaks = shared_samples(dealt(x[order], y[order]))
    assert len(leaks["test"]) > 10
    assert not [flaw for flaw in flaws if flaw.kind == "two_labels"]


def test_one_copy_in_a_table_of_measurements_with_other_labels_is_told() -> None:
    x = np.random.default_rng(0).normal(0, 1, (300, 3))
    data = dealt(x, by_coin(300, 0))
    data.train.x[1], data.train.y[:2] = data.train.x[0], [0, 1]
    [flaw] = [flaw for flaw in shared_samples(data)[0] if flaw.kind == "two_labels"]
    assert flaw.level == "alarm"
