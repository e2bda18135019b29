"""`dlassign export --to csv|tensorboard`: what is read back is what the log says, whole, once, and in place."""

from __future__ import annotations

import csv
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlassign.errors import UserError
from dlassign.store.files import hold_lock
from dlassign.store.paths import RunPaths
from dlassign.trackers import export_log
from dlassign.trackers.csv_file import COLUMNS, FORMER
from dlassign.trackers.run_log import RunLog, read_logs
from helpers.logs import RECORDS, export, write_log


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.chdir(tmp_path)
    return write_log(Path("out/a/0000000a-s0"))


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_each_measurement_once(run: RunPaths) -> None:
    before = run.log.read_bytes()
    assert export("out", "--to", "csv").stdout == "wrote  out/a/0000000a-s0.csv\n"
    rows = rows_of("out/a/0000000a-s0.csv")
    assert tuple(rows[0]) == COLUMNS
    found = [(row["kind"], row["split"], row["step"], row["loss"]) for row in rows]
    assert found == [
        ("train", "train", "1", "2.0"),  # without the penalty
        ("train", "train", "2", "2.0"),  # not the 9.0 that the resume has taken back
        ("eval", "val", "2", "1.5"),
        ("train", "train", "4", "nan"),
        ("final", "test", "4", "1.0"),
    ]
    assert [row["penalty"] for row in rows] == ["1.0", "", "", "", ""]
    assert {row["run"] for row in rows} == {"out/a/0000000a-s0"}
    assert run.log.read_bytes() == before


def test_accuracy_without_samples_that_also_occur_in_train_stands_beside_the_accuracy() -> None:
    leaked = [{**one, "unseen": {"accuracy": 0.25, "n": 8}} if one.get("final") else one for one in RECORDS]
    log = read_logs([write_log(Path("out/c/0000000c-s0"), leaked)])[0]
    assert dict(log.rows[-1].figures()) == {
        "final/test_loss": 1,
        "final/test_accuracy": 0.5,
        "final/test_unseen_accuracy": 0.25,
    }
    export("out/c", "--to", "csv", "--out", "c.csv")
    rows = rows_of("c.csv")
    assert [(row["unseen_accuracy"], row["unseen_n"]) for row in rows] == [("", "")] * 4 + [("0.25", "8")]


def test_where_all_samples_of_test_occur_in_train_there_is_no_accuracy_without_them() -> None:
    leaked = [{**one, "unseen": {"accuracy": None, "n": 0}} if one.get("final") else one for one in RECORDS]
    log = read_logs([write_log(Path("out/c/0000000c-s0"), leaked)])[0]
    assert (log.rows[-1].unseen_accuracy, log.rows[-1].unseen_n) == (None, 0)
    assert "final/test_unseen_accuracy" not in dict(log.rows[-1].figures())


def test_a_table_of_an_earlier_version_is_replaced() -> None:
    Path("t.csv").write_text(",".join(FORMER) + "\n")
    export("out", "--to", "csv", "--out", "t.csv")
    assert len(rows_of("t.csv")) == 5


def test_several_runs_are_one_table_that_is_replaced(run: RunPaths) -> None:
    write_log(Path("out/b/0000000b-s1"))
    export("out", "--to", "csv", "--out", "all.csv")
    first = Path("all.csv").read_bytes()
    assert {row["run"] for row in rows_of("all.csv")} == {"out/a/0000000a-s0", "out/b/0000000b-s1"}
    export("out", "--to", "csv", "--out", "all.csv")
    assert Path("all.csv").read_bytes() == first
    assert export("out", "--to", "csv", "--json").stdout == '{"to": "csv", "runs": 2, "written": ["out/runs.csv"]}\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "--to", "csv", "--to", "onnx"], "is for logs and stands alone"),
        (["out", "--to", "csv", "--weights", "last"], "--weights: for nets alone"),
        (["out", "--to", "csv", "--weights", "best"], "--weights: for nets alone"),
        (["out", "--to", "csv", "--weights", "best", "--set", "a=1"], "--weights, --set: for nets alone"),
        (["out", "out"], "2 runs are given"),
        (["out"], "give the new folder"),
        (["out", "--follow"], "--follow is for logs"),
        (["out", "--to", "wandb", "--follow"], "--follow: W&B lets nothing that it has be replaced"),
    ],
)
def test_options_that_make_no_sense_together(arguments: list[str], message: str) -> None:
    assert message in export(*arguments, code=2).stderr


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("mine.csv", "there is a file that no export has written"),
        ("mine.txt", "expected a folder, or a name that ends in .csv"),
        ("full/x.csv", "cannot create the folder full"),
    ],
)
def test_nothing_of_the_users_own_is_written_over(out: str, message: str) -> None:
    for name in ("mine.csv", "mine.txt", "full"):
        Path(name).write_text("my notes")
    assert message in export("out", "--to", "csv", "--out", out, code=1).stderr
    assert Path("mine.csv").read_text() == "my notes"


