"""Columns of tables: what is measured on train, and what cells become, against scikit-learn's encoders and imputers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from dlassign.data.table_columns import (
    MOST_CATEGORIES,
    Rule,
    column_of,
    fit_column,
    in_order,
    number,
    plain_column,
    unfitted,
)
from dlassign.data.table_notes import Column
from dlassign.errors import DataError

AGE = Column(0, "age")
SIZES = ("small", "medium", "large")
STRATEGIES = {"mean": "mean", "median": "median", "most_frequent": "most_frequent", "column": "mean"}
cells = st.lists(st.integers(-9, 9).map(str) | st.sampled_from(["", "NA", " ? ", "nan"]), min_size=1, max_size=30)


@pytest.mark.parametrize("missing", STRATEGIES)
@given(train=cells, test=cells)
@settings(deadline=None)  # scikit-learn imports much when it is first called
def test_missing_numbers_are_those_of_scikit_learn(missing: str, train: list[str], test: list[str]) -> None:
    train = ["5", *train]
    ours = fit_column(AGE, Rule(missing=missing), train)
    peer = SimpleImputer(strategy=STRATEGIES[missing], add_indicator=False)
    table = [
        [[float(text) if text.strip().lstrip("-").isdigit() else math.nan] for text in texts] for texts in (train, test)
    ]
    peer.fit(table[0])
    expected = peer.transform(table[1])
    if missing == "column":
        expected = np.column_stack([expected, np.isnan(table[1])])
    np.testing.assert_allclose(ours.encode(test), expected, rtol=1e-14, atol=1e-14)


@given(
    st.lists(st.sampled_from(["red", "blue", " green ", "NA"]), min_size=1),
    st.lists(st.sampled_from(["red", "pink", "NA"])),
)
@settings(deadline=None)
def test_texts_are_one_hot_as_those_of_scikit_learn(train: list[str], test: list[str]) -> None:
    ours = fit_column(AGE, Rule("one_hot"), train)
    peer = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    peer.fit([[text.strip()] for text in train])
    assert ours.features() == tuple(f"age={name}" for name in peer.categories_[0])
    if test:
        assert_array_equal(ours.encode(test), peer.transform([[text] for text in test]))
    assert set(ours.unknown(test)) == set(test) - {text.strip() for text in train}


def test_ids_are_kept_as_text() -> None:
    column = fit_column(AGE, Rule("one_hot"), ["01234", "1234", "1e3", "1000"])
    assert column.features() == ("age=1000", "age=1e3", "age=01234", "age=1234")
    assert_array_equal(column.encode(["1234", "01234"]), [[0, 0, 0, 1], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("most_frequent", [[0, 1], [1, 0], [0, 1]]),
        ("median", [[0, 1], [1, 0], [0, 1]]),
        ("column", [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    ],
)
def test_a_missing_text(missing: str, expected: list[list[int]]) -> None:
    column = fit_column(AGE, Rule("one_hot", missing=missing), ["red", "red", "", "blue"])
    assert_array_equal(column.encode(["", "blue", "red"]), expected)
    assert len(column.features()) == len(expected[0])


@pytest.mark.parametrize(
    ("missing", "expected"), [("most_frequent", [[1], [2], [1]]), ("column", [[1, 1], [2, 0], [1, 1]])]
)
def test_an_order(missing: str, expected: list[list[int]]) -> None:
    column = fit_column(AGE, Rule("ordinal", SIZES, missing), ["medium", "large", "medium", "NA"])
    assert_array_equal(column.encode(["", " large ", "NA"]), expected)


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        (Rule(), {"": "is empty", "NA": "is 'NA', not a finite number", "x": "is 'x', not a finite number", "1": ""}),
        (Rule(missing="mean"), {"": "", "NA": "", "x": "is 'x', not a finite number", "inf": "is 'inf', not a finite"}),
        (Rule(decimal=","), {"1,5": "", "1.5": "is '1.5', not a finite number", "2": ""}),
        (Rule("one_hot"), {"": "is empty", "NA": "", "x": ""}),
        (Rule("one_hot", missing="column"), {"": "", "x": ""}),
        (Rule("ordinal", SIZES), {"": "is empty", "NA": "is 'NA', not one of small, medium, large", "large": ""}),
        (Rule("ordinal", SIZES, "most_frequent"), {"": "", "NA": "", "huge": "is 'huge', not one of small, medium"}),
        (Rule("ordinal", ("NA", "yes")), {"NA": "", "no": "is 'no', not one of NA, yes"}),
    ],
)
def test_faults(rule: Rule, faults: dict[str, str]) -> None:
    for column in (unfitted(AGE, rule), fit_column(AGE, rule, rule.order or ["1", "7"])):
        for text, fault in faults.items():
            assert column.fault(text).startswith(fault)
            assert bool(column.fault(text)) == bool(fault)


@pytest.mark.parametrize(("missing", "value"), [("mean", 2.6), ("median", 1.5), ("most_frequent", 1.0)])
def test_what_is_measured_does_not_depend_on_the_order_of_rows(missing: str, value: float) -> None:
    texts: Sequence[str] = ["1", "7,5", "1", "2", "", "1,5"]
    fills = {fit_column(AGE, Rule(missing=missing, decimal=","), order).fill for order in (texts, texts[::-1])}
    assert fills == {value}


def test_a_median_is_the_mean_of_the_two_in_the_middle() -> None:
    assert fit_column(AGE, Rule(missing="median"), ["33.5", "33.7", "1", "99"]).fill == 33.6


def test_a_mean_of_huge_numbers() -> None:
    assert fit_column(AGE, Rule(missing="mean"), ["1e308", "1.5e308", "1.5e308"]).fill == pytest.approx(1e308 / 3 * 4)
    assert fit_column(AGE, Rule(missing="median"), ["1.5e308", "1.5e308"]).fill == 1.5e308


def test_columns_that_say_nothing() -> None:
    for rule in (Rule(missing="mean"), Rule("one_hot", missing="most_frequent"), Rule("ordinal", SIZES, "column")):
        with pytest.raises(DataError, match=r"column 'age' is missing in every row of train.* data\.drop: \[age\]"):
            fit_column(AGE, rule, ["", ""])
    with pytest.raises(DataError, match=r"10,001 texts, and one_hot would make a feature of each; .*data\.drop"):
        fit_column(AGE, Rule("one_hot"), list(map(str, range(MOST_CATEGORIES + 1))))


@pytest.mark.parametrize(
    "rule",
    [Rule(), Rule(missing="column", decimal=","), Rule("one_hot", missing="mean"), Rule("ordinal", SIZES, "mean")],
)
def test_a_column_is_the_same_in_plain_values(rule: Rule) -> None:
    column = fit_column(AGE, rule, rule.order or ["1", "7"])
    assert column_of(plain_column(column)) == column


def test_numbers() -> None:
    assert [number(text) for text in ("1", " -4e1 ", "1_0", "1,5", "x")] == [1.0, -40.0, None, None, None]
    assert [number(text, ",") for text in ("1,5", "1.5", "1.234,5", "7")] == [1.5, None, None, 7.0]
    assert in_order(["10", "9", "9.5"]) == ("9", "9.5", "10")
    assert in_order(["10", "9", "x"]) == ("10", "9", "x")
