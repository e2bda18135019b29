"""`--retry` begins a trial anew that cannot go on, and loses nothing of what was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load_sweep import load_sweep
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.sweep import anew
from dlassign.sweep.anew import set_aside_if_damaged
from dlassign.sweep.check_points import check_points
from dlassign.sweep.engine import Outcome, Sweep
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.trial import Trial
from dlassign.train.experiment import only_writer
from helpers.sweep_files import write_sweep


class GivesUp:
    """Gives a trial up at its first evaluation, which leaves a checkpoint behind."""

    def started(self, trial: Trial) -> None:
        pass

    def record(self, trial: Trial, record: Record) -> bool:
        return record["kind"] == "eval"

    def say(self, trial: Trial, text: str) -> None:
        pass


class Lines:
    """A view that keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, trial: Trial | None = None) -> None:
        self.lines.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: None


def sweep_of(path: Path) -> Sweep:
    located = load_sweep(path)
    return Sweep(located, check_points(located), out=path.parent / "out")


def run(path: Path, *, retry: bool) -> tuple[Outcome, list[str]]:
    view = Lines()
    return sweep_of(path).run(SerialExecutor(), view, retry=retry), view.lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_sweep(tmp_path)


@pytest.fixture
def paths(path: Path) -> RunPaths:
    """The folder of a trial that has a checkpoint and is not over."""
    trial = sweep_of(path).trials()[0]
    list(SerialExecutor().run([trial], GivesUp()))
    lines = trial.paths.log.read_text().splitlines(keepends=True)
    trial.paths.log.write_text("".join(lines[:-1]))  # as if killed before its last record
    return trial.paths


def damage(paths: RunPaths) -> None:
    paths.previous.unlink(missing_ok=True)
    paths.last.write_bytes(paths.last.read_bytes()[:-100])


def test_a_damaged_checkpoint(path: Path, paths: RunPaths) -> None:
    damage(paths)
    left = paths.last.read_bytes()
    outcome, _ = run(path, retry=False)
    [failed] = outcome.failed
    assert "is damaged" in failed.message
    outcome, lines = run(path, retry=True)
    assert outcome.failed == []
    aside = paths.root.with_name(f"{paths.root.name}.old-1")
    assert any(line.endswith(f"it begins anew, and what was there is kept in {aside}") for line in lines)
    assert RunPaths(aside).last.read_bytes() == left


def test_what_can_go_on_stays(tmp_path: Path, paths: RunPaths) -> None:
    assert set_aside_if_damaged(RunPaths(tmp_path / "not begun")) == ""
    assert set_aside_if_damaged(paths) == ""
    damage(paths)
    with only_writer(paths):
        assert set_aside_if_damaged(paths) == ""
    assert paths.last.exists()


def test_a_disk_that_fails_is_no_damage(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise UserError("cannot read the log") from OSError(5, "Input/output error")

    monkeypatch.setattr(anew, "read_former", broken)
    with pytest.raises(UserError, match="cannot read the log"):
        set_aside_if_damaged(paths)
    assert paths.last.exists()
