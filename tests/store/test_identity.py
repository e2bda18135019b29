"""Which configs ask for one experiment, and in what two differ."""

from __future__ import annotations

from typing import Any

import pytest

from dlassign.store.identity import (
    config_value,
    differing_keys,
    experiment_of,
    flat_config,
    inner_keys,
    unknown_key,
)
from helpers.synthetic import config_of


@pytest.mark.parametrize(
    "change",
    [{"seed": 3}, {"notes": "why"}, {"device": "cuda:0"}, {"data__root": "/b"}, {"train__checkpoint_seconds": 1}],
)
def test_repeats_are_one_experiment(change: dict[str, Any]) -> None:
    assert experiment_of(config_of(**change), "a") == experiment_of(config_of(), "a")
    assert set(differing_keys([config_of(), config_of(**change)])) == set()


def test_another_config_name_or_other_data_is_another_experiment() -> None:
    texts = {experiment_of(config_of(**change), "a") for change in ({}, {"lr": 0.2}, {"name": "b"}, {"steps": 7})}
    assert len(texts | {experiment_of(config_of(), "b")}) == 5


def test_the_order_of_keys_does_not_count() -> None:
    config = config_of()
    assert experiment_of(dict(reversed(config.items())), "a") == experiment_of(config, "a")


def test_differing_keys() -> None:
    one, other = config_of(name="a", lr=0.1, seed=1), config_of(name="b", lr=0.2, seed=2, model__bias=True)
    assert differing_keys([one, other]) == {"optimizer.lr": [0.1, 0.2], "model.bias": [None, True]}
    assert differing_keys([one, other], seed=True)["seed"] == [1, 2]


def test_dotted_keys() -> None:
    config = {"a": {"b": [1, 2]}, "c": [{"d": 3}], "e": []}
    assert dict(flat_config(config)) == {"a.b": [1, 2], "c.0.d": 3, "e": []}
    assert inner_keys(config) == ["a", "a.b", "c", "c.0", "c.0.d", "e"]
    assert config_value(config, "c.0.d", None) == 3
    assert config_value(config, "a.x", None) is None
    assert config_value(config, "c.1.d", 7) == 7


def test_unknown_key_names_the_nearest() -> None:
    assert "Did you mean 'optimizer.lr'" in str(unknown_key("lr", ["optimizer.lr", "seed"]))
    assert "Did you mean" not in str(unknown_key("zzz", ["optimizer.lr", "seed"]))


def test_two_spellings_of_a_colour_are_one_experiment() -> None:
    black, same = ({"data": {"name": "image_folder", "background": name}} for name in ("black", "#000"))
    assert experiment_of(black, "a") == experiment_of(same, "a")
    assert differing_keys([black, same]) == {}
