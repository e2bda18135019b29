"""The engine: tables, going on, retries, changes of the sweep file, confirmation, faults."""

from __future__ import annotations

import csv
import errno
import math
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load_sweep import load_sweep
from dlassign.errors import Interrupted, UserError
from dlassign.store.records import Record
from dlassign.store.sweep_journal import read_journal
from dlassign.store.sweep_paths import SweepPaths, only_driver
from dlassign.sweep import engine as engine_module
from dlassign.sweep.check_points import check_points
from dlassign.sweep.engine import Outcome, Sweep
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.standing import Standing
from dlassign.sweep.trial import Executor, Strategy, Trial, TrialListener, TrialResult
from helpers.sweep_files import logs, table_of, without_times, write_sweep


class Seen:
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ends: list[Standing] = []
        self.begun: list[str] = []
        self.total = 0

    def begin(self, standings: Iterable[Standing], total: int, *, slots: int) -> None:
        self.total = total

    def started(self, trial: Trial) -> None:
        self.begun.append(trial.paths.root.name)

    def record(self, trial: Trial, record: Record) -> None:
        pass

    def say(self, text: str, trial: Trial | None = None) -> None:
        self.lines.append(text)

    def ended(self, standing: Standing) -> None:
        self.ends.append(standing)


class Failing:
    """Trains in this process, but for trials that it lets fail, or at which it breaks off."""

    slots, why = 1, "for tests"

    def __init__(self, *, fails: Iterable[int] = (), error: BaseException | None = None, at: int = -1) -> None:
        self._fails, self._error, self._at = set(fails), error, at

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        inner = SerialExecutor()
        for trial in trials:
            if trial.number == self._at and self._error is not None:
                raise self._error
            if trial.number in self._fails:
                yield TrialResult(trial=trial, status="failed", message="out of memory")
            else:
                yield from inner.run([trial], listener)


def sweep_of(path: Path, *, strategy: Any = None) -> Sweep:
    located = load_sweep(path)
    return Sweep(located, check_points(located), out=path.parent / "out", strategy=strategy)


def run(path: Path, executor: Executor | None = None, **options: Any) -> tuple[Outcome, Seen]:
    seen = Seen()
    return sweep_of(path).run(executor or SerialExecutor(), seen, **options), seen


def files(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path / "out" / "grid")


def test_the_table_holds_what_the_logs_say(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, seeds=[3, 5, 6], space={"optimizer.lr": [0.01, 0.2, 1e30]})
    outcome, seen = run(path)
    table = table_of(files(tmp_path))
    assert table == outcome.content
    assert (table["schema"], table["name"], table["keys"]) == (1, "grid", ["optimizer.lr"])
    assert table["objective"] == {"split": "val", "metric": "accuracy", "of": "final"}
    found = logs(files(tmp_path))
    for row in table["rows"][:2]:
        values = [found[entry["run"]].finals["val"]["accuracy"] for entry in row["runs"]]
        assert [entry["value"] for entry in row["runs"]] == values
        assert [entry["seed"] for entry in row["runs"]] == [3, 5, 6]
        mean = sum(values) / 3
        half = 4.302652729911275 * math.sqrt(sum((v - mean) ** 2 for v in values) / 2 / 3)  # t, 2 degrees of freedom
        assert row["value"] == pytest.approx(mean, abs=1e-15)
        assert (row["low"], row["high"]) == pytest.approx((max(0.0, mean - half), min(1.0, mean + half)), rel=1e-9)
    assert [(row["rank"], row["status"]) for row in table["rows"]] == [
        (1, "finished"),
        (2, "finished"),
        (3, "diverged"),
    ]
    assert table["rows"][0]["value"] >= table["rows"][1]["value"]
    assert table["rows"][2]["value"] is None
    ended = [entry["ended"] for row in sorted(table["rows"], key=lambda row: row["number"]) for entry in row["runs"]]
    assert ended == list(range(9))
    rows = list(csv.DictReader(files(tmp_path).table_csv.read_text().splitlines()))
    assert [float(row["value"]) for row in rows[:2]] == [row["value"] for row in table["rows"][:2]]
    assert [row["optimizer.lr"] for row in rows][2] == "1e+30"
    assert seen.total == 9


def test_the_loss_is_better_when_it_is_smaller(tmp_path: Path) -> None:
    outcome, _ = run(write_sweep(tmp_path, objective={"metric": "loss"}, space={"optimizer.lr": [1e-6, 0.2]}))
    values = [row["value"] for row in outcome.content["rows"]]
    assert values == sorted(values)
    assert [row["values"]["optimizer.lr"] for row in outcome.content["rows"]] == [0.2, 1e-6]


