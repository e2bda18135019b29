"""Every config that is shipped loads, has a header, and trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import describe
from dlassign.experiment import run_experiment
from dlassign.runlog.paths import RunPaths
from dlassign.train import assemble

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))


def random_data(cfg: RunConfig) -> Dataset:
    """Random samples of the shape and classes that the config's data has, a few of them."""
    info = describe(cfg.data)
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        n = min(n, 600)
        return Split(rng.integers(0, 256, (n, *info.shape), dtype=np.uint8), rng.integers(0, info.n_classes, n))

    val, test = (split(n) if n else None for n in (info.n_val, info.n_test))
    return Dataset(split(info.n_train), val, test, info.classes, "0" * 64, "random")


def test_there_are_configs() -> None:
    assert {"quickstart.yaml", "mnist_mlp.yaml", "cifar10_mlp.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
class TestEveryConfig:
    def test_trains_two_steps(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cfg = load_config(file, ["train.epochs=null", "train.steps=2", "train.log_every={steps: 1}"])
        monkeypatch.setattr(assemble, "load_dataset", lambda data: random_data(cfg))
        records = run_experiment(cfg, RunPaths(tmp_path / "run"))
        assert [record["step"] for record in records.train] == [1, 2]
        assert records.end is not None
        assert records.end["status"] == "finished"

    def test_header_says_what_to_expect(self, file: Path) -> None:
        header = [line for line in file.read_text().splitlines() if line.startswith("#")]
        assert header[0].startswith("# yaml-language-server: $schema=")
        schema = file.parent / header[0].split("=", 1)[1]
        assert schema.resolve() == CONFIGS / "schema.json"
        text = "\n".join(header)
        for word in ("Expected:", "Parameters:", "Time:", "Command:"):
            assert f"# {word}" in text
        assert f"--config configs/{file.relative_to(CONFIGS)}" in text
        fit = check_fit(load_config(file))
        assert f"Parameters: {fit.n_params:,}" in text
