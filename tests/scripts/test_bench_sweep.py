"""bench_sweep: its turns train whole runs, and its ratios and verdicts follow from the seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bench_stack_step
import bench_sweep as bench
from dlassign.stacked.keys import model_key, stack_key


@pytest.fixture
def work() -> bench.Workload:
    config: dict[str, Any] = {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [5]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "train": {"steps": 10},
    }
    change = lambda number: ([f"optimizer.lr=0.{number + 1}"], number)  # noqa: E731
    bounds = (("stacked", "serial", 2.0), ("stacked", "shell", 5.0))
    return bench.Workload("a title", config, change, trials=4, some=2, bounds=bounds)


def test_turns_train_whole_runs_and_give_seconds_a_trial(work: bench.Workload, tmp_path: Path) -> None:
    own = bench.Bench(work, tmp_path)
    for name, logs in {"serial": 2, "stacked": 4}.items():
        assert 0 < own.turn(name) < 60
        assert len(list(tmp_path.glob("out/bench/*-s*/log.jsonl"))) == logs
    configs = [trial.config for trial in own.trials(4)]
    assert [(config.seed, config.optimizer.lr) for config in configs] == [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]


def test_the_start_of_a_process_counts_once(work: bench.Workload) -> None:
    found = {"serial": [4.0, 6.0], "stacked": [1.0, 2.0], "shell": [9.0, 12.0], "start": [2.0, 4.0]}
    assert bench.ratios(work, found, "stacked", "serial") == [4.0, 3.0]
    assert bench.ratios(work, found, "stacked", "shell") == [9 / 1.5, 12 / 3]
    assert [holds for holds, _ in bench.verdicts(work, found)] == [True, True]
    found["shell"] = [6.0, 12.0]
    assert [holds for holds, _ in bench.verdicts(work, found)] == [True, False]


def test_the_workloads_are_those_of_the_table() -> None:
    works = bench.workloads("DIR", "DIR")
    assert [work.trials for work in works] == [32, 64, 48, 48, 6]
    for work in works:
        assert {own for own, _, _ in work.bounds} <= {"stacked", "processes"}
        overrides, seed = work.change(1)
        assert overrides or seed == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--only", "EECS"], "--only needs --output FILE, another file: it would overwrite sweep.md"),
        (["--quick", "--device", "cuda"], "--quick needs --output FILE, another file: it would overwrite sweep_gpu.md"),
        (["--only", "EEC 5", "--output", "new.md"], "--only EEC 5: no workload is called so; there are: 32 seeds of "),
    ],
)
def test_a_part_of_the_work_overwrites_no_measured_page(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench_sweep.py", "--mnist-root", ".", "--cifar10-jpeg-root", ".", *given])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert said in capsys.readouterr().err


def test_what_auto_takes_must_not_be_slower(work: bench.Workload, tmp_path: Path) -> None:
    configs = [trial.config for trial in bench.Bench(work, tmp_path).trials(4)]  # equal nets, which auto stacks
    found = {"stacked": [1.0], "processes": [1.5]}
    holds, text = bench.auto_verdict(work, found, configs)
    assert holds
    assert "auto takes stacked, which is 1.5 [1.5, 1.5] times as fast as processes" in text
    assert not bench.auto_verdict(work, {"stacked": [2.0], "processes": [1.5]}, configs)[0]


def test_a_step_of_a_stack_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_stack_step, "STEPS", 2)
    work = bench.unequal_nets({"name": "digits"}, {"name": "sgd", "lr": 0.1}, 32)
    configs = [trial.config for trial in bench.Bench(work, tmp_path).trials(3)]
    text = bench_stack_step.section(configs, rounds=1)
    # Two nets of 64-30-10 and one of 64-50-10: y and dW of both layers, dx of the second.
    assert "one step of all 3 nets" in text
    assert f"{(2 * 110 * 32 * (2 * 64 + 3 * 10)) / 1e9:.3g} GFLOP" in text
    shares = [int(cell.strip(" %")) for cell in text.strip().splitlines()[-1].strip("|").split("|")[3:]]
    assert 98 <= sum(shares) <= 102


def test_nets_of_unequal_shape_share_a_stack_and_are_all_different(tmp_path: Path) -> None:
    work = bench.workloads("DIR", "DIR")[2]
    work = bench.Workload(work.title, {**work.config, "data": {"name": "digits"}}, work.change, 48, 48, work.bounds)
    configs = [trial.config for trial in bench.Bench(work, tmp_path).trials(48)]
    assert len({config.model_dump_json() for config in configs}) == 48
    assert len({model_key(config) for config in configs}) == 12
    assert len({stack_key(config)[0] for config in configs}) == 1
