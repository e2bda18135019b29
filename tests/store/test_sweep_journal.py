"""The journal of a sweep: torn tails, searches, results; the driver's lock."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dlassign.errors import UserError
from dlassign.store.json_lines import JsonLines
from dlassign.store.sweep_journal import read_journal
from dlassign.store.sweep_paths import SweepPaths, only_driver


def write(path: Path, *entries: tuple[str, dict[str, Any]]) -> None:
    with closing(JsonLines(path)) as writer:
        for kind, values in entries:
            writer.write(kind, **values)


def plan(search: str, **values: Any) -> tuple[str, dict[str, Any]]:
    return "plan", {"schema": 1, "search": search, "file": {}, "trials": [], **values}


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    journal = read_journal(tmp_path / "sweep.jsonl")
    assert (journal.plan, journal.calls, journal.results) == (None, [], {})


def test_every_cut_of_the_last_line_reads_back_and_can_be_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    write(path, plan("a"), ("ask", {"number": 0, "values": {"x": 1}}), ("tell", {"number": 0, "value": 0.5}))
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        torn = cut not in (last, len(whole) - 1)
        journal = read_journal(path)
        assert [call["kind"] for call in journal.calls] == ["ask"] + ["tell"] * (cut == len(whole) - 1)
        assert len(journal.warnings) == torn
        write(path, ("tell", {"number": 1, "value": None}))
        assert read_journal(path).calls[-1] == {"kind": "tell", "number": 1, "value": None}


def test_calls_of_another_search_do_not_count_but_results_do(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    ask = ("ask", {"number": 0, "values": {}})
    result = ("result", {"run": "r1", "status": "finished"})
    write(path, plan("a"), ask, result, plan("a", trials=["r1"]), ask)
    assert len(read_journal(path).calls) == 2
    write(path, plan("b"))
    journal = read_journal(path)
    assert journal.calls == []
    assert list(journal.results) == ["r1"]


def test_the_newest_result_counts_and_the_order_of_ends_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    pairs = [("b", "failed"), ("a", "interrupted"), ("c", "finished"), ("a", "finished"), ("b", "finished")]
    write(path, *[("result", {"run": run, "status": status}) for run, status in pairs])
    journal = read_journal(path)
    assert journal.ended == ["b", "c", "a"]
    assert {run: entry["status"] for run, entry in journal.results.items()} == dict.fromkeys("abc", "finished")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    write(path, plan("a", schema=2))
    with pytest.raises(UserError, match="schema 2"):
        read_journal(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("result", {"run": [], "status": "finished"}), "run: expected a text, got []"),
        (("result", {"run": "a"}), "status: is missing"),
        (("ask", {"number": 0, "values": 3}), "values: expected an object, got 3"),
        (("tell", {"number": "0", "value": 1.0}), "number: expected a whole number, got '0'"),
        (("report", {"number": 0, "step": 1, "value": "x"}), "value: expected a number or null, got 'x'"),
        (plan("a", trials=[1]), "trials[0]: expected a text, got 1"),
    ],
)
def test_an_entry_of_another_shape_is_one_line(entry: tuple[str, dict[str, Any]], message: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    write(path, plan("a"), entry)
    with pytest.raises(UserError) as caught:
        read_journal(path)
    assert str(caught.value) == f"{path}:2 is damaged: {message}; mend or remove that line"


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with closing(JsonLines(tmp_path / "sweep.jsonl")) as writer:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(UserError, match=r"sweep\.jsonl: no space left on the disk; free some space"):
            writer.write("tell", number=0, value=1.0)


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "grid")
    with (
        only_driver(paths),
        pytest.raises(UserError, match="another process is running the sweep"),
        only_driver(paths),
    ):
        pass
    with only_driver(paths):
        pass
