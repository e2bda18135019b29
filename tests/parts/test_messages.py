"""Every mistake in a part of one's own gives the text in tests/golden/own_parts; UPDATE_GOLDEN=1 writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlassign.config.load import load_located, placing
from dlassign.errors import ConfigError, UserError
from dlassign.launch.checking import check_config
from dlassign.parts.code import Code
from dlassign.train.experiment import run_experiment
from helpers.catalogue import read_catalogue, update_message
from helpers.runs import paths_of

FOLDER = Path(__file__).parents[1] / "golden" / "own_parts"
CASES = [(path, name) for path in sorted(FOLDER.glob("*.txt")) for name in read_catalogue(path)]
CONFIG = """\
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
optimizer: {name: adam, lr: 0.01}
train: {steps: 2, batch_size: 10}
device: cpu
"""
DEFAULT = {
    "activation": 'model: {name: mlp, hidden: [4], activation: "net.py:Own"}',
    "augment": 'data: {name: digits, augment: [{name: "net.py:change"}], preprocess: [{name: scale, divisor: 16}]}',
    "data": 'data: {name: "net.py:samples", split: {val: 0.2}}',
    "loss": 'loss: {name: "net.py:loss"}',
    "model": 'model: {name: "net.py:Net"}',
    "metric": 'train: {metric: {name: "net.py:metric"}, steps: 2, batch_size: 10}',
    "optimizer": 'optimizer: {name: "net.py:Own", lr: 0.1}',
    "penalty": 'loss: {name: cross_entropy, penalty: [{name: "net.py:penalty", coefficient: 0.1}]}',
    "preprocess": 'data: {name: digits, preprocess: [{name: "net.py:change"}]}',
    "schedule": 'schedule: {name: "net.py:factor"}',
}
"""What stands in the config of a case that does not say it, by catalogue."""


@pytest.mark.parametrize(("path", "name"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_is_told_with_its_place_and_cure(
    path: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines `#: ` of a case are keys of its config, the others its net.py."""
    monkeypatch.chdir(tmp_path)
    case = read_catalogue(path)[name]
    keys = [line.removeprefix("#: ") for line in case.given.splitlines() if line.startswith("#: ")]
    if path.stem not in ("activation", "model"):
        keys = [*(keys or [DEFAULT[path.stem]]), "model: {name: mlp, hidden: [4]}"]
    if path.stem == "activation" and keys == ["backend: numpy"]:
        keys.append(DEFAULT["activation"])
    # Without the section that the case gives itself.
    section = {"metric": "train", "augment": "data", "preprocess": "data"}.get(path.stem, path.stem)
    ours = "".join(line for line in CONFIG.splitlines(keepends=True) if not line.startswith(section))
    Path("a.yaml").write_text(ours + "\n".join(keys or [DEFAULT[path.stem]]) + "\n")
    Path("net.py").write_text(case.given)
    Path("other.py").write_text("import torch\n")
    with pytest.raises((ConfigError, UserError)) as caught:
        check(measured=path.stem == "preprocess")
    said = f"{caught.value}\n"
    if os.environ.get("UPDATE_GOLDEN"):
        update_message(path, name, said)
    assert said == read_catalogue(path)[name].message
    # The user's line is shown, and none of ours.
    assert "dlassign/" not in said
    assert "Traceback" not in said


def check(*, measured: bool) -> None:
    """Do what says the most of a.yaml; measured: some of it is known once a step was fitted on the training samples."""
    located = load_located("a.yaml", code=Code([Path("net.py")]))
    check_config(located)
    if measured:
        with placing(located):
            run_experiment(located.config, paths_of(located.config, Path("out")))


def test_code_that_is_not_allowed_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(f"{CONFIG}{DEFAULT['model']}\n")
    Path("net.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    with pytest.raises(ConfigError, match=r"a config alone runs no code; allow it with --code net\.py"):
        load_located("a.yaml")
    assert not Path("ran").exists()
