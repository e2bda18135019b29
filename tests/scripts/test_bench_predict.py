"""bench_predict: both loops tell the same classes, and its table and verdicts follow from the turns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bench_predict as bench


def found(own: list[float], bare: list[float], *, small: float, peak: float) -> dict[str, dict[str, object]]:
    turns = {
        "dlassign": [bench.Turn(seconds, peak) for seconds in own],
        "bare": [bench.Turn(seconds, 900.0) for seconds in bare],
    }
    return {"mlp": {"turns": turns, "small": bench.Turn(1.0, small), "same": 1.0}}


def test_both_loops_tell_the_same_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write_images(tmp_path / "images", 30)
    run = bench.train("mlp", tmp_path).root
    outs = [tmp_path / f"{name}.csv" for name in bench.RUNNERS]
    for name, out in zip(bench.RUNNERS, outs, strict=True):
        bench.child(name, str(run), str(tmp_path / "images" / "new"), str(out))
        seconds, peak = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert seconds > 0
        assert peak > 50
    assert len(outs[0].read_text().splitlines()) == 31
    assert bench.same_labels(*outs) == 1.0


def test_the_ratio_goes_round_by_round() -> None:
    table, bounds = bench.report(found([2.0, 5.0, 4.0], [4.0, 5.0, 2.0], small=800.0, peak=810.0), 1000)
    assert "| mlp | dlassign | 250 [200, 500] | 1.00 [0.50, 2.00] | 800 | 810 | 100.00 % |" in table
    assert [holds for holds, _ in bounds] == [True, True]


def test_bounds() -> None:
    _, bounds = bench.report(found([1.1], [1.0], small=800.0, peak=900.0), 1000)
    assert [holds for holds, _ in bounds] == [False, False]
