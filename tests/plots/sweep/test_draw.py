"""Pictures of a sweep, as functions and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.plots.style import save_figure
from dlassign.plots.sweep.draw import build_sweep
from dlassign.plots.sweep.heatmap import build_heatmap
from dlassign.plots.sweep.parallel import build_parallel
from dlassign.plots.sweep.progress import build_progress
from helpers.sweep_tables import grid, row, run, write


def test_a_sweep_that_chose_on_the_test_set_is_marked(table: Any) -> None:
    objective = {"split": "test", "metric": "accuracy", "of": "maximum"}
    found = table(grid(), objective=objective)
    label = "test accuracy (%, maximum over evaluations, which chose the best)"
    assert build_progress(found).axes[0].get_ylabel() == label
    for figure in (build_parallel(found), build_heatmap(found)):
        assert figure.axes[0].child_axes[0].get_ylabel() == label


@pytest.mark.parametrize("picture", ["parallel", "heatmap", "importance", "progress"])
def test_same_bytes_twice(table: Any, tmp_path: Path, picture: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in "ab" for ending in ("png", "svg")]
    for pair in (paths[:2], paths[2:]):
        for path in pair:
            save_figure(build_sweep(table(grid()), picture), path)
    assert paths[0].read_bytes() == paths[2].read_bytes()
    assert paths[1].read_bytes() == paths[3].read_bytes()


def test_dollar_signs_are_no_mathematics(table: Any, tmp_path: Path) -> None:
    rows = [row(i, {"a$": f"$\\x{i}", "b": i % 2}, run(0.1 * i)) for i in range(6)]
    for picture in ("parallel", "heatmap", "importance"):
        save_figure(build_sweep(table(rows), picture), tmp_path / f"{picture}.png")


class TestCommand:
    def call(self, *arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
        return result.exit_code, result.output.strip()

    def test_into_the_sweeps_own_folder(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "grid", grid())
        for picture in ("parallel", "heatmap", "importance", "progress"):
            assert self.call(folder, "--sweep", picture) == (0, str(folder / "plots" / f"{picture}.png"))
            assert (folder / "plots" / f"{picture}.png").stat().st_size > 5000

    def test_formats_output_and_keys(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "grid", grid())
        keys = ("--keys", "model.hidden", "optimizer.lr", "--cell", "best", "--title", "mine")
        code, said = self.call(folder, "--sweep", "heatmap", *keys, "--format", "svg", "--output", tmp_path / "x")
        assert (code, said) == (0, str(tmp_path / "x" / "heatmap.svg"))
        assert "mine" in (tmp_path / "x" / "heatmap.svg").read_text()
        code, said = self.call(folder, "--sweep", "progress", "--output", tmp_path / "y.pdf")
        assert (code, said) == (0, str(tmp_path / "y.pdf"))

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--keys", "a", "b"], "--keys say how a heat map is drawn; add --sweep heatmap"),
            (["--sweep", "parallel", "--cell", "best"], "--cell say how a heat map is drawn"),
            (["--sweep", "parallel", "--smooth", "0.5", "--last"], "not curves; leave out --smooth, --last"),
            (["--weights", "--metric", "both", "--x", "step"], "not curves; leave out --metric, --x"),
            (["--metric", "confusion", "--smooth", "0"], "draws matrices, not curves; leave out --smooth"),
            (["--sweep", "parallel", "--width", "3.3"], "not curves; leave out --width"),
            (["--sweep", "parallel", "other"], "one sweep at a time; give one folder, not 2"),
        ],
    )
    def test_options_that_contradict_each_other(self, tmp_path: Path, arguments: list[str], said: str) -> None:
        code, output = self.call(write(tmp_path / "grid", grid()), *arguments)
        assert code == 1
        assert said in output

    def test_without_it_curves_of_the_runs_are_drawn(self, tmp_path: Path) -> None:
        code, output = self.call(write(tmp_path / "grid", grid()))
        assert (code, output.split(" (")[0]) == (1, f"no runs under {tmp_path / 'grid'}")
