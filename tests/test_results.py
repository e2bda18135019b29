"""The measured results reach what is promised, and the configs promise what was measured."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main

ROOT = Path(__file__).parents[1]
PROMISED = {"configs/quickstart.yaml": 96.5, "configs/mnist_mlp.yaml": 98.3, "configs/cifar10_mlp.yaml": 52.0}


def measured() -> dict[str, float]:
    """Mean test accuracy of each config in docs/results.md, in percent."""
    rows = re.findall(r"^\| `(.*?)` \|(.*)\|$", (ROOT / "docs" / "results.md").read_text(), flags=re.MULTILINE)
    return {config: float(cells.split("|")[3].split("±")[0]) for config, cells in rows}


def test_results_reach_what_is_promised() -> None:
    found = measured()
    assert set(found) == set(PROMISED)
    for config, bound in PROMISED.items():
        assert found[config] >= bound


@pytest.mark.parametrize("config", PROMISED)
def test_headers_expect_what_was_measured(config: str) -> None:
    [expected] = re.findall(r"# Expected: .* about (\.\d+)", (ROOT / config).read_text())
    assert 100 * float(expected) == pytest.approx(measured()[config], abs=0.6)


@pytest.mark.slow
def test_quickstart_over_three_seeds(tmp_path: Path) -> None:
    accuracies = []
    for seed in ("0", "1", "2"):
        line = [
            "train",
            "--config",
            str(ROOT / "configs/quickstart.yaml"),
            "--seed",
            seed,
            "--out",
            str(tmp_path),
            "--json",
        ]
        accuracies.append(json.loads(CliRunner().invoke(main, line).stdout)["test"]["accuracy"])
    assert statistics.mean(accuracies) >= 0.965


@pytest.mark.data
def test_one_epoch_of_mnist(tmp_path: Path) -> None:
    root = ROOT.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real data sets are not at {root}")
    line = ["train", "--config", str(ROOT / "configs/mnist_mlp.yaml"), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(main, [*line, "--set", f"data.root={root}", "--set", "train.epochs=1"])
    assert json.loads(result.stdout)["test"]["accuracy"] > 0.95
