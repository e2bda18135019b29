"""A sweep whose driver is killed again and again ends like one that nothing disturbed."""

from __future__ import annotations

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from dlassign.store.sweep_paths import SweepPaths
from helpers.children import fork_server
from helpers.killed_driver import drive
from helpers.sweep_files import kinds, logs, table_of, without_times, write_sweep

EVERY = 10
"""Steps between two evaluations, each of which writes a checkpoint."""


def sweep_of_24(folder: Path, *, steps: int = 60) -> Path:
    space = {"optimizer.lr": [0.05, 0.1, 0.2, 0.4], "model.hidden": [[4], [8]]}
    return write_sweep(folder, space=space, seeds=[0, 1, 2], train={"steps": steps})


@pytest.fixture(scope="module")
def fork() -> ForkServerContext:
    return fork_server("helpers.killed_driver")


def lost_steps(paths: SweepPaths, run: str) -> list[int]:
    """Return for each resume of a run how many steps had to be trained again; checks that it began only once."""
    records = kinds(paths, run)
    assert [record["kind"] for record in records].count("start") == 1
    reached, lost = 0, []
    for record in records:
        if record["kind"] == "resume":
            lost.append(reached - record["from_step"])
            reached = record["from_step"]
        reached = max(reached, record.get("step", 0), record.get("steps", 0) if record["kind"] == "end" else 0)
    return lost


def finished_once(paths: SweepPaths, run: str) -> bool:
    """Return whether a run came to its end once, and nothing was written after that."""
    ends = [record.get("status") for record in kinds(paths, run)]
    return ends.count("finished") == 1 and ends[-1] == "finished"


@pytest.mark.slow
def test_a_serial_driver_killed_five_times(fork: ForkServerContext, tmp_path: Path) -> None:
    path = sweep_of_24(tmp_path)
    fork.Process(target=int).start()  # the first child waits for the fork server to import torch

    def start(out: Path) -> multiprocessing.process.BaseProcess:
        process = fork.Process(target=drive, args=(path, out))
        process.start()
        return process

    whole, broken = SweepPaths(tmp_path / "whole" / "grid"), SweepPaths(tmp_path / "broken" / "grid")
    process = start(tmp_path / "whole")
    process.join()
    assert process.exitcode == 0
    seconds = sum(run["seconds"] for row in table_of(whole)["rows"] for run in row["runs"])
    draw = random.Random(5)
    for _ in range(5):
        process = start(tmp_path / "broken")
        wait_for(broken, draw.randint(0, 2), process.is_alive)
        process.join(draw.uniform(0, 0.9) * seconds / 24)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it had ended before"
    process = start(tmp_path / "broken")
    process.join()
    assert process.exitcode == 0
    assert without_times(table_of(broken)) == without_times(table_of(whole))
    assert len(logs(broken)) == 24
    for run in logs(broken):
        assert finished_once(broken, run)
        assert all(lost < 2 * EVERY for lost in lost_steps(broken, run))
    assert sum(len(lost_steps(broken, run)) for run in logs(broken)) <= 5


def wait_for(paths: SweepPaths, more: int, alive: Callable[[], bool]) -> None:
    """Wait until a driver has begun and so many more of its trials have ended; by progress, not by the clock."""

    def seen() -> tuple[int, int]:
        text = paths.journal.read_text() if paths.journal.exists() else ""
        return text.count('"kind":"session"'), text.count('"kind":"result"')

    sessions, results = seen()
    while (now := seen())[0] == sessions or now[1] < results + more:
        assert alive(), "the sweep ended before it could be killed"
        time.sleep(0.002)


@pytest.mark.slow
def test_the_command_with_worker_processes_killed_five_times(tmp_path: Path) -> None:
    path = sweep_of_24(tmp_path, steps=600)
    whole, broken = SweepPaths(tmp_path / "whole" / "grid"), SweepPaths(tmp_path / "broken" / "grid")
    begun = time.monotonic()
    assert command(path, tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - begun
    draw = random.Random(7)
    for _ in range(5):
        process = command(path, tmp_path / "broken")
        wait_for(broken, draw.randint(0, 2), lambda process=process: process.poll() is None)
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, 0.9) * seconds / 24)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it had ended before"
    assert command(path, tmp_path / "broken").wait() == 0
    assert without_times(table_of(broken)) == without_times(table_of(whole))
    for run in logs(broken):
        assert finished_once(broken, run)
        assert set(lost_steps(broken, run)) <= {0}  # workers notice the driver's death and write checkpoints


def command(path: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = ["sweep", "--config", str(path), "--out", str(out), "--executor", "processes", "--workers", "2"]
    return subprocess.Popen([sys.executable, "-m", "dlassign", *arguments], stdout=subprocess.DEVNULL)
