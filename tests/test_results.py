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
RESULTS = ROOT / "docs" / "results" / "configs.md"
PROMISED = {  # mean test accuracy, in percent: at least, at most
    "configs/quickstart.yaml": (96.5, 100),
    "configs/mnist_mlp.yaml": (98.3, 100),
    "configs/cifar10_mlp.yaml": (52.0, 100),
    "configs/fast/cifar10_82.yaml": (81.9, 100),
    "configs/fast/cifar10_best.yaml": (89.5, 100),
    "configs/fast/mnist_99.yaml": (99.04, 100),
}


def measured(column: int = 3) -> dict[str, float]:
    """Mean test accuracy (or validation accuracy, column 2) of each config in docs/results/configs.md, in percent."""
    rows = re.findall(r"^\| `(.*?)` \|(.*)\|$", RESULTS.read_text(), flags=re.MULTILINE)
    means = {config: re.split(r"[±(]", cells.split("|")[column])[0].strip() for config, cells in rows}
    return {config: float(mean) for config, mean in means.items() if mean}


def test_results_reach_what_is_promised() -> None:
    found = measured()
    assert set(found) == set(PROMISED)
    for config, (low, high) in PROMISED.items():
        assert low <= found[config] <= high, config


def test_test_time_augmentation_is_as_the_header_says() -> None:
    config = "configs/fast/cifar10_best.yaml"
    [measured_with] = re.findall(rf"`{config}`.*\((\d+\.\d+)\)", RESULTS.read_text())
    [expected] = re.findall(r"(\.\d+) with test-time augmentation", (ROOT / config).read_text())
    assert float(measured_with) == pytest.approx(100 * float(expected), abs=0.1)
    assert float(measured_with) >= 90.5


@pytest.mark.parametrize("config", PROMISED)
def test_headers_expect_what_was_measured(config: str) -> None:
    [expected] = re.findall(r"# Expected: +(.*)", (ROOT / config).read_text())
    value = measured()[config]
    if about := re.search(r"test accuracy about (\.\d+)", expected):
        assert value == pytest.approx(100 * float(about[1]), abs=0.6)
    elif band := re.search(r"test accuracy (\.\d+) to (\.\d+)", expected):
        assert 100 * float(band[1]) <= value <= 100 * float(band[2])
    elif above := re.search(r"test accuracy above (\.\d+)", expected):
        assert value > 100 * float(above[1])
    else:
        [about] = re.findall(r"validation accuracy about (\.\d+)", expected)
        assert measured(column=2)[config] == pytest.approx(100 * float(about), abs=3)


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
