"""What a run folder says of a run, whatever state it is in."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from dlassign.cli.views.run import result_lines
from dlassign.store.files import hold_lock, is_locked
from dlassign.store.manifest import write_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.summary import finished_records, result_line, summarise
from dlassign.tables.listing import Listing
from helpers.synthetic import make_run


def test_finished_run(tmp_path: Path) -> None:
    paths = make_run(tmp_path, seed=3)
    found = summarise(paths)
    finals = read_records(paths.log).finals
    assert (found.run, found.name, found.seed) == (str(paths.root), "toy", 3)
    assert found.hash == paths.root.name[:8]
    assert (found.status, found.data, found.params, found.steps, found.planned) == (
        "finished", "digits", 7510, 100, 100
    )  # fmt: skip
    assert found.val_accuracy == finals["val"]["accuracy"]
    assert found.test_loss == finals["test"]["loss"]
    best = max(record["accuracy"] for record in read_records(paths.log).evaluations("val"))
    assert found.best == {"step": 100, "metric": "accuracy", "value": best}
    assert found.seconds == pytest.approx(1.0 * 1.3 + 1.7)
    assert (found.test_evaluations, found.test_max, found.mark) == (0, None, "")
    assert found.config["optimizer"]["lr"] == 0.1
    assert found.started == "2026-01-01T10:00:00+00:00"


def test_planned_steps_of_epochs(tmp_path: Path) -> None:
    paths = make_run(tmp_path, steps=60, train={"steps": None, "epochs": 4.0, "metric": "loss"})
    assert summarise(paths).planned == 200


def test_test_during_training_is_marked(tmp_path: Path) -> None:
    paths = make_run(tmp_path, splits=("test",), finals=("test",))
    found = summarise(paths)
    tests = [record["accuracy"] for record in read_records(paths.log).evaluations("test")]
    assert (found.test_evaluations, found.mark) == (10, "max of 10 test evaluations")
    assert found.test_max == max(tests)


def test_a_test_set_that_was_opened_early_is_told_wherever_its_result_is(tmp_path: Path) -> None:
    paths = make_run(tmp_path, splits=("test",), finals=("test",))
    plain = result_line(paths, read_records(paths.log))
    note = {"kind": "note", "step": 40, "about": "test_opened_early", "text": "opened"}
    first, *rest = paths.log.read_text().splitlines()
    paths.log.write_text("\n".join([first, json.dumps(note), *rest]) + "\n")
    found = summarise(paths)
    assert (found.test_opened, found.mark) == (40, "test set opened early, at step 40; max of 10 test evaluations")
    records = read_records(paths.log)
    assert result_line(paths, records) == {**plain, "test_opened": 40}
    assert "test   the test set was opened early, at step 40: what" in "\n".join(
        result_lines(result_line(paths, records), [])
    )
    assert " samples/s)" in next(result_lines(result_line(paths, records), [], noun="samples"))
    listing = Listing([replace(found, mark="opened", test_max=None, test_accuracy=0.5)], datetime.now(UTC))
    _, _, row, _, below = listing.table(listing.runs, ("test",), "markdown").splitlines()
    assert row == "| 50.00 [37, 63]* |"
    assert below.endswith("test opened")


def test_run_without_end_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    paths = make_run(tmp_path, status=None)
    assert summarise(paths).status == "interrupted"
    assert not paths.lock.exists()
    with FileLock(paths.lock):
        assert summarise(paths).status == "running"
    assert summarise(paths).status == "interrupted"
    newest = read_records(paths.log).evaluations("val")[-1]
    assert summarise(paths).val_accuracy == newest["accuracy"]
    best = summarise(paths).best
    assert best is not None
    assert best["value"] == max(r["accuracy"] for r in read_records(paths.log).evaluations("val"))


def test_looking_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".x.lock"
    lock.touch()
    assert not is_locked(lock)
    with FileLock(lock, timeout=0):
        assert is_locked(lock)


@pytest.mark.parametrize("status", ["interrupted", "diverged", "failed"])
def test_status_of_the_end_record(tmp_path: Path, status: str) -> None:
    found = summarise(make_run(tmp_path, status=status, nan_from=50))
    assert (found.status, found.steps) == (status, 50)
    assert found.val_accuracy is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json\n",
        '{"kind":"train","step":1}\n',
        '{"kind":"start","schema":99}\n',
        '{"kind":"start","schema":1}\n',
        '{"kind":"start","schema":1,"config":null,"name":"a","seed":1}\n',
        '{"kind":"start","schema":1,"config":{"train":{}},"name":"a","seed":1,"data":[]}\n',
    ],
)
def test_damaged_folders_are_listed(tmp_path: Path, text: str) -> None:
    paths = RunPaths(tmp_path / "toy" / "0123abcd-s7")
    paths.root.mkdir(parents=True)
    paths.log.write_text(text)
    found = summarise(paths)
    assert (found.status, found.name, found.hash, found.seed) == ("unreadable", "toy", "0123abcd", 7)
    assert str(paths.log) in str(found.reason)


def test_damaged_records_are_listed(tmp_path: Path) -> None:
    paths = make_run(tmp_path, status=None)
    paths.log.write_text('{"kind":"start","schema":1}\n')
    assert summarise(paths).status == "unreadable"


def test_no_log_at_all(tmp_path: Path) -> None:
    assert summarise(RunPaths(tmp_path / "gone")).status == "unreadable"


def test_summary_is_plain(tmp_path: Path) -> None:
    assert asdict(summarise(make_run(tmp_path)))["config"]["seed"] == 0


def test_looking_at_a_run_does_not_keep_another_process_from_training_it(tmp_path: Path) -> None:
    """As `dlassign runs` in a loop does while runs are started."""
    lock = tmp_path / ".a.lock"
    with hold_lock(lock, taken="taken"):
        assert is_locked(lock)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            is_locked(lock)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            with hold_lock(lock, taken="another process is training"):
                pass
    finally:
        done.set()
        for looker in lookers:
            looker.join()
    assert not is_locked(lock)


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_kill_before_the_manifest_is_mended_when_the_run_is_opened(tmp_path: Path, status: str) -> None:
    paths = make_run(tmp_path, status=status)
    write_manifest(paths.manifest, schema=1, status="running", name="toy", seed=0)
    with hold_lock(paths.lock, taken=""):
        assert finished_records(paths) is not None
        assert json.loads(paths.manifest.read_text())["status"] == "running"  # who holds the lock will write it
    assert finished_records(paths) is not None
    assert json.loads(paths.manifest.read_text()) == {"schema": 1, "status": status, "name": "toy", "seed": 0}
    for damaged in ("", "[]", '{"status": 3}'):
        paths.manifest.write_text(damaged)
        assert finished_records(paths) is not None
        assert paths.manifest.read_text() == damaged


def test_a_run_that_contradicts_itself_shows_no_result(tmp_path: Path) -> None:
    paths = make_run(tmp_path, matrix=True)
    honest = summarise(paths)
    final = next(line for line in paths.log.read_text().splitlines() if '"final":true' in line and '"test"' in line)
    forged = final.replace(f'"accuracy":{honest.test_accuracy}', '"accuracy":0.9944')
    paths.log.write_text(paths.log.read_text().replace(final, forged))
    found = summarise(paths)
    assert found.status == "contradicted"
    assert "log.jsonl:63: the accuracy is 99.44 %, by its confusion counts" in (found.reason or "")
    shown = json.dumps({key: value for key, value in asdict(found).items() if key != "reason"})
    assert "0.9944" not in shown
    assert (found.val_accuracy, found.test_accuracy, found.test_loss, found.best, found.seconds) == (None,) * 5
    assert (found.config, found.seed, found.planned) == (honest.config, honest.seed, honest.planned)
    listing = Listing([found], datetime.now(UTC))
    assert listing.text(found, "test") == "-"
