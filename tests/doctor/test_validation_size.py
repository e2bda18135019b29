"""A cure for a small validation set makes it larger, and takes no more than train can give."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from dlassign.config.load import locate, parse_config
from dlassign.data.load import describe
from dlassign.doctor.validation_size import ENOUGH, larger_validation


@pytest.mark.parametrize("split", [{"val": 50}, {"val": 0.1}, {"val": 50, "train": 500}, {"val": 0.1, "train": 0.5}])
def test_the_cure_gives_enough_and_fits_the_data(split: dict[str, Any]) -> None:
    keys = ", ".join(f"{key}: {value}" for key, value in split.items())
    text = f"name: a\ndata: {{name: digits, split: {{{keys}}}}}\nmodel: {{name: mlp, hidden: [4]}}\n"
    text += "optimizer: {name: adam}\ntrain: {steps: 9, batch_size: 4}\n"
    info = describe(locate(parse_config(text, "a.yaml")).config.data)
    cure = larger_validation(split, n_train=info.n_train, n_val=info.n_val)
    cured = describe(locate(parse_config(text, "a.yaml"), shlex.split(cure)[1::2]).config.data)
    assert (cured.n_val, cured.n_train) == (ENOUGH, info.n_train - (ENOUGH - info.n_val))


@pytest.mark.parametrize(
    ("split", "n_train", "n_val"),
    [
        ({"val": None}, 5000, 100),  # given as a set of its own
        ({"val": 100}, 300, 100),  # 175 would be left to train on
        ({"val": 225}, 5000, 225),
    ],
)
def test_where_nothing_can_be_had_there_is_no_cure(split: dict[str, Any], n_train: int, n_val: int) -> None:
    assert larger_validation(split, n_train=n_train, n_val=n_val) == ""
