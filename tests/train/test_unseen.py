"""A run on data with leaks says everywhere what its result is without them; on clean data nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from dlassign.api.run import Run
from dlassign.report.card import run_card
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.summary import summarise, unseen_text
from helpers.commands import calling
from helpers.images import folder_with_a_leak

train = calling("train")
runs = calling("runs")
compare = calling("compare")
report = calling("report")
evaluate = calling("evaluate")


def config(folder: Path, *, root: Path, backend: str = "torch", **data: Any) -> str:
    content = {
        "name": "leaky",
        "backend": backend,
        "data": {"name": "image_folder", "root": str(root), "cache": str(folder / "cache"), **data},
        "model": {"name": "mlp", "hidden": [8]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 5, "batch_size": 8},
        "device": "cpu",
    }
    (folder / "leaky.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "leaky.yaml")


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_leak_is_told_in_log_result_and_table(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_with_a_leak(tmp_path / "photos")
    file = config(tmp_path, root=root, backend=backend)
    train(file, out=str(tmp_path / "out"))
    shown = capsys.readouterr()
    said = f"1 of 24 samples of test also occur in train, such as {root}/test/cat/3.png and {root}/train/dog/5.png"
    assert said in shown.err
    [folder] = [path.parent for path in (tmp_path / "out").rglob("log.jsonl") if "latest" not in path.parts]
    records = read_records(folder / "log.jsonl")
    assert any(note.startswith(said) for note in records.start["data"]["notes"])
    final = records.finals["test"]
    assert final["unseen"]["n"] == 23
    # The image that is left out was labelled dog in train and cat in test: it is right in one of the two accuracies.
    right, unseen = round(24 * final["accuracy"]), round(23 * final["unseen"]["accuracy"])
    assert right - unseen in (0, 1)
    text = f"{100 * unseen / 23:.2f} % without a sample that also occurs in train"
    assert unseen_text(final) == text
    assert f"] ({text}), loss" in shown.out
    train(file, out=str(tmp_path / "out"), as_json=True)
    assert json.loads(capsys.readouterr().out)["test"]["unseen"] == final["unseen"]
    runs(str(tmp_path / "out"))
    assert f"/{folder.name}: test {text}" in capsys.readouterr().out
    evaluate(str(folder))
    assert f"the run's own test accuracy is {text}" in capsys.readouterr().err
    train(file, out=str(tmp_path / "out"), seed=1)
    capsys.readouterr()
    compare([str(folder), str(folder.with_name(folder.name[:-1] + "1"))])
    assert f"A: test accuracy of {folder} is {text}." in " ".join(capsys.readouterr().out.split())
    assert f"test: {text}" in run_card(RunPaths(folder))
    result = Run(RunPaths(folder)).test
    assert result is not None
    assert result.mark == text


def test_the_page_tells_of_leaks(tmp_path: Path) -> None:
    train(config(tmp_path, root=folder_with_a_leak(tmp_path / "photos")), out=str(tmp_path / "out"))
    report(str(tmp_path / "out"), output=str(tmp_path / "page.html"))
    assert "% without a sample that also occurs in train</span>" in (tmp_path / "page.html").read_text()


def test_a_split_that_is_all_in_train(tmp_path: Path) -> None:
    root = folder_with_a_leak(tmp_path / "photos")
    copytree(root / "train", root / "again")
    train(config(tmp_path, root=root, test="again", val="test"), out=str(tmp_path / "out"))
    [found] = [summarise(RunPaths(path.parent)) for path in (tmp_path / "out").rglob("log.jsonl") if path.is_file()][:1]
    assert found.mark == "all 24 samples also occur in train"
    assert found.val_unseen.endswith("% without a sample that also occurs in train")


def test_clean_data_is_logged_as_ever(tmp_path: Path) -> None:
    root = folder_with_a_leak(tmp_path / "photos")
    (root / "test" / "cat" / "3.png").unlink()
    train(config(tmp_path, root=root), out=str(tmp_path / "out"))
    records = read_records(next((tmp_path / "out").rglob("log.jsonl")))
    assert "unseen" not in records.finals["test"]
    assert not records.start["data"]["notes"]
    assert unseen_text(records.finals["test"]) == unseen_text(None) == ""


def test_what_several_samples_are_called() -> None:
    final = {"n": 1000, "unseen": {"n": 669, "accuracy": 0.879}}
    assert unseen_text(final) == "87.90 % without 331 samples that also occur in train"
