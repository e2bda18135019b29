"""The keys that change no result are keys of configs, and are taken out wherever they stand."""

from __future__ import annotations

import pytest

from dlassign.config.neutral_keys import NEUTRAL, REPEATS, without
from dlassign.config.schema import schema_text
from dlassign.config.sweep_rules import NOT_SEARCHED


@pytest.mark.parametrize("key", sorted(REPEATS))
def test_each_is_a_key_of_a_config(key: str) -> None:
    assert f'"{key.rpartition(".")[2]}": {{' in schema_text()


def test_none_of_the_neutral_ones_is_searched() -> None:
    assert NEUTRAL | {"seed", "name"} <= set(NOT_SEARCHED)


def test_without() -> None:
    config = {"seed": 1, "data": {"root": "a", "size": [8, 8]}, "train": {"checkpoint_seconds": 1.0, "steps": 2}}
    assert without(config, REPEATS) == {"data": {"size": [8, 8]}, "train": {"steps": 2}}
    assert without(config["data"], REPEATS, prefix="data.") == {"size": [8, 8]}  # type: ignore[arg-type]
    assert config["seed"] == 1
