"""The script prints what the solver of HLCV exercise 2 printed for both reports, figure by figure."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import hlcv_printouts as printouts

PAGE = Path(__file__).parents[2] / "docs" / "results" / "hlcv_printouts.md"
ROW, NOTHING, ALL = printouts.SHIFTS
# Written out from the reports, not read from the script: what both print, and the way to write softmax that gives it.
PRINTED = (
    ("scores", ROW, 2.9173411603133914e-08, 1e-6),
    ("loss", ALL, 1.7963408538435033e-13, 1e-2),  # the loss's last bit is 2.2e-16, a part of 800; some of them
    ("W1", ROW, 3.561318e-09, 0.1),  # the order in which a library adds moves rounding errors by some percent
    ("W2", ROW, 3.440708e-09, 0.1),
    ("b1", NOTHING, 2.738422e-09, 0.1),
    ("b2", NOTHING, 4.447667e-11, 0.1),
    ("b2", ALL, 3.865070e-11, 0.1),
)
LOSSES = {0: 1.265861, 1: 0.892763, 2: 0.714596, 5: 0.313848, 10: 0.093978, 20: 0.034493, 50: 0.017722, 99: 0.015635}
TRACE = (2.302954, 2.302550, 2.297648, 2.259602, 2.204170, 2.118565, 2.051535, 1.988466, 2.006591, 1.951473)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return printouts.checks()


@pytest.mark.parametrize(("figure", "way", "printed", "relative"), PRINTED)
def test_each_figure_of_questions_1_and_2(
    figure: str, way: str, printed: float, relative: float, found: dict[str, dict[str, float]]
) -> None:
    assert found[way][figure] == pytest.approx(printed, rel=relative, abs=0)


def test_all_errors_pass_however_softmax_is_written(found: dict[str, dict[str, float]]) -> None:
    assert all(figures[name] < 1e-8 for figures in found.values() for name in ("W1", "W2", "b1", "b2"))
    assert all(figures["loss"] < 1e-12 for figures in found.values())


def test_the_toy_nets_end_as_reported(tmp_path: Path) -> None:
    curve = printouts.toy_losses("toy", tmp_path)
    assert {i: curve[i] for i in LOSSES} == pytest.approx(LOSSES, abs=1e-6)
    assert round(curve[-1], 3) in (0.015, 0.016)  # report 003 has .015, of .015635
    assert printouts.toy_losses("toy_with_replacement", tmp_path)[-1] == pytest.approx(0.017, abs=0.003)


def test_the_page_has_the_reported_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hlcv_printouts.py", "--out", str(tmp_path)])
    printouts.main()
    written, printed = PAGE.read_text(), capsys.readouterr().out
    shape = lambda text: re.sub(r"\d\.\d+(e-\d+)?", "#", text)  # noqa: E731
    assert shape(written).startswith(shape(printed))
    for number in ("2.917341e-08", "1.796341e-13", "3.561318e-09", "3.440708e-09", "1.55547e-09", "4.447667e-11"):
        assert number in printed


def test_what_the_page_says_of_the_three_ways_is_what_its_table_has() -> None:
    rows = re.findall(r"^\| .* (W1|b1|b2|loss) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    table = {name: [float(cell) for cell in cells.split("|")] for name, cells in rows}

    def ways(name: str, report: int) -> list[str]:
        """Those that give a figure of a report, to a millionth."""
        reported, found = table[name][report], table[name][2:]
        return [
            way
            for way, one in zip(printouts.SHIFTS, found, strict=True)
            if one == pytest.approx(reported, rel=1e-6, abs=0)
        ]

    assert ways("b2", 0) == [NOTHING]
    assert NOTHING not in ways("W1", 0)
    assert ways("b2", 1) == [ALL]
    assert ways("loss", 1) == ways("b1", 1) == []


def test_the_default_net_loses_as_report_004_prints() -> None:
    """The first loss has no noise to speak of; the others are of one batch of 200 each, on a lossy copy."""
    rows = re.findall(r"^\| (\d+) \| (\d\.\d{6}) \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    rows = [
        (int(i), float(reported), [float(x) for x in cells.split("|")])
        for i, reported, cells in rows
        if int(i) % 100 == 0
    ]
    traces = [row for row in rows if len(row[2]) >= 3]
    assert [(i, reported) for i, reported, _ in traces] == [(100 * i, loss) for i, loss in enumerate(TRACE)]
    for i, reported, losses in traces:
        mean = sum(losses) / len(losses)
        assert mean == pytest.approx(reported, abs=3e-5 if i == 0 else 0.1), i
