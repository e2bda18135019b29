"""`dlassign sweep`: what it prints, its options and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.config.sweep import Objective
from dlassign.launch.sweep_display import Tally
from dlassign.stats.text import columns_text, values_text
from dlassign.store.files import write_text
from dlassign.store.sweep_paths import SweepPaths
from dlassign.sweep.standing import Standing
from dlassign.tables.sweep_table import result_table
from helpers.sweep_files import table_of, write_sweep
from helpers.tiny_trials import make_trial


def sweep(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["sweep", "--config", str(path), "--out", str(path.parent / "out"), *options])


def test_prints_a_line_for_each_trial_and_the_best_rows(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, space={"optimizer.lr": [0.1, 1e30], "model.hidden": [[8], [16]]})
    result = sweep(path)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[0] == f"sweep  {tmp_path}/out/grid: one trial after the other in this process"
    assert lines[1] == "4 trials"
    ended = [line for line in lines[2:] if line.startswith("[")]  # the others are notes of the runs
    assert [line.split()[:2] for line in ended] == [
        ["[1/4]", "finished"],
        ["[2/4]", "finished"],
        ["[3/4]", "diverged"],
        ["[4/4]", "diverged"],
    ]
    assert "lr=0.1 hidden=[8]" in ended[0]
    assert "the loss became" in ended[2]
    out = result.stdout.splitlines()
    assert out[0].split() == ["rank", "val", "lr", "hidden", "status", "seconds"]
    assert [line.split()[0] for line in out[1:5]] == ["1", "2", "3", "4"]
    assert out[5].startswith("trials 2 finished, 2 diverged in ")
    assert out[6] == f"table  {tmp_path}/out/grid/table.csv"


def test_json_is_one_line(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    result = sweep(path, "--json")
    [line] = result.stdout.splitlines()
    found = json.loads(line)
    table = table_of(SweepPaths(tmp_path / "out" / "grid"))
    assert found["table"] == f"{tmp_path}/out/grid/table.json"
    assert found["best"] == table["rows"][0]
    assert found["counts"] == {"finished": 2}
    assert found["seconds"] > 0


def test_list_trains_and_writes_nothing(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, seeds=[0, 1])
    result = sweep(path, "--list")
    assert result.exit_code == 0
    assert [line.split()[2] for line in result.stdout.splitlines()[1:]] == ["waiting"] * 4
    assert not (tmp_path / "out").exists()
    sweep(path)
    rows = json.loads(sweep(path, "--list", "--json").stdout)
    assert [(row["number"], row["seed"], row["status"]) for row in rows] == [
        (0, 0, "finished"),
        (1, 1, "finished"),
        (2, 0, "finished"),
        (3, 1, "finished"),
    ]


def test_a_failed_trial_is_shown_at_once_listed_at_the_end_and_retried(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    run = Path(json.loads(sweep(path, "--list", "--json").stdout)[0]["run"])
    write_text_under(run / "checkpoints", "a file where a folder must be")
    result = sweep(path)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[2].startswith("[1/2]  failed")
    assert str(run) in lines[2]
    assert lines[3].startswith("[2/2]  finished")
    assert lines[-1] == "1 of 2 trials failed; --retry trains them again"
    assert sweep(path).exit_code == 1
    (run / "checkpoints").unlink()
    assert sweep(path, "--retry").exit_code == 0


def write_text_under(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    write_text(path, text)


def test_a_value_that_does_not_fit_is_named_before_anything_starts(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, space={"train.batch_size": [10, 5000], "optimizer.lr": [0.1, -1.0]})
    result = sweep(path)
    assert result.exit_code == 2
    assert "-1" in result.stderr
    assert not (tmp_path / "out").exists()
    path = write_sweep(tmp_path, space={"model.hidden": [[4], [10**9]]})
    result = sweep(path)
    assert result.exit_code == 2
    assert "grid.yaml" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_test_set_as_objective_is_marked(tmp_path: Path) -> None:
    result = sweep(write_sweep(tmp_path, objective={"split": "test"}))
    assert "the test set chose among these" in result.stdout
    assert result.stdout.split()[1] == "test"


def test_executor_and_device_options(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, executor={"name": "processes", "workers": 3})
    assert "--workers is for the executor processes" in sweep(path, "--executor", "serial", "--workers", "2").stderr
    assert sweep(path, "--executor", "serial", "--device", "cpu").exit_code == 0
    config = next((tmp_path / "out" / "grid").glob("*-s0/config.yaml")).read_text()
    assert "device: cpu" in config


def test_values_in_short() -> None:
    assert values_text({"optimizer.lr": 0.001, "model.hidden": [50, 10]}) == "lr=0.001 hidden=[50, 10]"
    assert values_text({"optimizer": {"name": "sgd", "lr": 0.1}}) == "optimizer=sgd(lr=0.1)"
    assert values_text({"a.lr": 1, "b.lr": 2}) == "a.lr=1 b.lr=2"


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert columns_text({"n": ["1", "10"], "name": ["a", "long one"]}) == " n  name\n 1  a\n10  long one"


def test_the_table_shows_confirmed_values_beside_raw_ones() -> None:
    row: dict[str, Any] = {
        "rank": 1,
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "values": {"a.lr": 0.1},
        "status": "finished",
        "confirmed": {"n": 5, "value": 0.45, "low": 0.41, "high": 0.49, "rank": 2},
        "runs": [{"seconds": 1.5}, {"seconds": None}],
    }
    objective = {"split": "val", "metric": "loss", "of": "final"}
    text = result_table({"rows": [row], "keys": ["a.lr"], "objective": objective})
    head, line = text.splitlines()
    assert head.split() == ["rank", "val", "loss", "95", "%", "confirmed", "lr", "status", "seconds"]
    assert "0.4000 to 0.6000" in line
    assert "2: 0.4500 (0.4100 to 0.4900), 5 seeds" in line


def test_seeds_that_agree_are_said_to_leave_no_interval(tmp_path: Path) -> None:
    objective = {"split": "val", "metric": "accuracy", "of": "final"}
    run = {"value": 0.5, "confirms": False, "seconds": 1.0}
    row = {"rank": 1, "value": 0.5, "low": None, "high": None, "values": {}, "status": "finished", "runs": [run, run]}
    fresh = {"n": 2, "value": 0.5, "low": None, "high": None, "rank": 1}
    line = result_table({"rows": [row | {"confirmed": fresh}], "keys": [], "objective": objective}).splitlines()[1]
    assert "0.5000  all equal  1: 0.5000 (all equal), 2 seeds" in line
    alone = row | {"runs": [run], "confirmed": None}
    assert "equal" not in result_table({"rows": [alone], "keys": [], "objective": objective})


def test_confirmations_of_an_earlier_session_count_as_finished(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, space={"optimizer.lr": [0.1, 0.2]}, confirm={"top": 1, "seeds": 2})
    assert sweep(path).stderr.splitlines()[1] == "4 trials"
    assert sweep(path).stderr.splitlines()[-1] == "4 trials: 4 finished already"


def test_time_left_counts_what_was_trained_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("dlassign.launch.sweep_display.time.monotonic", lambda: now[0])
    tally = Tally(Objective())
    trials = [make_trial(tmp_path, n, seed=n) for n in range(4)]
    waiting = [Standing(trial=trial, status="waiting") for trial in trials[1:]]
    tally.begin([Standing(trial=trials[0], status="finished", value=0.1), *waiting], 4)
    assert tally.seconds_left() is None
    other = trials[1]
    tally.start(other)
    tally.record(other, {"kind": "start", "steps": 100})
    tally.record(other, {"kind": "train", "step": 50})
    now[0] += 10.0  # half a trial in ten seconds: two and a half are left
    assert tally.seconds_left() == pytest.approx(50.0)
    best = tally.best()
    assert best is not None
    assert best.value == 0.1
