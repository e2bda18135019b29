"""What a finished run leaves on the disk, as docs/howto/training.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.config.load import load_config
from dlassign.data.load import fingerprint
from dlassign.plots.curves import draw_run
from dlassign.store.leftovers import size_of
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def bytes_after_the_quickstart(out: Path, keep: str) -> int:
    cfg = load_config(QUICKSTART, (f"train.keep_checkpoints={keep}",), device="cpu")
    paths = RunPaths.of(out, cfg.model_dump(mode="json"), fingerprint(cfg.data))
    run_experiment(cfg, paths)
    draw_run(paths)
    return size_of(out)


@pytest.mark.slow  # the quickstart, twice
@pytest.mark.draws
def test_a_finished_run_keeps_less_than_a_third(tmp_path: Path) -> None:
    assert 3 * bytes_after_the_quickstart(tmp_path / "best", "best") < bytes_after_the_quickstart(
        tmp_path / "all", "all"
    )
