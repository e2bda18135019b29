"""`dlassign.check` says what a config amounts to, as the command does, and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlassign as dl
from dlassign.config.load import dump_plain
from dlassign.errors import ConfigError
from helpers.commands import calling

CONFIG: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "train": {"epochs": 2, "batch_size": 20},
}


def test_it_says_what_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = dl.check(CONFIG)
    assert (found.n_train, found.n_val, found.n_test, found.steps, found.steps_per_epoch) == (60, 20, 20, 6, 3)
    assert found.n_params == 64 * 4 + 4 + 4 * 10 + 10
    assert found.config["train"]["epochs"] == 2
    assert found.lacks == ""
    assert not list(tmp_path.iterdir())
    Path("a.yaml").write_text(dump_plain(found.config))
    calling("check")("a.yaml")
    assert capsys.readouterr().out == f"a.yaml: {found!r}\n"


def test_what_is_lacking_is_told_and_what_is_wrong_is_raised(tmp_path: Path) -> None:
    lacking = dl.check(CONFIG, set={"data": {"name": "mnist", "root": str(tmp_path)}})
    assert "it cannot be trained yet: " in repr(lacking)
    assert str(tmp_path) in lacking.lacks
    with pytest.raises(ConfigError, match=r"set:1:18: train.batch_size"):
        dl.check(CONFIG, set={"train.batch_size": 0})
