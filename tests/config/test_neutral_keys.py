"""The keys that change no result are keys of configs, and are taken out wherever they stand."""

from __future__ import annotations

import pytest

from dlassign.config.neutral_keys import LATER, NEUTRAL, REPEATS, without, without_later
from dlassign.config.schema import schema_text
from dlassign.config.sweep_rules import NOT_SEARCHED


@pytest.mark.parametrize("key", sorted({*REPEATS, *LATER}))
def test_each_is_a_key_of_a_config(key: str) -> None:
    assert f'"{key.rpartition(".")[2]}": {{' in schema_text()


def test_none_of_the_neutral_ones_is_searched() -> None:
    assert NEUTRAL | {"seed", "name"} <= set(NOT_SEARCHED)


def test_without() -> None:
    config = {"seed": 1, "data": {"root": "a", "size": [8, 8]}, "train": {"checkpoint_seconds": 1.0, "steps": 2}}
    assert without(config, REPEATS) == {"data": {"size": [8, 8]}, "train": {"steps": 2}}
    assert without(config["data"], REPEATS, prefix="data.") == {"size": [8, 8]}  # type: ignore[arg-type]
    assert config["seed"] == 1


def test_a_key_of_a_later_version_counts_only_if_it_is_not_the_default() -> None:
    old = {"data": {"name": "image_folder", "root": "pets"}}
    assert without_later({"data": {**old["data"], "background": "white", "bits": None}}) == old
    assert without_later({"data": {**old["data"], "background": "black", "bits": None}}) == {
        "data": {**old["data"], "background": "black"}
    }
    assert without_later({"data": {"name": "digits"}, "seed": 1}) == {"data": {"name": "digits"}, "seed": 1}
