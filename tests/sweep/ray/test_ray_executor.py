"""Ray: a real cluster of three nodes one of which dies, folders that are not shared, pruning, signals, messages."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlassign.errors import ConfigError, Interrupted, UserError
from dlassign.store.records import Record, read_records
from dlassign.sweep.ray import cluster as ray_cluster
from dlassign.sweep.ray import executor as ray_executor
from dlassign.sweep.ray.executor import RayExecutor
from dlassign.sweep.ray.worker import Token
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.trial import Trial, TrialResult
from helpers.records import without_times
from helpers.tiny_trials import Notes, make_trial

MARK, NODE = "DLASSIGN_TEST_RAY", "DLASSIGN_TEST_NODE"
"""Environment variables by which the processes of a cluster, and of one of its nodes, are known."""


def processes_with(variable: str, value: str) -> list[int]:
    """Return the other living processes that have an environment variable, whoever started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{variable}={value}".encode() in entries and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def open_in(pids: list[int], path: Path) -> bool:
    """Return whether one of the processes has the log of a run open, wherever the run folder lies."""
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if link.readlink().parts[-2:] == path.parts[-2:]:
                    return True
            except OSError:
                continue
    return False


def assert_nothing_is_left(mark: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while processes_with(MARK, mark) and time.monotonic() < end:
        time.sleep(0.1)
    left = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in processes_with(MARK, mark)]
    assert not left


