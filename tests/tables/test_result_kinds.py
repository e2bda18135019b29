"""Kinds of results, read from logs: collapses, floors, over-fits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dlassign.config.table import Kind
from dlassign.store.records import RunRecords
from dlassign.tables.result_kinds import has_kind

FLOOR = math.log(1 + 9 / math.e)


def log(loss: float, training: float, accuracy: float, **changes: Any) -> RunRecords:
    """Return the log of a run with ten classes and one evaluation of 1,000 test samples."""
    start = {"kind": "start", "data": {"classes": [str(k) for k in range(10)]}, "steps_per_epoch": 10}
    train = {"step": 20, "loss": loss, "accuracy": training, "n": 100, **changes}
    final = {"split": "test", "accuracy": accuracy, "n": 1000, "final": True, "step": 20}
    return RunRecords(start=start, train=[train], evals=[final])


@pytest.mark.parametrize(
    ("records", "kind", "expected"),
    [
        (log(2.3, 0.1, 0.118), "collapses", True),
        (log(2.3, 0.1, 0.12), "collapses", False),
        (log(1.5, 0.95, 0.58), "floors", True),
        (log(1.6, 0.4, 0.4), "floors", False),
        (log(1.4, 0.95, 0.58), "floors", False),
        (log(1.5, 0.95, 0.58, penalty=1.5 - FLOOR + 0.001), "floors", False),
        (log(0.1, 0.95, 0.84), "overfits", True),
        (log(0.1, 0.95, 0.86), "overfits", False),
    ],
)
def test_kinds(records: RunRecords, kind: Kind, expected: bool) -> None:
    assert has_kind(records, kind) is expected


def test_one_class_for_everything_is_a_collapse_whatever_its_share() -> None:
    records = log(1.0, 0.6, 0.6)
    records.start["data"]["classes"] = ["0", "1"]
    records.evals[0]["confusion"] = [[600, 0], [400, 0]]
    assert has_kind(records, "collapses") is True
    records.evals[0]["confusion"] = [[599, 1], [400, 0]]
    assert has_kind(records, "collapses") is False


def test_a_log_without_evaluations_does_not_tell() -> None:
    records = RunRecords(start=log(1, 1, 1).start)
    assert [has_kind(records, kind) for kind in ("collapses", "floors", "overfits")] == [None] * 3