def test_a_second_run_trains_nothing_and_gives_the_same_table(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    first, _ = run(path)
    second, seen = run(path)
    assert seen.begun == []
    assert second.content == first.content


def test_a_run_that_train_made_is_read(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    trial = sweep_of(path).trials()[1]
    list(SerialExecutor().run([trial], _Nothing()))
    outcome, seen = run(path)
    assert seen.begun == [sweep_of(path).trials()[0].paths.root.name]
    assert {row["status"] for row in outcome.content["rows"]} == {"finished"}


class _Nothing:
    def started(self, trial: Trial) -> None:
        pass

    def record(self, trial: Trial, record: Record) -> bool:
        return False

    def say(self, trial: Trial, text: str) -> None:
        pass


def test_failed_trials_are_listed_and_trained_only_with_retry(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    outcome, seen = run(path, Failing(fails=[0]))
    assert [(failed.trial.number, failed.message) for failed in outcome.failed] == [(0, "out of memory")]
    assert [standing.status for standing in seen.ends] == ["failed", "finished"]
    again, seen = run(path)
    assert seen.begun == []
    assert [failed.message for failed in again.failed] == ["out of memory"]
    retried, seen = run(path, retry=True)
    assert len(seen.begun) == 1
    assert retried.failed == []
    assert {row["status"] for row in retried.content["rows"]} == {"finished"}


def test_a_log_that_cannot_be_read_is_a_failed_trial(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    log = sweep_of(path).trials()[0].paths.log
    log.mkdir(parents=True)
    outcome, seen = run(path)
    assert len(seen.begun) == 1
    assert [failed.message for failed in outcome.failed] == [f"cannot read the log {log}: Is a directory"]
    log.rmdir()
    outcome, _ = run(path, retry=True)
    assert outcome.failed == []


def test_fail_fast_ends_with_the_first_failure(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, space={"optimizer.lr": [0.1, 0.2, 0.3]})
    outcome, seen = run(path, Failing(fails=[1]), fail_fast=True)
    assert len(seen.ends) == 2
    assert [row["status"] for row in outcome.content["rows"]] == ["finished", "failed", "waiting"]


def test_confirms_the_best_on_fresh_seeds(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, space={"optimizer.lr": [1e-4, 0.1, 0.3]}, seeds=[1, 4], confirm={"top": 2, "seeds": 3})
    outcome, seen = run(path)
    assert seen.total == 6 + 6
    top, second, last = outcome.content["rows"]
    assert last["values"] == {"optimizer.lr": 1e-4}
    assert last["confirmed"] is None
    for row in (top, second):
        fresh = [entry for entry in row["runs"] if entry["confirms"]]
        assert [entry["seed"] for entry in fresh] == [0, 2, 3]
        assert row["confirmed"]["value"] == pytest.approx(sum(entry["value"] for entry in fresh) / 3, abs=1e-15)
        own = [entry["value"] for entry in row["runs"] if not entry["confirms"]]
        assert row["value"] == pytest.approx(sum(own) / 2, abs=1e-15)
    better = max((top, second), key=lambda row: row["confirmed"]["value"])
    assert better["confirmed"]["rank"] == 1
    assert {top["confirmed"]["rank"], second["confirmed"]["rank"]} == {1, 2}
    again, seen = run(path)
    assert seen.begun == []
    assert again.content == outcome.content


def test_says_what_a_changed_sweep_file_keeps(tmp_path: Path) -> None:
    run(write_sweep(tmp_path, space={"optimizer.lr": [0.1, 0.2]}))
    outcome, seen = run(write_sweep(tmp_path, space={"optimizer.lr": [0.2, 0.3, 0.4]}))
    assert seen.lines[0] == (
        "the sweep has changed since it ran last (space): 1 trial kept, 2 new, 1 no longer in it (their runs stay)"
    )
    assert len(seen.begun) == 2
    assert [len(outcome.content["rows"]), len(logs(files(tmp_path)))] == [3, 4]
    _, seen = run(write_sweep(tmp_path, space={"optimizer.lr": [0.2, 0.3, 0.4]}, notes="other"))
    assert seen.lines == []
    _, seen = run(write_sweep(tmp_path, space={"optimizer.lr": [0.2, 0.3, 0.4]}, train={"steps": 30}))
    assert seen.lines[0].startswith("the sweep has changed since it ran last (base): 0 trials kept, 3 new, 3 no longer")


def test_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    seen = Seen()

    def stop(trial: Trial, record: Record) -> None:
        if trial.number == 1 and record["kind"] == "eval" and record["step"] == 20:
            os.kill(os.getpid(), signal.SIGINT)

    seen.record = stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="1 of 2 trials have ended; the same command goes on"):
        sweep_of(path).run(SerialExecutor(), seen)
    assert [row["status"] for row in table_of(files(tmp_path))["rows"]] == ["finished", "interrupted"]
    outcome, seen = run(path)
    assert len(seen.begun) == 1
    assert [resume["from_step"] for resume in logs(files(tmp_path))[seen.begun[0]].resumes] == [20]
    assert {row["status"] for row in outcome.content["rows"]} == {"finished"}


def test_a_full_disk_stops_the_sweep_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sweep(tmp_path)
    full = UserError("cannot write the log: no space left on the disk")
    with pytest.raises(UserError, match="no space left"):
        run(path, Failing(error=full, at=1))
    assert [row["status"] for row in table_of(files(tmp_path))["rows"]] == ["finished", "waiting"]
    outcome, seen = run(path)
    assert len(seen.begun) == 1
    assert outcome.failed == []


def test_a_full_disk_under_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sweep(tmp_path)
    write = os.write
    journal = files(tmp_path).journal

    def full(file: int, data: bytes) -> int:
        if Path(f"/proc/self/fd/{file}").readlink() == journal and b'"finished"' in data:
            write(file, data[:20])
            raise OSError(errno.ENOSPC, "no space")
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match=r"sweep\.jsonl: no space left on the disk"):
            run(path)
    outcome, seen = run(path)
    assert len(seen.begun) == 1  # the first had finished, as its own log says
    assert any("not a complete entry" in line for line in seen.lines)
    assert [row["status"] for row in outcome.content["rows"]] == ["finished", "finished"]


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    with only_driver(files(tmp_path)), pytest.raises(UserError, match="another process is running the sweep"):
        run(path)


def test_points_that_come_to_the_same_config_are_trained_once(tmp_path: Path) -> None:
    strategy = Scripted([{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}, {"optimizer.lr": 0.1}])
    seen = Seen()
    outcome = sweep_of(write_sweep(tmp_path), strategy=lambda: strategy).run(SerialExecutor(), seen)
    assert len(seen.begun) == 2
    assert len(outcome.content["rows"]) == 2
    told = dict(strategy.told)
    assert told[2] == told[0]


class Scripted:
    """A strategy that gives certain points and keeps what it was told; prunes at step 20 where it is asked to."""

    def __init__(self, points: list[dict[str, Any]], prunes: Iterable[int] = ()) -> None:
        self._points, self._prunes = points, set(prunes)
        self._asked = 0
        self.told: list[tuple[int, float | None]] = []
        self.reported: list[tuple[int, int]] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        if self._asked == len(self._points):
            return None
        self._asked += 1
        return self._asked - 1, self._points[self._asked - 1]

    def report(self, number: int, step: int, value: float | None) -> bool:
        self.reported.append((number, step))
        return number in self._prunes and step == 20

    def tell(self, number: int, value: float | None) -> None:
        self.told.append((number, value))


POINTS = [{"optimizer.lr": lr} for lr in (0.1, 0.2, 0.3)]


def adaptive(path: Path, strategy: Strategy) -> Sweep:
    sweep = sweep_of(path, strategy=lambda: strategy)
    sweep.known, sweep.prunes = [], True
    return sweep


def test_a_strategy_is_asked_one_point_at_a_time_and_told_each_result(tmp_path: Path) -> None:
    strategy = Scripted(POINTS, prunes=[1])
    outcome = adaptive(write_sweep(tmp_path), strategy).run(SerialExecutor(), Seen())
    statuses = {row["number"]: row["status"] for row in outcome.content["rows"]}
    assert statuses == {0: "finished", 1: "pruned", 2: "finished"}
    assert outcome.content["rows"][2]["status"] == "pruned"
    assert outcome.content["rows"][2]["rank"] == 3
    assert strategy.told == [(0, pytest.approx(_value(outcome, 0))), (1, None), (2, pytest.approx(_value(outcome, 2)))]
    assert strategy.reported == [
        (0, 10),
        (0, 20),
        (0, 30),
        (0, 40),
        (1, 10),
        (1, 20),
        *[(2, s) for s in (10, 20, 30, 40)],
    ]


def _value(outcome: Outcome, number: int) -> float:
    return next(float(row["value"]) for row in outcome.content["rows"] if row["number"] == number)


def test_what_a_killed_driver_asked_and_told_is_repeated(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    whole = adaptive(path, Scripted(POINTS, prunes=[1])).run(SerialExecutor(), Seen())
    calls = read_journal(files(tmp_path).journal).calls
    lines = files(tmp_path).journal.read_text().splitlines(keepends=True)
    places = [n for n, line in enumerate(lines) if '"kind":"session"' not in line and '"kind":"plan"' not in line]
    for place in places:
        files(tmp_path).journal.write_text("".join(lines[:place]))
        strategy = Scripted(POINTS, prunes=[1])
        again = adaptive(path, strategy).run(SerialExecutor(), Seen())
        assert without_times(again.content) == without_times(whole.content)
        asked = [call for call in read_journal(files(tmp_path).journal).calls if call["kind"] != "report"]
        assert asked == [call for call in calls if call["kind"] != "report"]
        assert sorted(strategy.told) == sorted(
            (call["number"], call["value"]) for call in calls if call["kind"] == "tell"
        )


def test_a_strategy_that_chooses_otherwise_is_told(tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    adaptive(path, Scripted(POINTS)).run(SerialExecutor(), Seen())
    with pytest.raises(UserError, match="the strategy chose"):
        adaptive(path, Scripted(POINTS[::-1])).run(SerialExecutor(), Seen())


def test_the_table_is_kept_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_sweep(tmp_path)
    run(path)
    before = files(tmp_path).table_json.read_bytes()

    def full(*args: object) -> None:
        raise UserError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "write_table", full)
        with pytest.raises(UserError, match="no space left"):
            run(path)
    assert files(tmp_path).table_json.read_bytes() == before


def test_more_trials_of_a_search_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"low": 0.01, "high": 0.2}}
    path = write_sweep(tmp_path, space=space, strategy={"name": "tpe", "trials": 2, "startup": 2})
    first, _ = run(path)
    path = write_sweep(tmp_path, space=space, strategy={"name": "tpe", "trials": 3, "startup": 2})
    second, seen = run(path)
    assert len(seen.begun) == 1, "two of three are there"
    assert {row["point"] for row in first.content["rows"]} < {row["point"] for row in second.content["rows"]}
    assert not any("begins anew" in line for line in seen.lines)


def test_equal_values_rank_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Networks that all predict one class have equal accuracies; means over seeds may differ in their last bit."""
    path = write_sweep(tmp_path, seeds=[0, 1, 2], space={"optimizer.lr": [3e-12, 2e-12, 1e-12]}, train={"steps": 1})
    outcome, _ = run(path)
    rows = outcome.content["rows"]
    assert len({round(row["value"], 12) for row in rows}) == 1
    assert [row["values"]["optimizer.lr"] for row in rows] == [3e-12, 2e-12, 1e-12]
    assert [row["rank"] for row in rows] == [1, 1, 1]


def test_points_that_are_confirmed_alike_share_a_rank(tmp_path: Path) -> None:
    space = {"optimizer.lr": [3e-12, 2e-12, 0.1]}
    path = write_sweep(tmp_path, space=space, train={"steps": 1}, confirm={"top": 3, "seeds": 1})
    rows = run(path)[0].content["rows"]
    ranks = {row["values"]["optimizer.lr"]: row["confirmed"]["rank"] for row in rows}
    assert ranks[3e-12] == ranks[2e-12]
    assert {*ranks.values()} in ({1, 2}, {1, 3}, {1})


def test_points_that_come_to_the_same_run_are_told(tmp_path: Path) -> None:
    """One of them writes a default out; the second was left out without a word."""
    adam = {"name": "adam", "lr": 0.01}
    path = write_sweep(tmp_path, space={"optimizer": [adam, {**adam, "eps": 1e-8}]})
    [told] = sweep_of(path).same_points()
    assert told == (
        "point 1 ({optimizer: {name: adam, lr: 0.01, eps: 1e-08}}) is the same run as point 0 ({optimizer: {name: "
        "adam, lr: 0.01}}), so it is trained and ranked once"
    )


def test_a_trial_that_never_began_is_not_shown_as_ended(tmp_path: Path) -> None:
    class Refused:
        slots, why = 1, "for tests"

        def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
            for trial in trials:
                yield TrialResult(trial=trial, status="interrupted")

    _, seen = run(write_sweep(tmp_path), Refused())
    assert seen.ends == []
