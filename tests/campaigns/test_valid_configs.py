"""A config that `check` accepts trains."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.from_schema import SCHEMA, values
from helpers.guarded import run_guarded

SPAN = 6
"""Numbers are at most this much above their smallest."""
SPLIT = {"train": 48, "val": 12, "test": 12, "seed": 0}
NEEDED = {key for kind in SCHEMA["$defs"].values() for key in kind.get("required", ())} | {"lr"}
DATA = SCHEMA["$defs"]["Digits"]["properties"]


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a small config: of each section a kind, and few other keys, since most pairs of keys exclude each other."""
    found: dict[str, Any] = {
        "name": "any",
        "device": "cpu",
        "backend": draw(st.sampled_from(["torch", "torch", "numpy"])),
    }
    found["optimizer"] = {"name": "adam", "lr": 1e-3}
    for key in ("model", *draw(st.sets(st.sampled_from(["init", "loss", "optimizer", "schedule"]), max_size=2))):
        found[key] = few(draw, draw(values(SCHEMA["properties"][key], span=SPAN)))
    length = draw(st.sampled_from([{"steps": 2}, {"steps": 3}, {"epochs": 1}]))
    train = few(draw, draw(values(SCHEMA["properties"]["train"], span=SPAN)), at_most=4)
    # Compilation takes a minute, whatever is compiled.
    found["train"] = {"batch_size": 8, **train, "steps": None, "epochs": None, "compile": "off", **length}
    found["data"] = {"name": "digits", "split": SPLIT}
    for key in draw(st.sets(st.sampled_from(["preprocess", "augment"]))):
        steps = draw(values(DATA[key], span=SPAN))
        found["data"][key] = [few(draw, step) for step in steps or ()]
    return found


def few(draw: st.DrawFn, section: dict[str, Any], *, at_most: int = 2) -> dict[str, Any]:
    """Return a section with its name, or kind, and only a few of its other keys."""
    others = sorted(set(section) - NEEDED - {"in_features"})
    kept = draw(st.sets(st.sampled_from(others), max_size=at_most)) if others else set()
    return {key: section[key] for key in section if key in NEEDED or key in kept}


@pytest.mark.slow
def test_what_check_accepts_trains() -> None:
    accepted: list[bool] = []

    @settings(settings.get_profile("campaign"))
    @given(config=configs())
    def accepted_config_trains(config: dict[str, Any]) -> None:
        if config.get("init", {}).get("name") == "pretrained" or config["model"]["name"].startswith("resnet"):
            return  # wants weights that are not there, or takes too long
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "any.yaml").write_text(json.dumps(config))
            accepted.append(run_guarded(("check", "any.yaml"), folder).exit_code == 0)
            if not accepted[-1]:
                return
            trained = run_guarded(("train", "--config", "any.yaml"), folder)
            # A run may diverge with any learning rate; what it may not do is to find fault with its config.
            assert trained.exit_code in (0, 3), trained.output

    accepted_config_trains()
    assert sum(accepted) > len(accepted) / 10, "hardly a config was accepted: nothing was tried"
