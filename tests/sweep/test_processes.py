"""Worker processes: results, answers, deaths of workers and of the driver, threads, devices."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlassign.errors import Interrupted
from dlassign.store.records import Record, read_records
from dlassign.sweep.processes import ProcessesExecutor, _Worker
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.trial import Trial, TrialResult
from helpers.children import environment
from helpers.records import without_times
from helpers.tiny_trials import Notes, make_trial


def workers() -> list[int]:
    """Return the worker processes of this process."""
    return [child.pid or 0 for child in multiprocessing.active_children()]


def run(trials: list[Trial], notes: Notes, number: int = 2) -> dict[int, TrialResult]:
    return {result.trial.number: result for result in ProcessesExecutor(number).run(trials, notes)}


def log_of(trial: Trial) -> list[Record]:
    return without_times(read_records(trial.paths.log))


@pytest.mark.slow  # each worker imports torch
def test_gives_what_serial_gives_and_prunes_over_the_pipe(tmp_path: Path) -> None:
    lrs = [0.05, 0.1, 0.2, 1e30]
    there, here = tmp_path / "a", tmp_path / "b"
    notes = Notes(prune=lambda trial, record: trial.number == 2 and record["step"] == 20)
    bad = make_trial(there, 4, lr=0.5)
    bad.paths.root.mkdir(parents=True)
    bad.paths.log.mkdir()
    trials = [make_trial(there, n, lr=lr) for n, lr in enumerate(lrs)]
    results = run([*trials, bad], notes)
    assert {n: result.status for n, result in results.items()} == {
        0: "finished",
        1: "finished",
        2: "pruned",
        3: "diverged",
        4: "failed",
    }
    assert "Is a directory" in results[4].message
    alone = [make_trial(here, n, lr=lr) for n, lr in enumerate(lrs)]
    pruning = Notes(prune=lambda trial, record: trial.number == 2 and record["step"] == 20)
    list(SerialExecutor().run(alone, pruning))
    assert [log_of(trial) for trial in trials] == [log_of(trial) for trial in alone]
    lines = trials[0].paths.log.read_text().splitlines()
    assert json.loads(json.dumps(notes.records[0])) == [json.loads(line) for line in lines]
    assert workers() == []


@pytest.mark.slow
def test_a_worker_that_is_killed_once_costs_nothing_and_twice_fails_its_trial(tmp_path: Path) -> None:
    kills: dict[int, int] = {}

    def kill(trial: Trial, record: Record) -> None:
        wanted = {0: 1, 1: 2}.get(trial.number, 0)
        if record["kind"] == "train" and record["step"] >= 20 and kills.get(trial.number, 0) < wanted:
            kills[trial.number] = kills.get(trial.number, 0) + 1
            [os.kill(pid, signal.SIGKILL) for pid in workers()]

    trials = [make_trial(tmp_path, n, lr=0.1 * (n + 1), steps=200) for n in range(3)]
    notes = Notes(on_record=kill)
    results = run(trials, notes, number=1)
    assert [results[n].status for n in range(3)] == ["finished", "failed", "finished"]
    assert results[1].message == "its worker was killed by SIGKILL (out of memory?), twice"
    assert sum("trying once more" in line for line in notes.said) == 2
    [resume] = read_records(trials[0].paths.log).resumes
    assert resume["from_step"] >= 10


@pytest.mark.slow
def test_a_signal_stops_every_worker_with_a_checkpoint(tmp_path: Path) -> None:
    trials = [make_trial(tmp_path, n, lr=0.1 * (n + 1), steps=100_000) for n in range(3)]
    seen: set[int] = set()

    def stop(trial: Trial, record: Record) -> None:
        seen.add(trial.number)
        if record["kind"] == "train" and record["step"] >= 50 and len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    results: list[TrialResult] = []
    with pytest.raises(Interrupted):
        results.extend(ProcessesExecutor(2).run(trials, Notes(on_record=stop)))
    assert {result.trial.number: result.status for result in results} == {0: "interrupted", 1: "interrupted"}
    for trial in trials[:2]:
        assert trial.paths.last.exists()
        assert (read_records(trial.paths.log).end or {})["status"] == "interrupted"
    assert not trials[2].paths.root.exists()
    assert workers() == []


@pytest.mark.slow
def test_closing_the_generator_checkpoints_what_runs(tmp_path: Path) -> None:
    """As --fail-fast does."""
    trials = [make_trial(tmp_path, 0), make_trial(tmp_path, 1, lr=0.2, steps=100_000)]
    results = ProcessesExecutor(2).run(trials, Notes())
    assert next(iter(results)).status == "finished"
    deadline = time.monotonic() + 60
    while not trials[1].paths.last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    results.close()  # type: ignore[attr-defined]
    assert (read_records(trials[1].paths.log).end or {})["status"] == "interrupted"
    assert workers() == []


DRIVER = """
from pathlib import Path
from helpers.tiny_trials import Notes, make_trial
from dlassign.sweep.processes import ProcessesExecutor
import multiprocessing

