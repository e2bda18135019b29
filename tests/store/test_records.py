"""The log: what is written comes back, whatever moment the writer was killed at."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import SCHEMA, MetricsWriter, Record, former_records, read_records
from dlassign.store.summary import finished_records, precision, result_line
from dlassign.store.summary import test_maximum as maximum_on_test

START = {
    "schema": SCHEMA,
    "time": "2026-01-01T10:00:00Z",
    "name": "a",
    "seed": 0,
    "config": {"seed": 0, "train": {"steps": 9, "epochs": None, "metric": "accuracy"}},
    "n_params": 3,
    "data": {"label": "digits ß", "sha256": "ab"},
}


def write(path: Path, *records: tuple[str, dict[str, Any]]) -> None:
    writer = MetricsWriter(path)
    for kind, values in records:
        writer.write(kind, **values)  # type: ignore[arg-type]
    writer.close()


def train(step: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return "train", {"step": step, "loss": 1 / step, "accuracy": 0.1 * step, "n": 32, **more}


def evaluation(step: int, split: str = "val", **more: Any) -> tuple[str, dict[str, Any]]:
    return "eval", {"step": step, "split": split, "loss": 0.5, "accuracy": 0.25, "n": 4, **more}


def end(status: str = "finished", **more: Any) -> tuple[str, dict[str, Any]]:
    return "end", {"status": status, "steps": 9, "seconds": {"total": 1.5}, **more}


def chained(log: Path, written: Sequence[tuple[str, dict[str, Any]]]) -> list[Record]:
    """Return records as the last lines of a log hold them: each with the beginning of the digest of what is before."""
    lines = log.read_bytes().splitlines(keepends=True)
    first = len(lines) - len(written)
    before = [sha256(b"".join(lines[: first + place])).hexdigest()[:16] for place in range(len(written))]
    return [{"kind": kind, **values, "chain": chain} for (kind, values), chain in zip(written, before, strict=True)]


def steps(records: list[Record]) -> list[int]:
    return [record["step"] for record in records]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_records_come_back_in_order(log: Path) -> None:
    written = [("start", START), train(1), evaluation(1), train(2), evaluation(2, "test", final=True), end()]
    write(log, *written)
    first, *rest = chained(log, written)
    found = read_records(log)
    assert found.start == first
    assert found.train == [rest[0], rest[2]]
    assert found.evaluations("val") == [rest[1]]
    assert found.evaluations("test") == []
    assert found.finals == {"test": rest[3]}
    assert found.end == rest[4]
    assert (found.resumes, found.warnings) == ([], [])


@pytest.mark.parametrize("torn", [b"", b'{"kind":"train","st', b"\n\n"])
def test_the_chain_goes_on_over_what_a_killed_process_left(torn: bytes, log: Path) -> None:
    write(log, ("start", START), train(1))
    log.write_bytes(log.read_bytes() + torn)
    more = [("resume", {"from_step": 1}), train(2)]
    write(log, *more)
    found = read_records(log)
    assert [*found.resumes, found.train[-1]] == chained(log, more)


def test_a_full_disk_breaks_no_chain(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a record is on the disk when it is full; the next session begins after it."""
    write(log, ("start", START))
    real, calls = os.write, 0

    def full(file: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, "")
        return real(file, data[: len(data) // 2])

    writer = MetricsWriter(log)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(UserError, match="no space left"):
            writer.write("train", **train(1)[1])
    # The same writer, too: a run that ends after a failed record writes its last one.
    assert writer.chain == sha256(log.read_bytes()).hexdigest()[:16]
    writer.close()


def test_a_fork_of_the_training_process_writes_nothing(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = MetricsWriter(log)
    writer.write("start", **START)
    before = log.read_bytes()
    child = os.fork()
    if child == 0:
        writer.write("train", **train(1)[1])
        os._exit(0)  # not reached
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert log.read_bytes() == before
    assert "a fork of the training process must not train on" in capfd.readouterr().err
    writer.write("train", **train(1)[1])
    assert steps(read_records(log).train) == [1]
    writer.close()


def test_a_line_is_one_record_of_standard_json(log: Path) -> None:
    write(log, ("start", START), train(1, note="two\nlines\u2028three\x85"))
    lines = log.read_bytes().split(b"\n")
    assert len(lines) == 3
    assert lines[-1] == b""
    assert json.loads(lines[1])["note"] == "two\nlines\u2028three\x85"
    assert read_records(log).train[0]["note"] == "two\nlines\u2028three\x85"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_and_named(bad: float, log: Path) -> None:
    write(log, ("start", START), train(1), ("train", {"step": 2, "loss": bad, "penalty": bad, "accuracy": 0.5}))
    text = log.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = read_records(log).train
    assert "nonfinite" not in found[0]
    assert (found[1]["loss"], found[1]["penalty"], found[1]["accuracy"]) == (None, None, 0.5)
    assert found[1]["nonfinite"] == ["loss", "penalty"]


def test_numbers_come_back_bit_for_bit(log: Path) -> None:
    values = [0.1 + 0.2, 1e-300, 5e-324, 1 / 3, 1.7976931348623157e308]
    write(log, ("start", START), *(train(i + 1, loss=value) for i, value in enumerate(values)))
    assert [record["loss"] for record in read_records(log).train] == values


def test_every_record_is_shown_after_it_was_written(log: Path) -> None:
    shown: list[tuple[str, int]] = []
    writer = MetricsWriter(log, on_record=lambda record: shown.append((record["kind"], log.stat().st_size)))
    writer.write("start", **START)
    first = log.stat().st_size
    writer.write("end", status="finished")
    writer.sync()
    writer.close()
    assert shown == [("start", first), ("end", log.stat().st_size)]


def test_a_torn_last_line_is_skipped_and_reported(log: Path) -> None:
    write(log, ("start", START), train(1), train(2))
    log.write_bytes(log.read_bytes()[:-9])
    found = read_records(log)
    assert steps(found.train) == [1]
    (warning,) = found.warnings
    assert warning.startswith(f"{log}:3: not a complete record")


def test_the_next_writer_closes_a_torn_line(log: Path) -> None:
    write(log, ("start", START), train(1), train(2))
    torn = log.read_bytes()[:-9]
    log.write_bytes(torn)
    write(log, ("resume", {"from_step": 1}), train(2, loss=7.0))
    assert log.read_bytes().startswith(torn + b"\n{")
    found = read_records(log)
    assert steps(found.train) == [1, 2]
    assert found.train[1]["loss"] == 7.0
    assert [record["from_step"] for record in found.resumes] == [1]
    assert len(found.warnings) == 1


def test_only_the_line_break_is_missing(log: Path) -> None:
    write(log, ("start", START), train(1))
    log.write_bytes(log.read_bytes()[:-1])
    write(log, train(2))
    assert steps(read_records(log).train) == [1, 2]
    assert read_records(log).warnings == []


def test_a_resume_drops_what_came_after_its_step(log: Path) -> None:
    write(
        log,
        ("start", START),
        *(train(step) for step in (10, 20, 30)),
        evaluation(20),
        evaluation(30),
        evaluation(20, final=True),
        end("interrupted"),
        ("resume", {"from_step": 20}),
        train(30, loss=3.0),
        evaluation(30, accuracy=0.75),
    )
    found = read_records(log)
    assert [(record["step"], record["loss"]) for record in found.train] == [(10, 0.1), (20, 0.05), (30, 3.0)]
    assert [(record["step"], record["accuracy"]) for record in found.evaluations("val")] == [(20, 0.25), (30, 0.75)]
    assert found.finals == {}
    assert found.end is None


def test_a_resume_from_the_start_drops_everything(log: Path) -> None:
    write(log, ("start", START), train(10), evaluation(10), ("resume", {"from_step": 0}))
    found = read_records(log)
    assert (found.train, found.evals, found.end) == ([], [], None)


def test_statistics_are_read_and_dropped_by_a_resume(log: Path) -> None:
    looks = [
        ("statistics", {"step": step, "n": 4, "loss": 1.0, "gradients": {"w": 0.5}, "weights": {"w": 2.0}, "idle": {}})
        for step in (10, 20)
    ]
    write(log, ("start", START), *looks)
    assert steps(read_records(log).statistics) == [10, 20]
    write(log, ("resume", {"from_step": 10}))
    assert steps(read_records(log).statistics) == [10]


def test_final_records_of_a_resumed_finish_count_once(log: Path) -> None:
    """Killed between the final evaluations and the end: the next session evaluates again."""
    final = evaluation(20, "test", final=True)
    write(log, ("start", START), train(20), final, ("resume", {"from_step": 20}), final, end())
    found = read_records(log)
    assert len(found.evals) == 1
    assert list(found.finals) == ["test"]


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, None, "1"])
def test_another_schema_is_refused(schema: Any, log: Path) -> None:
    write(log, ("start", {**START, "schema": schema}), train(1))
    with pytest.raises(UserError, match=rf"log schema {schema}, this version of dlassign reads {SCHEMA}"):
        read_records(log)


WRONG = {
    "config: is missing": ("start", {"config": ...}),
    "time: is missing": ("start", {"time": ...}),
    "data: expected an object, got 7": ("start", {"data": 7}),
    "config.train: expected an object, got []": ("start", {"config": {"seed": 0, "train": []}}),
    "arithmetic.precision: is missing": ("start", {"arithmetic": {}}),
    "arithmetic.compile: expected true or false, got 'x'": (
        "start",
        {"arithmetic": {"precision": "fp32", "compile": "x"}},
    ),
    "n_params: expected a whole number, got 1.5": ("start", {"n_params": 1.5}),
    "loss: expected a number or null, got 'x'": ("train", {"loss": "x"}),
    "loss: expected a number or null, got True": ("train", {"loss": True}),
    "step: expected a whole number, got None": ("eval", {"step": None}),
    "split: expected a text, got {}": ("eval", {"split": {}}),
    "confusion[0][1]: expected a whole number, got 'a'": ("eval", {"confusion": [[1, "a"]]}),
    "accuracy: expected a finite number, got inf": ("eval", {"accuracy": math.inf}),
    "step: expected a count from 0 to below 2**63, got -3": ("train", {"step": -3}),
    "n: expected a count from 0 to below 2**63, got 9223372036854775808": ("eval", {"n": 2**63}),
    "seconds.total: expected a number, got None": ("end", {"seconds": {"total": None}}),
    "seconds: expected an object, got 3": ("end", {"seconds": 3}),
    "best.step: is missing": ("end", {"best": {"metric": "loss", "value": 1.0}}),
    "chosen: expected an object, got 'best'": ("end", {"chosen": "best"}),
    "about: expected a text, got []": ("note", {"about": []}),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_record_of_another_shape_is_one_line_for_every_reader(message: str, log: Path) -> None:
    kind, change = WRONG[message]
    note = ("note", {"step": 1, "about": "one_class", "text": "all are cats"})
    records = {
        name: {"kind": name, **values} for name, values in (("start", START), train(1), evaluation(1), note, end())
    }
    records[kind] = {key: value for key, value in {**records[kind], **change}.items() if value is not ...}
    log.write_text("".join(json.dumps(record) + "\n" for record in records.values()))
    line = list(records).index(kind) + 1
    with pytest.raises(UserError) as caught:
        read_records(log)
    assert str(caught.value).startswith(f"{log}:{line} is damaged: {message}; mend that line, or move ")


def test_a_pipe_in_place_of_a_log_is_refused_and_not_waited_for(log: Path) -> None:
    os.mkfifo(log)
    with pytest.raises(UserError, match=r"cannot read the log .*no ordinary file"):
        read_records(log)


@pytest.mark.parametrize("content", ["", "\n\n", '{"kind":"start","sch', "hello\n", "[1]\n", '{"step":1}\n', "null\n"])
def test_no_complete_record(content: str, log: Path) -> None:
    log.write_text(content)
    with pytest.raises(UserError, match="holds no complete record"):
        read_records(log)


def test_something_before_the_start_record(log: Path) -> None:
    write(log, train(1), ("start", START))
    with pytest.raises(UserError, match="does not begin with a start record"):
        read_records(log)


def test_no_log(log: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the log .*: it is not there; put the log back"):
        read_records(log)


def test_a_log_that_cannot_be_opened(log: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*missing/log\.jsonl: No such file"):
        MetricsWriter(log.parent / "missing" / "log.jsonl")


@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_a_full_disk_is_told(operation: str, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MetricsWriter(log)

    def fail(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(UserError, match=r"cannot write .*no space left on the disk"):
        writer.write("start", **START) if operation == "write" else writer.sync()
    monkeypatch.undo()
    writer.close()


def test_a_short_write_is_gone_on_with(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write_all(handle, data[:7]))
    write(log, ("start", START), train(1))
    monkeypatch.undo()
    assert steps(read_records(log).train) == [1]


WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("start", START),
    *(train(step) for step in range(1, 4)),
    evaluation(3),
    ("resume", {"from_step": 2}),
    train(3, loss=9.0),
    evaluation(3, "test", final=True),
    end(),
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_cut_at_any_byte_it_reads_back(data: Any) -> None:
    """A cut log holds the records that are complete; a writer that comes after loses none of its own."""
    with tempfile.TemporaryDirectory() as name:
        log, expected_log = Path(name) / "log.jsonl", Path(name) / "expected.jsonl"
        write(log, *WHOLE)
        raw = log.read_bytes()
        lines = raw.split(b"\n")[:-1]
        # At or past the last character of the start record: before that there is nothing to read.
        cut = data.draw(st.integers(len(lines[0]), len(raw)))
        ends = [sum(len(line) + 1 for line in lines[: i + 1]) - 1 for i in range(len(lines))]
        complete = sum(cut >= end for end in ends)
        write(expected_log, *WHOLE[:complete])
        expected = read_records(expected_log)

        log.write_bytes(raw[:cut])
        found = read_records(log)
        assert (found.start, found.train, found.evals, found.end) == (
            expected.start,
            expected.train,
            expected.evals,
            expected.end,
        )
        assert len(found.warnings) == (cut not in ends and cut - 1 not in ends)

        write(log, ("resume", {"from_step": 1}), train(2, loss=5.0))
        continued = read_records(log)
        assert [record["loss"] for record in continued.train] == [1.0, 5.0][-1 - (complete > 1) :]
        assert continued.end is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cut_inside_the_start_record_a_new_start_is_written(data: Any) -> None:
    """Killed while the very first record was written: the next session must begin, not refuse the folder for ever."""
    with tempfile.TemporaryDirectory() as name:
        paths = RunPaths(Path(name))
        write(paths.log, ("start", START))
        raw = paths.log.read_bytes()
        paths.log.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 2))])
        assert former_records(paths.log) is None
        assert finished_records(paths) is None
        MetricsWriter(paths.log).close()  # closes the torn line
        assert former_records(paths.log) is None
        assert finished_records(paths) is None
        write(paths.log, ("start", START), train(1))
        assert former_records(paths.log) is not None
        assert steps(read_records(paths.log).train) == [1]


def test_whether_a_run_has_begun(log: Path) -> None:
    assert former_records(log) is None
    write(log, ("start", START))
    assert former_records(log) is not None


@pytest.mark.parametrize(("status", "over"), [("finished", True), ("diverged", True), ("interrupted", False)])
def test_which_runs_are_over(status: str, over: bool, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert finished_records(paths) is None
    write(paths.log, ("start", START))
    assert finished_records(paths) is None
    write(paths.log, end(status))
    assert (finished_records(paths) is not None) is over
    write(paths.log, ("resume", {"from_step": 0}))
    assert finished_records(paths) is None


def test_result_of_a_finished_run(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    final = evaluation(8, "test", final=True, loss=0.125, accuracy=0.5)
    more = {"images_per_second": 7.0, "weights_sha256": "ab", "chosen": {"weights": "best", "step": 8}}
    write(paths.log, ("start", {**START, "steps": 20}), train(9), final, end(**more))
    assert result_line(paths, read_records(paths.log)) == {
        "run": str(tmp_path),
        "status": "finished",
        "steps": 9,
        "planned": 20,
        "n_params": 3,
        "seconds": 1.5,
        "precision": None,
        "precision_why": None,
        "train": {"step": 9, "loss": 1 / 9, "accuracy": 0.1 * 9, "n": 32},
        "val": None,
        "test": {"loss": 0.125, "accuracy": 0.5, "n": 4},
        "data": "digits ß",
        **more,
    }


def test_result_with_arithmetic_and_test_time_augmentation(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    arithmetic = {"precision": "bf16", "why": "as the config says", "channels_last": True, "compile": False}
    views = ("tta", {"step": 8, "split": "test", "loss": 0.1, "accuracy": 0.75, "n": 4, "views": 6, "wall": 1.0})
    start = ("start", {**START, "arithmetic": arithmetic})
    write(paths.log, start, evaluation(8, "test", final=True), views, end())
    found = result_line(paths, read_records(paths.log))
    assert (found["precision"], found["precision_why"]) == ("bf16", "as the config says")
    arithmetic["why"] = "auto: convolutions on a CPU with avx512_bf16"
    other = tmp_path / "other.jsonl"
    write(other, start, ("resume", {"from_step": 0}), evaluation(8, "test", final=True), views, end())
    why = result_line(paths, read_records(other))["precision_why"]
    assert why == "auto: convolutions on a CPU with avx512_bf16, where it began"
    assert found["test_tta"] == {"loss": 0.1, "accuracy": 0.75, "n": 4, "views": 6}
    assert "val_tta" not in found
    write(paths.log, ("resume", {"from_step": 8}))
    assert "test_tta" not in result_line(paths, read_records(paths.log))


def test_precision_of_an_earlier_version_is_that_of_its_config() -> None:
    assert precision({"config": {"train": {"precision": "fp64"}}}) == "fp64"
    assert precision({"config": {"train": {"precision": "auto"}}, "arithmetic": {"precision": "fp32"}}) == "fp32"


def test_result_of_a_killed_run(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    write(paths.log, ("start", START), train(4))
    found = result_line(paths, read_records(paths.log))
    assert (found["status"], found["steps"], found["seconds"], found["test"]) == ("interrupted", 4, None, None)


def test_maximum_over_test_evaluations_during_training(log: Path) -> None:
    accuracies = [0.5, 0.75, 0.75, math.nan]
    evaluations = [evaluation(i, "test", accuracy=a) for i, a in enumerate(accuracies, 1)]
    write(log, ("start", START), *evaluations, evaluation(1, "test", final=True, accuracy=1.0))
    assert maximum_on_test(read_records(log)) == {"accuracy": 0.75, "n": 4, "step": 2, "evaluations": 3}
