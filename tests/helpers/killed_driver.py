"""Drive a sweep in a child process that can be killed. Imported by the children, so it must stay small."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from dlassign.config.load_sweep import load_sweep
from dlassign.store.records import Record
from dlassign.sweep.check_points import check_points
from dlassign.sweep.engine import Sweep
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.standing import Standing
from dlassign.sweep.trial import Trial


class Silent:
    """A view that shows nothing."""

    def begin(self, standings: Iterable[Standing], total: int, *, slots: int) -> None:
        pass

    def started(self, trial: Trial) -> None:
        pass

    def record(self, trial: Trial, record: Record) -> None:
        pass

    def say(self, text: str, trial: Trial | None = None) -> None:
        pass

    def ended(self, standing: Standing) -> None:
        pass


def drive(path: Path, out: Path) -> None:
    located = load_sweep(path)
    outcome = Sweep(located, check_points(located), out=out).run(SerialExecutor(), Silent())
    sys.exit(1 if outcome.failed else 0)