def show(trial, record):
    if record["kind"] == "train" and record["step"] == 50:
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)

if __name__ == "__main__":
    trials = [make_trial(Path({out!r}), n, lr=0.1 * (n + 1), steps=10**7) for n in range(2)]
    list(ProcessesExecutor(2).run(trials, Notes(on_record=show)))
"""


@pytest.mark.slow
def test_workers_of_a_killed_driver_write_checkpoints_and_end(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(out=str(tmp_path / "out")))
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment())
    assert driver.stdout is not None
    driver.stdout.readline()
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    driver.kill()
    driver.wait()
    driver.stdout.close()
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    for n in range(2):
        trial = make_trial(tmp_path / "out", n, lr=0.1 * (n + 1), steps=10**7)
        assert trial.paths.last.exists()
        assert (read_records(trial.paths.log).end or {})["status"] == "interrupted"


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_device_that_a_worker_was_dealt_stands_in_no_config(tmp_path: Path) -> None:
    """A run's config must be good on any machine: `evaluate` reads it there."""

    class Pipe:
        def send(self, message: tuple[str, bytes]) -> None:
            sent.append(pickle.loads(message[1]))

    sent: list[Trial] = []
    fixed = make_trial(tmp_path)
    open_ = Trial(number=1, values={}, config=fixed.config.model_copy(update={"device": "auto"}), paths=fixed.paths)
    for device, trial in (("cuda:1", open_), ("cuda:1", fixed), (None, open_)):
        _Worker(process=None, connection=Pipe(), device=device).train(trial)  # type: ignore[arg-type]
    assert [trial.config.device for trial in sent] == ["auto", "cpu", "auto"]


def test_devices_are_dealt_to_workers_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlassign.sweep.processes import _Crew

    class Process:
        def __init__(self, *, kwargs: dict[str, str], **more: object) -> None:
            dealt.append(kwargs["device"])

        def start(self) -> None: ...

    dealt: list[str] = []
    crew = _Crew(3, ("cuda:0", "cuda:1"))
    monkeypatch.setattr(type(crew._context), "Process", Process)
    crew.idle([None] * 3)  # type: ignore[list-item]
    assert dealt == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.slow
def test_threads_are_divided_unless_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlassign.sweep import processes

    monkeypatch.setattr(processes, "usable_cores", lambda: 6)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert threads_used(tmp_path / "a", number=2) == 3
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_used(tmp_path / "b", number=2) == 1


def threads_used(out: Path, number: int) -> int:
    """Return the threads that a run with a large enough step had, as its log says."""
    trial = make_trial(out)
    config = trial.config.model_copy(update={"model": trial.config.model.model_copy(update={"hidden": (4000, 250)})})
    trial = Trial(number=0, values={}, config=config, paths=trial.paths)
    list(ProcessesExecutor(number).run(iter_of(trial), Notes()))
    return int(read_records(trial.paths.log).start["environment"]["threads"])


def iter_of(trial: Trial) -> Iterator[Trial]:
    yield trial