class Nodes:
    """Three nodes of one core each, in processes of their own: a head and two that may die."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quick = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 1000}
        options = {"num_cpus": 1, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={**options, "_system_config": quick})
        self.others = [self.cluster.add_node(num_cpus=1, env_vars={NODE: str(n)}) for n in (1, 2)]
        self.cluster.wait_for_nodes()
        self.address: str = self.cluster.address

    def lose(self, number: int) -> None:
        """End a node as a power cut does: all of its processes at once."""
        for pid in processes_with(NODE, str(number)):
            os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(self.others[number - 1], allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    mark = os.environ[MARK] = uuid.uuid4().hex
    RayExecutor(address="auto", cpus_per_trial=1, gpus_per_trial=0, retries=0)  # imports Ray as a sweep does
    made = Nodes()
    yield made
    assert not list(Path(tempfile.gettempdir()).glob("dlassign-ray-*"))
    made.cluster.shutdown()
    del os.environ[MARK]
    assert_nothing_is_left(mark)


def executor(nodes: Nodes, *, retries: int = 3) -> RayExecutor:
    return RayExecutor(address=nodes.address, cpus_per_trial=1, gpus_per_trial=0, retries=retries)


def what_counts(trial: Trial) -> list[dict[str, Any]]:
    """Return a log as it would be without the resumes, without times."""
    return without_times(read_records(trial.paths.log))


def kinds(trial: Trial) -> Counter[str]:
    lines = [json.loads(line) for line in trial.paths.log.read_text().splitlines() if line.endswith("}")]
    return Counter(line["kind"] for line in lines)


@pytest.mark.extra
def test_a_node_that_dies_in_mid_sweep_costs_no_trial(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {"steps": 800, "eval_every": {"steps": 50}, "log_every": {"steps": 50}}
    there, here = tmp_path / "there", tmp_path / "here"
    trials = [make_trial(there, n, lr=0.02 * (n + 1), **steps) for n in range(11)]
    lost: list[int] = []
    given: list[int] = []
    over: list[int] = []

    def lose(trial: Trial, record: Record) -> None:
        half_way = record["kind"] == "eval" and record["step"] == 200
        if not lost and half_way and open_in(processes_with(NODE, "2"), trial.paths.log):
            lost.append(trial.number)
            nodes.lose(2)

    def lazily() -> Iterator[Trial]:
        for trial in trials:
            assert len(given) - len(over) < 3
            given.append(trial.number)
            yield trial

    notes = Notes(on_record=lose)
    chosen = executor(nodes)
    assert chosen.slots == 3
    for result in chosen.run(lazily(), notes):
        assert result.status == "finished", result.message
        over.append(result.trial.number)
    assert sorted(over) == given == list(range(11))
    assert capsys.readouterr().out == ""
    [victim] = lost
    assert Counter(notes.begun) == Counter([*range(11), victim])
    [line] = [line for line in notes.said if "was lost" in line]
    assert "machine was lost" in line
    assert line.endswith("; trying again (1 of 3)")
    for trial in trials:
        assert kinds(trial)["start"] == kinds(trial)["end"] == 1
    [resume] = read_records(trials[victim].paths.log).resumes
    assert resume["from_step"] >= 150
    alone = [make_trial(here, n, lr=0.02 * (n + 1), **steps) for n in range(11)]
    assert {result.status for result in SerialExecutor().run(alone, Notes())} == {"finished"}
    assert [what_counts(trial) for trial in trials] == [what_counts(trial) for trial in alone]
    assert all((read_records(trial.paths.log).end or {})["weights_sha256"] for trial in trials)


@pytest.mark.extra
def test_folders_are_sent_where_they_are_not_shared(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = Token(path=str(tmp_path / "nowhere"), text="")
    monkeypatch.setattr(ray_executor, "write_token", lambda folder: hidden)
    there, here = tmp_path / "there", tmp_path / "here"
    trials, alone = (
        [make_trial(out, n, lr=lr, steps=60) for n, lr in enumerate((0.05, 0.1, 0.2, 1e30))] for out in (there, here)
    )
    stopped = Notes(prune=lambda trial, record: record["step"] == 30)
    assert [result.status for result in SerialExecutor().run([trials[1]], stopped)] == ["pruned"]
    bad = make_trial(there, 4, lr=0.5)
    bad.paths.log.mkdir(parents=True)
    in_place: list[bool] = []
    notes = Notes(
        prune=lambda trial, record: trial.number == 2 and record["step"] == 20,
        on_record=lambda trial, record: in_place.append(trial.paths.log.exists() and trial.number != 1),
    )
    results = {result.trial.number: result for result in executor(nodes).run([*trials, bad], notes)}
    found = {number: result.status for number, result in results.items()}
    assert found == {0: "finished", 1: "finished", 2: "pruned", 3: "diverged", 4: "failed"}
    assert "Is a directory" in results[4].message
    assert in_place
    assert not any(in_place)
    assert [resume["from_step"] for resume in read_records(trials[1].paths.log).resumes] == [30]
    list(SerialExecutor().run(alone, Notes(prune=lambda trial, record: trial.number == 2 and record["step"] == 20)))
    assert [what_counts(trial) for trial in trials] == [what_counts(trial) for trial in alone]
    assert trials[0].paths.best.exists()
    assert not list(trials[0].paths.root.parent.glob(".tmp-*"))
    before = {trial.number: trial.paths.log.read_text() for trial in (trials[0], trials[3])}
    again = list(executor(nodes).run([trials[0], trials[3]], Notes()))
    assert [result.status for result in again] == ["finished", "diverged"]
    assert {trial.number: trial.paths.log.read_text() for trial in (trials[0], trials[3])} == before


@pytest.mark.extra
@pytest.mark.parametrize("shared", [True, False])
def test_a_signal_stops_every_worker_with_a_checkpoint(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    if not shared:
        monkeypatch.setattr(ray_executor, "write_token", lambda folder: Token(path="/nowhere", text=""))
    chosen = executor(nodes)
    number = chosen.slots
    trials = [make_trial(tmp_path, n, lr=0.1 * (n + 1), steps=10**6) for n in range(number + 1)]
    seen: set[int] = set()

    def stop(trial: Trial, record: Record) -> None:
        if record["kind"] == "eval":  # before its first step a run has nothing to save
            seen.add(trial.number)
        if record["kind"] == "train" and record["step"] >= 50 and len(seen) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    results: list[TrialResult] = []
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted):
        results.extend(chosen.run(trials, Notes(on_record=stop)))
    assert {result.trial.number: result.status for result in results} == dict.fromkeys(range(number), "interrupted")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    for trial in trials[:number]:
        assert trial.paths.last.exists()
        assert (read_records(trial.paths.log).end or {})["status"] == "interrupted"
    assert not trials[number].paths.root.exists()
    assert not list(tmp_path.rglob(".ray-token"))


@pytest.mark.extra
def test_a_cluster_is_started_here_and_nothing_of_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setattr(ray_executor, "write_token", lambda folder: Token(path="/nowhere", text=""))
    kills: list[int] = []

    def kill(trial: Trial, record: Record) -> None:
        if record["kind"] == "train" and record["step"] >= 20 and trial.number == 1 and len(kills) < 2:
            pids = [pid for pid in processes_with(MARK, mark) if open_in([pid], trial.paths.log)]
            kills.extend(pids)
            [os.kill(pid, signal.SIGKILL) for pid in pids]

    notes = Notes(on_record=kill)
    trials = [make_trial(tmp_path, 0), make_trial(tmp_path, 1, lr=0.2, steps=10**6)]
    chosen = RayExecutor(address="local", cpus_per_trial=0.5, gpus_per_trial=0, retries=1)
    results = {result.trial.number: result for result in chosen.run(trials, notes)}
    assert results[0].status == "finished"
    assert results[1].status == "failed"
    assert len(kills) == 2
    assert results[1].message == "its process was killed by SIGKILL (out of memory?), twice"
    assert sum("; trying once more" in line for line in notes.said) == 1
    [resume] = read_records(trials[1].paths.log).resumes
    assert resume["from_step"] >= 10
    assert_nothing_is_left(mark)


@pytest.mark.extra
def test_no_cluster_or_one_that_is_too_small_is_a_message() -> None:
    nobody = RayExecutor(address="127.0.0.1:9", cpus_per_trial=1, gpus_per_trial=0, retries=0)
    assert nobody.why == "the Ray cluster at 127.0.0.1:9, 1 CPU core for a trial, no GPU (gpus_per_trial is 0)"
    with pytest.raises(UserError, match=r"there is no Ray cluster at 127\.0\.0\.1:9 that can be joined"):
        list(nobody.run([], Notes()))
    with pytest.raises(ConfigError, match=r"executor.gpus_per_trial: Ray takes whole numbers above 1, got 1\.5"):
        RayExecutor(address="local", cpus_per_trial=1, gpus_per_trial=1.5, retries=0)


def test_the_message_without_ray_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'dlassign\[ray\]'"):
        RayExecutor(address="auto", cpus_per_trial=1, gpus_per_trial=0, retries=3)


class NoRay:
    """Stands for the module ray where only the sizes of machines count."""

    def __init__(self, *machines: dict[str, float]) -> None:
        self._machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": resources} for resources in self._machines]


@pytest.mark.parametrize(
    ("cpus", "gpus", "holds"), [(1, 0, 6), (0.1, 0, 60), (3, 0, 1), (8, 0, 0), (1, 0.25, 4), (1, 1, 1)]
)
def test_a_trial_does_not_span_machines(cpus: float, gpus: float, holds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = NoRay({"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}, {})
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    assert ray_cluster.Cluster("auto", cpus=cpus, gpus=gpus).holds() == holds


class Broken:
    """Stands for a cluster on which no worker starts."""

    def join(self) -> None: ...

    def leave(self) -> None: ...

    def holds(self) -> int:
        return 1

    def wish(self) -> str:
        return ""

    def hire(self) -> SimpleNamespace:
        return SimpleNamespace(hello=SimpleNamespace(remote=lambda token: object()))

    def ready(self, references: list[object], seconds: float) -> list[object]:
        return references

    def get(self, reference: object) -> None:
        raise ray_cluster.ActorLost("it could not start (No module named 'dlassign')")

    def kill(self, actor: SimpleNamespace) -> None: ...

    def dismiss(self, actors: list[SimpleNamespace]) -> None:
        assert actors == []


def test_workers_that_never_start_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "Cluster", lambda address, cpus, gpus: Broken())
    chosen = RayExecutor(address="auto", cpus_per_trial=1, gpus_per_trial=0, retries=3)
    with pytest.raises(UserError, match=r"no worker starts .*No module named .*is dlassign installed on its machines"):
        list(chosen.run([make_trial(tmp_path)], Notes()))
