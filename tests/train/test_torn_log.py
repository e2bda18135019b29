"""A torn last line of a log is completed where the checkpoint proves it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlassign.store.contradictions import contradictions
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, read_records
from dlassign.train.checkpoint import weights_sha256
from dlassign.train.experiment import run_experiment
from dlassign.train.learner import State
from dlassign.train.torn_log import complete_torn
from helpers.tiny_trials import make_trial


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, State]:
    """A log that ends with the record of a checkpoint, and what of the checkpoint counts here."""
    model = {"w": torch.ones(3)}
    log = MetricsWriter(tmp_path / "log.jsonl")
    log.write("train", step=10, loss=1.0)
    log.write("checkpoint", step=10, file="last", weights_sha256=weights_sha256(model))
    state = {"step": 10, "learner": {"model": model}, "chain": log.chain}
    log.close()
    return tmp_path / "log.jsonl", state


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_record_is_completed_to_the_byte(saved: tuple[Path, State], cut: int) -> None:
    log, state = saved
    whole = log.read_bytes()
    log.write_bytes(whole[:-cut])
    assert complete_torn(log, state)
    assert log.read_bytes() == whole
    assert not complete_torn(log, state)  # nothing is missing now


def test_a_record_that_is_gone_with_all_its_bytes(saved: tuple[Path, State]) -> None:
    log, state = saved
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.index(b"\n") + 1])
    assert complete_torn(log, state)
    assert log.read_bytes() == whole


@pytest.mark.parametrize("change", ["earlier line", "torn line", "weights", "step", "no chain", "later line"])
def test_nothing_else_is_completed(saved: tuple[Path, State], change: str) -> None:
    log, state = saved
    torn = log.read_bytes()[:-20]
    match change:
        case "earlier line":
            torn = torn.replace(b'"loss":1.0', b'"loss":0.1')
        case "torn line":
            torn = torn.replace(b'"file":"last"', b'"file":"best"')
        case "weights":
            state["learner"]["model"]["w"] = torch.zeros(3)
        case "step":
            state["step"] = 11
        case "no chain":
            del state["chain"]
        case "later line":
            torn = log.read_bytes() + b'{"kind":"resume"'
    log.write_bytes(torn)
    assert not complete_torn(log, state)
    assert log.read_bytes() == torn


def test_a_run_goes_on_and_verify_finds_nothing(tmp_path: Path) -> None:
    """As it was found: killed, and 20 bytes of its last record lost."""
    trial = make_trial(tmp_path, 0, lr=0.1, steps=20)
    paths = RunPaths(trial.paths.root)
    run_experiment(trial.config, paths, prune=lambda record: record["kind"] == "eval")
    lines = paths.log.read_bytes().splitlines(keepends=True)
    del lines[-1]  # its end
    said: list[str] = []
    paths.log.write_bytes(b"".join(lines)[:-20])
    run_experiment(trial.config, paths, say=said.append)
    assert "the log lacked its last line, the record of the checkpoint, and has it again" in said
    assert list(contradictions(read_records(paths.log), paths.log)) == []


def test_a_run_without_a_checkpoint_says_that_it_starts_again(tmp_path: Path) -> None:
    trial = make_trial(tmp_path, 0, lr=0.1, steps=20)
    paths = RunPaths(trial.paths.root)
    run_experiment(trial.config, paths, prune=lambda record: record["kind"] == "eval")
    paths.log.write_bytes(paths.log.read_bytes().splitlines(keepends=True)[0])
    for file in paths.checkpoints.glob("*.pt"):
        file.unlink()
    said: list[str] = []
    run_experiment(trial.config, paths, say=said.append)
    assert "no checkpoint was written before it was stopped: it starts again at step 0" in said
