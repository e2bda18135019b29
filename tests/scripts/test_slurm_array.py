"""The shell ways to a grid: a loop, and a Slurm job array; both do nothing twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.children import environment

SCRIPTS = Path(__file__).parents[2] / "scripts"
LOOP, ARRAY = SCRIPTS / "grid_search.sh", SCRIPTS / "slurm_array.sh"
Task = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]
GRID = {"LRS": "1e-3 1e-2", "BATCHES": "32 64"}
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0")" in
    srun) exec "$@" ;;
    dlassign) exit "$CODE" ;;
    scontrol) exit 1 ;;
esac
"""


def call(script: Path, *arguments: str, **values: object) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in environment(**GRID).items() if not key.startswith("SLURM_")}
    given = {**clean, **{key: str(value) for key, value in values.items()}}
    return subprocess.run([script, *arguments], env=given, cwd=SCRIPTS.parent, capture_output=True, text=True)


@pytest.mark.parametrize("script", [LOOP, ARRAY], ids=lambda path: path.name)
def test_strict_and_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert all(len(line) <= 120 for line in lines)


class TestArrayAlone:
    """The job script, with stubs in place of dlassign and Slurm."""

    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        for name in ("dlassign", "srun", "scontrol"):
            stub = tmp_path / "bin" / name
            stub.parent.mkdir(exist_ok=True)
            stub.write_text(STUB)
            stub.chmod(0o755)

        def run(*arguments: str, **values: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
            calls = tmp_path / "calls"
            calls.write_text("")
            path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
            done = call(ARRAY, *arguments, **{"PATH": path, "CALLS": calls, "CODE": 0, **values})
            return done, calls.read_text().splitlines()

        return run

    def test_every_task_is_another_point(self, task: Task) -> None:
        called = [task("--device", "cpu", SLURM_ARRAY_TASK_ID=number, OUT="o", SEEDS="0 7")[1] for number in range(8)]
        assert len({tuple(calls) for calls in called}) == 8
        assert called[3] == [
            "dlassign train --config configs/quickstart.yaml --set optimizer.lr=1e-3 --set train.batch_size=64 "
            "--seed 7 --out o --device cpu"
        ]

    def test_list_says_what_each_task_trains(self, task: Task) -> None:
        listed, calls = task("--list")
        assert calls == []
        assert listed.stdout.splitlines()[2] == "2: optimizer.lr=1e-2 train.batch_size=32 seed=0"
        assert len(listed.stdout.splitlines()) == 4

    def test_its_header_asks_for_as_many_tasks_as_its_own_grid_has(self, task: Task) -> None:
        last = re.search(r"^#SBATCH --array=0-(\d+)$", ARRAY.read_text(), re.MULTILINE)
        listed, _ = task("--list", LRS="", BATCHES="")
        assert last is not None
        assert len(listed.stdout.splitlines()) == int(last[1]) + 1

    def test_the_header_asks_for_a_warning_and_a_second_turn(self) -> None:
        header = [line for line in ARRAY.read_text().splitlines() if line.startswith("#SBATCH")]
        assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@60", "#SBATCH --open-mode=append"} <= set(header)
        first_command = next(i for i, line in enumerate(ARRAY.read_text().splitlines()) if line and line[0] != "#")
        assert all(line in ARRAY.read_text().splitlines()[:first_command] for line in header)

    @pytest.mark.parametrize("task_id", ["4", "-1", "", "two", "08"])
    def test_no_such_task(self, task: Task, task_id: str) -> None:
        done, calls = task(SLURM_ARRAY_TASK_ID=task_id)
        assert (done.returncode, calls) == (2, [])
        assert f"SLURM_ARRAY_TASK_ID is '{task_id}', but the grid has tasks 0 to 3" in done.stderr

    @pytest.mark.parametrize("code", [0, 1, 2, 3])
    def test_leaves_as_dlassign_does(self, task: Task, code: int) -> None:
        done, calls = task(SLURM_ARRAY_TASK_ID=0, CODE=code, SLURM_JOB_ID=9)
        assert done.returncode == code
        assert [line.split()[0] for line in calls] == ["srun", "dlassign"]

    def test_an_interrupted_task_goes_back_into_the_queue(self, task: Task) -> None:
        done, calls = task(SLURM_ARRAY_TASK_ID=1, CODE=130, SLURM_JOB_ID=9, SLURM_ARRAY_JOB_ID=7)
        assert done.returncode == 130
        assert calls[-1] == "scontrol requeue 7_1"

    def test_but_not_without_slurm(self, task: Task) -> None:
        done, calls = task(SLURM_ARRAY_TASK_ID=1, CODE=130)
        assert done.returncode == 130
        assert [line.split()[0] for line in calls] == ["dlassign"]


@pytest.mark.slow
def test_both_train_the_same_runs_and_none_of_them_twice(tmp_path: Path) -> None:
    """Tasks 0 and 1 of the array first, then the loop, which has two points left; then both again."""
    short = ("--device", "cpu", "--set", "train.epochs=null", "--set", "train.steps=20")

    def logs() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.glob("*/*-s*/log.jsonl")}

    for number in range(2):
        assert call(ARRAY, *short, SLURM_ARRAY_TASK_ID=number, OUT=tmp_path).returncode == 0
    first = logs()
    assert len(first) == 2
    loop = call(LOOP, *short, OUT=tmp_path)
    assert loop.returncode == 0, loop.stderr
    every = logs()
    assert len(every) == 4
    assert first.items() <= every.items(), "the loop left the array's runs as they were"
    ends = [json.loads(log.splitlines()[-1]) for log in every.values()]
    assert [end["status"] for end in ends] == ["finished"] * 4

    again = call(LOOP, *short, OUT=tmp_path)
    assert (again.returncode, again.stdout) == (0, loop.stdout)
    for number in range(4):
        assert call(ARRAY, *short, SLURM_ARRAY_TASK_ID=number, OUT=tmp_path).returncode == 0
    assert logs() == every
