"""`dlassign export`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.deploy import onnx_file
from helpers.exporting import train


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return train(tmp_path / "out" / "tiny" / "01234567-s0").root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_says_what_was_compared_and_written(run: Path, tmp_path: Path) -> None:
    result = call(run, "--to", "hf", "--out", tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "compared with the run's own net in fp32 on the CPU"
    assert lines[1] == "real samples: the first of the val split of digits"
    assert lines[2] == "  model.safetensors: 296 samples, largest difference of a score 0"
    assert lines[3].startswith(f"folder {tmp_path / 'model'}: README.md, config.json, ")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert "| test | 60 |" in card


def test_json(run: Path, tmp_path: Path) -> None:
    found = json.loads(call(run, "--to", "safetensors", "--out", tmp_path / "model", "--json").stdout)
    assert found["folder"] == str(tmp_path / "model")
    assert "model.safetensors" in found["files"]
    assert found["parity"]["files"]["model.safetensors"]["largest"] == 0


def test_without_the_extra_the_rest_is_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("no_such_package",))
    result = call(run, "--out", tmp_path / "model")
    assert result.exit_code == 0
    assert result.stderr == "note: no model.onnx is written; for it pip install 'dlassign[export]'\n"
    assert (tmp_path / "model" / "model.pt2").exists()
    asked = call(run, "--to", "onnx", "--out", tmp_path / "other")
    assert asked.exit_code == 1
    assert "for ONNX no_such_package is missing: pip install 'dlassign[export]'" in asked.stderr
