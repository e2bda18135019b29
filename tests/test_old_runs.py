"""What earlier versions left under out/ is read, gone on with, plotted and compared as when it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main

OLD = Path(__file__).parent / "old_runs"
RUN = "out/tiny/8e782059"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the old runs and of what they were made from."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dlassign(*arguments: str) -> str:
    """Run a command that is to succeed; returns its output."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def last_line(output: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(output.splitlines()[-1])
    return found


def log(run: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(run, "log.jsonl").read_text().splitlines()]


def test_a_finished_run_is_found_by_its_hash_and_not_trained_again() -> None:
    before = log(f"{RUN}-s0")
    line = last_line(dlassign("train", "--config", "tiny.yaml", "--json"))
    assert (line["run"], line["status"], line["steps"]) == (f"{RUN}-s0", "finished", 12)
    assert line["weights_sha256"] == before[-1]["weights_sha256"]
    assert log(f"{RUN}-s0") == before


def test_an_interrupted_run_goes_on_from_its_checkpoint() -> None:
    before = log(f"{RUN}-s1")
    line = last_line(dlassign("train", "--config", "tiny.yaml", "--seed", "1", "--json"))
    assert (line["run"], line["status"], line["steps"]) == (f"{RUN}-s1", "finished", 12)
    after = log(f"{RUN}-s1")
    assert after[: len(before)] == before
    resume = after[len(before)]
    assert (resume["kind"], resume["from_step"]) == ("resume", 7)


def test_a_run_that_went_on_ends_like_one_of_today() -> None:
    on = last_line(dlassign("train", "--config", "tiny.yaml", "--seed", "1", "--json"))
    anew = last_line(dlassign("train", "--config", "tiny.yaml", "--seed", "1", "--json", "--out", "anew"))
    assert on["test"] == pytest.approx(anew["test"], rel=1e-5)  # another processor made the old half
    assert (on["val"], on["n_params"]) == (pytest.approx(anew["val"], rel=1e-5), anew["n_params"])


def test_evaluate_gives_what_was_logged() -> None:
    final = next(r for r in log(f"{RUN}-s0") if r["kind"] == "eval" and r.get("final") and r["split"] == "test")
    line = last_line(dlassign("evaluate", f"{RUN}-s0", "--split", "test", "--json"))
    assert line["accuracy"] == final["accuracy"]
    assert line["loss"] == pytest.approx(final["loss"], rel=1e-5)


def test_runs_and_pictures_and_the_page_are_made_from_the_old_logs() -> None:
    listed = dlassign("runs", "out")
    assert "8e782059" in listed
    assert "1f5b3bea" in listed
    dlassign("plot", f"{RUN}-s0", "--output", "pictures")
    assert sorted(path.name for path in Path("pictures").glob("*.png"))
    dlassign("report", "out", "--output", "page.html")
    assert "1f5b3bea" in Path("page.html").read_text()


def test_compare_tells_old_runs_apart_by_what_differs() -> None:
    text = dlassign("compare", f"{RUN}-s0", "out/slow/1f5b3bea-s0")
    assert "optimizer.lr" in text


def test_a_finished_sweep_trains_nothing_and_keeps_its_ranks() -> None:
    before = json.loads(Path("out/tiny_sweep/table.json").read_text())
    logs = {path: path.read_bytes() for path in Path("out/tiny_sweep").glob("*/log.jsonl")}
    dlassign("sweep", "--config", "sweep.yaml")
    after = json.loads(Path("out/tiny_sweep/table.json").read_text())
    assert [(row["rank"], row["values"]) for row in after["rows"]] == [
        (row["rank"], row["values"]) for row in before["rows"]
    ]
    assert {path: path.read_bytes() for path in Path("out/tiny_sweep").glob("*/log.jsonl")} == logs
    assert "optimizer.lr" in dlassign("compare", "out/tiny_sweep:1", "out/tiny_sweep:2")
    dlassign("plot", "out/tiny_sweep", "--output", "pictures")
    assert sorted(path.name for path in Path("pictures").glob("*.png"))


def test_a_table_is_made_again_from_the_old_logs() -> None:
    before = json.loads(Path("out/tables/table.json").read_text())
    dlassign("reproduce", "table.yaml", "--seeds", "1", "--no-train")
    after = json.loads(Path("out/tables/table.json").read_text())
    # Verdicts were given by another rule then.
    kept = ("figure", "evaluations", "reported", "values", "mean", "low", "high")
    old, new = (
        [[{key: figure[key] for key in kept} for figure in row["figures"]] for row in content["rows"]]
        for content in (before, after)
    )
    assert new == old
