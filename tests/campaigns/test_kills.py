"""Runs, stacks and sweeps killed at any moment, again and again, end like those that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from dlassign.store.records import read_records
from helpers.children import fork_server
from helpers.crashing import command
from helpers.guarded import TRIED
from helpers.records import without_times
from helpers.sweep_files import without_times as table_without_times

SEEDS = int(os.environ.get("DLASSIGN_SEEDS", "0")) or 2
"""Random draws of each kind of run; scripts/campaign.py raises it."""
FIRST = int(os.environ.get("DLASSIGN_FIRST_SEED", "0"))
KILLS = 3
"""Kills of each, one after the other, before it may come to its end."""
ENDLESS = 120

STOPPING = """
name: stopping
base: tiny.yaml
set: {train.early_stop: {patience: 1}, train.eval_every: {steps: 2}, train.average: {name: ema, decay: 0.9}}
space: {optimizer.lr: [1e-3, 1e-2, 0.1], model.dropout: [0.2]}
seeds: [0, 1]
confirm: {top: 1, seeds: 2}
"""

Undisturbed = Callable[[str], tuple[dict[str, Any], int]]


@dataclass(frozen=True)
class Kind:
    """What is killed: a command line, the folder that it fills, and whether it refuses a folder that is full."""

    line: tuple[str, ...]
    out: str
    once: bool = False


KINDS = {
    "run": Kind(("train", "--config", "tiny.yaml", "--out", "new"), "new"),
    "numpy run": Kind(("train", "--config", "tiny.yaml", "--set", "backend=numpy", "--out", "new"), "new"),
    "run of images": Kind(("train", "--config", "pictures.yaml", "--set", "data.cache=fresh", "--out", "new"), "new"),
    "stack": Kind(("sweep", "--config", "stopping.yaml", "--executor", "stacked", "--out", "new"), "new"),
    "sweep": Kind(("sweep", "--config", "stopping.yaml", "--executor", "serial", "--out", "new"), "new"),
    "search": Kind(("sweep", "--config", "search.yaml", "--out", "new"), "new"),
    "table": Kind(("reproduce", "table.yaml", "--seeds", "2", "--out", "new", "--executor", "serial"), "new"),
    "plot": Kind(("plot", "out/tiny/8e782059-s0", "--output", "new", "--format", "svg"), "new"),
    "model": Kind(("export", "out/tiny/8e782059-s0", "--to", "hf", "--out", "new/model"), "new", once=True),
    "page": Kind(("report", "out", "--output", "new/page.html"), "new"),
}


@pytest.fixture(scope="module")
def fork() -> ForkServerContext:
    context = fork_server("helpers.crashing")
    context.set_forkserver_preload(["helpers.crashing", "dlassign.cli.main", "dlassign.train.experiment"])
    return context


@pytest.fixture(scope="module")
def work(base: Path) -> Path:
    (base / "stopping.yaml").write_text(STOPPING)
    return base


def run(fork: ForkServerContext, kind: Kind, folder: Path, **moment: Any) -> int:
    """Run a command in a child; returns its exit code, or minus the signal that ended it."""
    child = fork.Process(target=command, args=(kind.line, folder), kwargs=moment)
    child.start()
    child.join(ENDLESS)
    if child.exitcode is None:
        child.kill()
        raise AssertionError(f"{' '.join(kind.line)} hung")
    return child.exitcode


def left_by(folder: Path) -> dict[str, Any]:
    """Return what a command left, without times: logs with their digests, tables, and the names of all other files."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "log.jsonl":
            kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
            assert kinds.count("start") == 1, f"{name} began twice"
            found[name] = without_times(read_records(path))
        elif path.name == "table.json" and path.with_name("sweep.jsonl").exists():
            found[name] = table_without_times(json.loads(path.read_text()))
        elif path.is_file() and path.name != "previous.pt":
            found[name] = None
    return found


@pytest.fixture(scope="module")
def undisturbed(fork: ForkServerContext, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return for a kind of command what it leaves when nothing disturbs it, and in how many moments it does that."""
    known: dict[str, tuple[dict[str, Any], int]] = {}

    def find(name: str) -> tuple[dict[str, Any], int]:
        if name not in known:
            folder = tmp_path_factory.mktemp("whole") / "work"
            shutil.copytree(work, folder, symlinks=True)
            assert run(fork, KINDS[name], folder) == 0, Path(f"{folder}.output").read_text()
            moments = json.loads(Path(f"{folder}.count").read_text())
            known[name] = left_by(folder / KINDS[name].out), moments
        return known[name]

    return find


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
@pytest.mark.parametrize("name", KINDS)
def test_a_command_killed_again_and_again(
    name: str, seed: int, fork: ForkServerContext, work: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    whole, moments = undisturbed(name)
    draw = random.Random(f"{name} {seed}")
    folder = tmp_path / "work"
    shutil.copytree(work, folder, symlinks=True)
    killed = []
    while len(killed) < KILLS:
        at = draw.randint(1, moments)
        code = run(fork, KINDS[name], folder, at=at)
        assert code in (0, -signal.SIGKILL), f"after kills at {killed}: {Path(f'{folder}.output').read_text()}"
        if code == 0:  # it had less to do than this, since it went on
            break
        TRIED["kills"] += 1
        killed.append(at)
    assert killed, "it came to its end before the first kill"
    assert run(fork, KINDS[name], folder) == 0, f"after kills at {killed}: {Path(f'{folder}.output').read_text()}"
    assert left_by(folder / KINDS[name].out) == whole, f"after kills at {killed}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
@pytest.mark.parametrize("how", ["full", "read-only", "small files"])
@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_fails_at_any_moment(
    name: str, how: str, seed: int, fork: ForkServerContext, work: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The command says so in plain words, nothing that was there is lost, and with room again it comes to its end."""
    whole, moments = undisturbed(name)
    draw = random.Random(f"{name} {how} {seed}")
    folder = tmp_path / "work"
    shutil.copytree(work, folder, symlinks=True)
    at = draw.choice([0, 100, 1000, 5000]) if how == "small files" else draw.randint(1, moments)
    TRIED["failing disks"] += 1
    code = run(fork, KINDS[name], folder, at=at, how=how)
    output = Path(f"{folder}.output").read_text()
    assert code in (0, 1, 3), f"{how} at {at}: exit code {code}\n{output}"
    assert "Traceback" not in output, f"{how} at {at}\n{output}"
    # With small files the output, a file too, may be cut at its first byte.
    assert code == 0 or output.strip() or how == "small files", f"{how} at {at}: not a word"
    Path(f"{folder}.output").unlink()
    # No trial counts as failed: none needs --retry, no other point is confirmed, and a search is told nothing else.
    if code != 0 or not KINDS[name].once:
        assert run(fork, KINDS[name], folder) == 0, f"{how} at {at}: {Path(f'{folder}.output').read_text()}"
    assert left_by(folder / KINDS[name].out) == whole, f"{how} at {at}"
