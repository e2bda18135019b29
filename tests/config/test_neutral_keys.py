"""The keys that change no result are keys of configs, and are taken out wherever they stand."""

from __future__ import annotations

import pytest
from PIL import ImageColor

from dlassign.config.neutral_keys import LATER, NEUTRAL, REPEATS, with_plain_colours, without, without_later
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


@pytest.mark.parametrize(
    ("spellings", "plain"),
    [
        (("black", "#000000", "#000", "BLACK", "rgb(0, 0, 0)", "hsl(0, 0%, 0%)"), "black"),
        (("white", "#fff", "White", "#FFFFFF"), "white"),
        (("gray", "grey", "#808080"), "gray"),
        (("#010203", "rgb(1, 2, 3)"), "#010203"),
        (("no colour",), "no colour"),
    ],
)
def test_a_colour_is_the_same_in_every_spelling(spellings: tuple[str, ...], plain: str) -> None:
    """`black` and `'#000000'` were two runs."""
    for spelling in spellings:
        assert with_plain_colours({"data": {"background": spelling}, "seed": 1}) == {
            "data": {"background": plain},
            "seed": 1,
        }


def test_most_names_of_colours_stay_as_runs_have_them() -> None:
    changed = {
        name
        for name in ImageColor.colormap
        if with_plain_colours({"data": {"background": name}}) != {"data": {"background": name}}
    }
    assert {name for name in changed if "grey" not in name} == {"cyan", "magenta"}
