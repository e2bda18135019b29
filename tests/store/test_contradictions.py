"""What a log says and cannot be, found without torch; tests/verify plants the forgeries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlassign.store.contradictions import contradictions
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import MetricsWriter, former_records, read_records
from helpers.logs import RECORDS, write_log

OLD = sorted(find_runs(Path(__file__).parents[1] / "old_runs" / "out"), key=str)


def found(log: Path) -> list[str]:
    return [one.kind for one in contradictions(read_records(log), log)]


@pytest.mark.parametrize("paths", OLD, ids=lambda paths: paths.root.name)
def test_logs_of_earlier_versions_contradict_nothing(paths: RunPaths) -> None:
    assert found(paths.log) == []


def test_a_log_without_a_chain_goes_on_with_one(tmp_path: Path) -> None:
    paths = write_log(tmp_path / "run", RECORDS[:3])
    writer = MetricsWriter(paths.log)
    writer.write("resume", from_step=1, time="2026-01-01T01:00:00Z")
    writer.write("train", step=2, loss=1.0, epoch=1.0)
    writer.close()
    assert found(paths.log) == []
    paths.log.write_bytes(paths.log.read_bytes().replace(b'"loss": 3.0', b'"loss": 2.9'))
    assert found(paths.log) == ["chain"]


def test_a_torn_line_is_part_of_the_chain(tmp_path: Path) -> None:
    paths = write_log(tmp_path / "run", RECORDS[:2])
    paths.log.write_bytes(paths.log.read_bytes() + b'{"kind":"train","ste')
    writer = MetricsWriter(paths.log)
    writer.write("resume", from_step=1, time="2026-01-01T01:00:00Z")
    writer.close()
    records = read_records(paths.log)
    assert len(records.warnings) == 1
    assert found(paths.log) == []


def test_a_log_that_grows_meanwhile_contradicts_nothing(tmp_path: Path) -> None:
    paths = write_log(tmp_path / "run", RECORDS[:3])
    records = former_records(paths.log)
    assert records is not None
    paths.log.write_text(paths.log.read_text() + json.dumps(RECORDS[3]) + "\n")
    assert contradictions(records, paths.log) == []


@pytest.mark.parametrize(
    ("unseen", "kinds"),
    [
        ({"accuracy": 1 / 3, "n": 3}, []),  # the one that is left out is right
        ({"accuracy": 2 / 3, "n": 3}, []),  # it is wrong
        ({"accuracy": None, "n": 0}, []),
        ({"accuracy": 1.0, "n": 3}, ["accuracy"]),
        ({"accuracy": 0.0, "n": 3}, ["accuracy"]),
        ({"accuracy": 0.5, "n": 4}, ["counts"]),
        ({"accuracy": 0.5, "n": 9}, ["counts"]),
    ],
)
def test_an_accuracy_without_leaks_fits_that_of_all(tmp_path: Path, unseen: dict[str, Any], kinds: list[str]) -> None:
    more = {"final": True, "accuracy": 0.5, "n": 4, "unseen": unseen}
    record = {"kind": "eval", "step": 2, "epoch": 1.0, "split": "val", "loss": 1.0, **more}
    assert found(write_log(tmp_path / "run", [RECORDS[0], record]).log) == kinds
