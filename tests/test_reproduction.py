"""docs/results/reproduction.md: has each row of the reports' tables; it reaches what is promised, or is explained."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config.load_table import load_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results" / "reproduction.md"
LESSONS = ROOT / "docs" / "lessons" / "measured.md"
EXPLAINED = (ROOT / "docs" / "results" / "differences.md").read_text()
REPORTS = ("eecs598", "hlcv", "uva2018", "uva2020")
NOT_MEASURED = {"uva2020": {"resnet34", "resnet34_lr1e_4"}}
"""Rows without weights: the page says so."""
SAME_DATA = {"eecs598": {"logistic", "svm", "two_layer_logistic", "two_layer_hinge", "softmax", "two_layer"}}
SAME_DATA["eecs598"] |= {"two_layer_hinge_std1e_2"}
SAME_DATA["eecs598"] |= {"convnet", "convnet_batch_norm_dropout"}
MOST_BELOW = 3.0
"""Points of accuracy that a lossy copy of CIFAR-10 may cost."""


@cache
def rows() -> dict[tuple[str, str], list[dict[str, str]]]:
    """Return the lines of each experiment of the page, by the title of its table and its name, each by column."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    head: list[str] = []
    title = name = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        if not line.startswith("| ") or line.startswith("|---"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "row":
            head = cells
            continue
        name = cells[0] or name
        found.setdefault((title, name), []).append(dict(zip(head, cells, strict=True)))
    return found


def lines_of(report: str, row: str) -> list[dict[str, str]]:
    return rows()[load_table(table_file(report)).config.title, row]


def experiments() -> list[tuple[str, str]]:
    return [(report, row) for report in REPORTS for row in load_table(table_file(report)).config.rows]


def table_file(report: str) -> Path:
    return ROOT / "configs" / "tables" / f"{report}.yaml"


@pytest.mark.parametrize(("report", "row"), experiments())
def test_reported_figures_are_reached_or_explained(report: str, row: str) -> None:
    one = load_table(table_file(report)).config.rows[row]
    lines = lines_of(report, row)
    assert len(lines) == len(one.reported)
    odd = [line for line in lines if line["verdict"].startswith(("differs", "different in kind"))]
    assert not odd or f"| `{report}:{row}` |" in EXPLAINED, (
        f"{report}:{row}: {odd}; docs/results/differences.md is silent"
    )
    for line, reported in zip(lines, one.reported, strict=True):
        if row in NOT_MEASURED.get(report, ()):
            assert line["verdict"].endswith("weights missing")
            continue
        assert line["measured"], f"{report}:{row} has not been measured"
        if reported.value is None:
            continue
        scale = 1 if reported.figure.startswith("loss") else 100
        assert float(line["reported"]) == pytest.approx(scale * reported.value, rel=1e-4)
        if scale == 100 and float(line["measured"]) < 100 * reported.value - MOST_BELOW:
            assert f"`{report}:{row}`" in EXPLAINED, f"{report}:{row}: {line}; docs/results/differences.md is silent"


@pytest.mark.data
def test_the_page_is_what_the_logs_of_its_runs_give(real_data: Path, tmp_path: Path) -> None:
    with tarfile.open(PAGE.parent / "runs.tar.xz") as runs:
        runs.extractall(tmp_path)
    places = {"cifar10": "cifar10-jpeg", "mnist": ".", "csv_table": "binary20/data.csv"}
    data = [f"--data={name}={real_data / place}" for name, place in places.items()]
    page = tmp_path / "page.md"
    command = ["reproduce", *REPORTS, "--no-train", "--out", str(tmp_path / "out"), "--page", str(page), *data]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert page.read_text() == PAGE.read_text().replace("[reproduction/](reproduction)", "[page/](page)")
    for file in PAGE.with_suffix("").glob("*.csv"):
        assert (tmp_path / "page" / file.name).read_text() == file.read_text()


CHECK = """
import sys
sys.modules["torch"] = None
from dlassign.cli.main import main
main(["reproduce", "--check", sys.argv[1]])
"""


def check(page: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CHECK, str(page)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("page", [PAGE, LESSONS], ids=lambda page: page.stem)
def test_a_page_is_what_the_values_beside_it_give_without_torch(page: Path) -> None:
    done = check(page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_an_edited_copy_is_told_by_its_line(tmp_path: Path) -> None:
    page = tmp_path / PAGE.name
    shutil.copytree(PAGE.with_suffix(""), page.with_suffix(""))
    lines = PAGE.read_text().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if "undecided: " in line)
    lines[number] = re.sub(r"undecided: ", "agrees: ", lines[number])
    page.write_text("".join(lines))
    done = check(page)
    assert done.returncode == 1
    [text] = done.stdout.splitlines()
    assert text.startswith(f"{page}:{number + 1}: expected 'undecided: ")
    assert ", found 'agrees: " in text


def test_the_values_have_the_runs_of_the_archive() -> None:
    with tarfile.open(PAGE.parent / "runs.tar.xz") as archive:
        there = {Path(name).parent.name for name in archive.getnames() if name.endswith("/log.jsonl")}
    files = sorted(PAGE.with_suffix("").glob("*.csv"))
    assert [file.stem for file in files] == list(REPORTS)
    assert sum(file.stat().st_size for file in files) < 1e6
    named = {line["run"] for file in files for line in csv.DictReader(file.read_text().splitlines())} - {""}
    assert named <= there


def test_no_explanation_is_left_over() -> None:
    """What is explained is a row of a table, and one that differs."""
    names = {f"{report}:{row}" for report, row in experiments()}
    assert set(re.findall(r"^\| `(.*?:.*?)` \|", EXPLAINED, re.MULTILINE)) <= names
    assert set(re.findall(rf"`((?:{'|'.join(REPORTS)}):\w+)`", EXPLAINED)) <= names


@pytest.mark.parametrize(("report", "row"), experiments())
def test_explanations_name_the_verdict_of_their_row(report: str, row: str) -> None:
    """A row that is said to differ or to be undecided is so on the page of results."""
    verdicts = [line["verdict"] for line in lines_of(report, row)]
    for said in re.findall(rf"^\| `{report}:{row}` \| (.*?) \|", EXPLAINED, re.MULTILINE):
        for word in ("differs", "different in kind", "undecided", "agrees"):
            assert not re.search(rf"\b{word}\b", said) or any(one.startswith(word) for one in verdicts), (
                said,
                verdicts,
            )


@pytest.mark.parametrize(("report", "row"), experiments())
def test_headers_expect_what_was_measured(report: str, row: str) -> None:
    """About: within 1.5 points; above and from-to as they say."""
    [expected] = re.findall(r"# Expected: +(.*)", load_table(table_file(report)).config_path(row).read_text())
    if row in NOT_MEASURED.get(report, ()) or expected.startswith("training loss"):
        return
    what = "val" if "validation accuracy" in expected else "test best" if "best test" in expected else "test"
    line = next(line for line in lines_of(report, row) if line["figure"].startswith(what))
    value = float(line["measured"])
    if about := re.search(r"accuracy about (\.\d+)", expected):
        assert value == pytest.approx(100 * float(about[1]), abs=1.5)
    elif band := re.search(r"accuracy (\.\d+) to (\.\d+)", expected):
        assert 100 * float(band[1]) <= value <= 100 * float(band[2])
    else:
        [above] = re.findall(r"accuracy above (\.\d+)", expected)
        assert value > 100 * float(above)


@pytest.mark.parametrize(("report", "row"), [(report, row) for report, own in SAME_DATA.items() for row in sorted(own)])
def test_mnist_and_two_classes_reach_the_reported_value_or_are_explained(report: str, row: str) -> None:
    [line] = lines_of(report, row)
    assert not line["verdict"].startswith("differs") or f"`{report}:{row}`" in EXPLAINED
    assert line["allowed"].startswith("±"), "no copy"


def test_the_collapse_of_table_2_is_reproduced_and_its_twins_train() -> None:
    table = load_table(table_file("hlcv")).config.rows
    val = {row: float(lines_of("hlcv", row)[0]["measured"]) for row in table if row.startswith("h4_model")}
    assert all(val[row] < 15 for row in ("h4_model_6_batch200", "h4_model_7"))
    assert all(val[row] > 45 for row in ("h4_model_6_he", "h4_model_7_he"))


WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.mark.parametrize(("report", "row"), experiments(), ids=lambda part: str(part))
def test_the_head_of_a_config_says_the_seeds_of_the_page(report: str, row: str) -> None:
    """Of its own runs: in `Expected`, in figures or in words."""
    one = load_table(table_file(report)).config.rows[row]
    head = (table_file(report).parent / one.config).read_text()
    [expected] = re.findall(r"^# Expected:(.*)$", head, re.MULTILINE)
    said = re.findall(rf"(\d+|{'|'.join(WORDS)}) seeds?\b", expected)
    there = {line["runs"] for line in lines_of(report, row)}
    for count in said:
        number = str(WORDS.index(count) + 1) if count in WORDS else count
        assert {number} == there, f"{one.config}: {count} seeds, on the page {there}"