def test_a_log_that_cannot_be_read_is_one_message(run: RunPaths) -> None:
    run.log.write_text("rubbish\n")
    assert str(run.log) in export("out", "--to", "csv", code=1).stderr


def test_follow_writes_again_when_a_log_grows_and_ends_with_the_run(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run.log.read_text().splitlines(keepends=True)
    run.log.write_text("".join(lines[:2]))
    monkeypatch.setattr(export_log, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(export_log, "WRITE_SECONDS", 0.0)
    seen: list[int] = []

    def train() -> None:
        table = Path("t.csv")
        with hold_lock(run.lock, taken=""):
            started.set()
            while not table.exists():
                pass
            seen.append(len(rows_of("t.csv")))
            run.log.write_text("".join(lines))

    started = threading.Event()
    training = threading.Thread(target=train)
    training.start()
    started.wait()
    done = export("out", "--to", "csv", "--out", "t.csv", "--follow")
    training.join()
    assert "1 runs, 1 running" in done.stderr
    assert (seen, len(rows_of("t.csv"))) == ([1], 5)


def test_follow_goes_on_after_a_failure_that_passes(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    class Service:
        """Fails at its second export, while the run goes on, which then ends."""

        calls = 0

        def write(self, logs: Sequence[RunLog]) -> list[str]:
            self.calls += 1
            run.log.write_text("".join(lines[: 2 + self.calls]))
            if self.calls == 2:
                raise UserError("the network is gone")
            if self.calls == 3:
                run.log.write_text("".join(lines))
            return ["there"]

    lines = run.log.read_text().splitlines(keepends=True)
    run.log.write_text("".join(lines[:2]))
    monkeypatch.setattr(export_log, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(export_log, "WRITE_SECONDS", 0.0)
    said: list[str] = []
    service = Service()
    with hold_lock(run.lock, taken=""):
        assert export_log.follow_logs(["out"], service, say=said.append) == ["there"]
    assert said == ["1 runs, 1 running; Ctrl-C ends", "the network is gone"]
    assert service.calls == 4
    service.calls = 1
    run.log.write_text("".join(lines[:2]))
    with hold_lock(run.lock, taken=""), pytest.raises(UserError, match="the network is gone"):
        export_log.follow_logs(["out"], service, say=said.append)


@pytest.mark.slow  # reads with TensorBoard itself, which takes seconds to import and comes with the extra `dev` alone
def test_tensorboard_reads_what_the_log_says(run: RunPaths) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    export("out", "--to", "tensorboard")
    [file] = Path("out/a/tensorboard").rglob("events.*")
    export("out", "--to", "tensorboard")
    assert list(Path("out/a/tensorboard").rglob("events.*")) == [file], "an export replaces the one before"
    read = EventAccumulator(str(file.parent))
    read.Reload()
    points = {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    last_step, last_loss = points["loss/train"].pop()
    assert last_step == 4
    assert math.isnan(last_loss)
    assert points["loss/train"] == [(1, 2.0), (2, 2.0)]
    assert points["loss/val"] == [(2, 1.5)]
    assert points["final/test_loss"] == [(4, 1.0)]
    assert points["penalty/train"] == [(1, 1.0)]
    assert [value for _, value in points["lr"]] == pytest.approx([0.1, 0.2, 0.2])
    assert "config/text_summary" in read.Tags()["tensors"] or "config" in read.Tags()["tensors"]
    times = [point.wall_time for point in read.Scalars("lr")]
    assert times == sorted(times)


def test_a_log_that_cannot_be_read_is_left_out_unless_it_is_alone() -> None:
    damaged = Path("out/b/0000000b-s0/log.jsonl")
    damaged.parent.mkdir(parents=True)
    os.mkfifo(damaged)
    done = export("out", "--to", "csv")
    assert done.stderr.startswith(f"warning: left out: cannot read the log {damaged}: ")
    assert {row["run"] for row in rows_of("out/runs.csv")} == {"out/a/0000000a-s0"}
    alone = export("out/b", "--to", "csv", code=1)
    assert alone.stderr.startswith(f"cannot read the log {damaged}: ")
