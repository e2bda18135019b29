"""A run that is killed and started again ends like one that never was: same weights, same log but for times."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, read_records
from helpers.children import fork_server
from helpers.killed import folder, train
from helpers.records import without_times

CONFIG: dict[str, Any] = {
    "name": "killed",
    "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}]},
    "model": {"name": "mlp", "hidden": [96, 64], "norm": "batch", "dropout": [0.2, 0.1]},
    "loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1e-4}]},
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"name": "cosine", "warmup": {"steps": 40}},
    "train": {
        "steps": 240,
        "batch_size": 50,
        "log_every": {"steps": 7},
        "eval_every": {"steps": 20},
        "evaluate": ["val"],
        "checkpoint_seconds": 0,
    },
}


@pytest.fixture(scope="module")
def fork() -> ForkServerContext:
    return fork_server("helpers.killed")


@pytest.fixture(scope="module")
def unbroken(fork: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], float]:
    """The log of a run that nothing disturbs, and how long it took."""
    out = tmp_path_factory.mktemp("unbroken")
    run(fork, out).join()  # the first child waits for the fork server to import torch
    out = tmp_path_factory.mktemp("timed")
    started = time.monotonic()
    run(fork, out).join()
    return without_times(read_records(folder(CONFIG, out).log)), time.monotonic() - started


def run(fork: ForkServerContext, out: Path) -> ForkServerProcess:
    process = fork.Process(target=train, args=(CONFIG, out))
    process.start()
    return process


def kill_when(process: ForkServerProcess, due: Callable[[], bool]) -> bool:
    """Kill a child as soon as `due`; False if it had ended by itself before."""
    while process.is_alive():
        if due():
            with suppress(ProcessLookupError):  # it may end by itself in this very moment
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            return process.exitcode == -signal.SIGKILL
    process.join()
    return False


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.sleep(0.001) or time.monotonic() >= end


def while_writing(paths: RunPaths, count: int) -> Callable[[], bool]:
    """Due when the count-th new temporary file has appeared: a checkpoint is being written at that moment."""
    seen: set[tuple[str, int]] = set()

    def due() -> bool:
        for entry in files(paths.checkpoints):
            seen.add((entry.name, entry.inode()))
            if len(seen) >= count:
                return True
        time.sleep(0.0002)
        return False

    return due


def files(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.name.startswith(".tmp-")]
    except FileNotFoundError:
        return []


@pytest.mark.parametrize(("enough", "seed"), [(4, 0), pytest.param(20, 1, marks=pytest.mark.slow)])
def test_killed_at_random_moments(
    fork: ForkServerContext, unbroken: tuple[list[Record], float], tmp_path: Path, *, enough: int, seed: int
) -> None:
    expected, seconds = unbroken
    draw = random.Random(seed)
    kills = 0
    for number in range(60):
        out = tmp_path / str(number)
        paths = folder(CONFIG, out)
        for attempt in range(draw.randint(1, 3)):
            due = (
                while_writing(paths, draw.randint(1, 12))
                if (number + attempt) % 2
                else after(draw.uniform(0.05, 1.0) * seconds)
            )
            kills += kill_when(run(fork, out), due)
        run(fork, out).join()
        assert without_times(read_records(paths.log)) == expected
        if kills >= enough:
            break
    assert kills >= enough


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_signal_writes_a_checkpoint_and_exits_130(
    name: signal.Signals, fork: ForkServerContext, unbroken: tuple[list[Record], float], tmp_path: Path
) -> None:
    paths = folder(CONFIG, tmp_path)
    process = run(fork, tmp_path)
    while not (paths.last.exists()):
        time.sleep(0.001)
    os.kill(process.pid or 0, name)
    process.join()
    assert process.exitcode == 130
    interrupted = read_records(paths.log)
    assert interrupted.end is not None
    assert interrupted.end["status"] == "interrupted"
    run(fork, tmp_path).join()
    assert without_times(read_records(paths.log)) == unbroken[0]
