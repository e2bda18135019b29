"""The pages of derivations, the code they name and the tests of their formulas lead to each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "dlassign"
FOLDER = ROOT / "docs" / "derivations"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def docstrings(file: Path) -> dict[str, str]:
    """The docstring of each function and class of a file; that of a method has its class's in front of it."""
    found: dict[str, str] = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef):
                    found[f"{node.name}.{child.name}"] = f"{found[node.name]}\n{ast.get_docstring(child) or ''}"
    return found


def places(page: Path) -> list[tuple[str, str]]:
    """The places in the code that a page names, `file.py: Class.method, function`, one by one."""
    named = re.findall(r"`([\w/]+\.py):\s+([\w.,\s]+)`", page.read_text())
    return [(file, symbol) for file, symbols in named for symbol in re.split(r",\s*", symbols)]


@each_page
def test_a_page_is_listed(page: Path) -> None:
    assert f"| [{page.name}]({page.name}) |" in (FOLDER / "README.md").read_text()


@each_page
def test_a_page_names_places_in_the_code_that_name_it(page: Path) -> None:
    named = places(page)
    assert named
    for file, symbol in named:
        assert (SOURCE / file).is_file(), f"{page.name} names {file}"
        found = docstrings(SOURCE / file)
        assert symbol in found, f"{page.name}: {file} has no {symbol}"
        assert f"docs/derivations/{page.name}" in found[symbol], f"{file}: {symbol} does not name {page.name}"


def test_the_code_names_pages_that_name_it() -> None:
    for file in SOURCE.rglob("*.py"):
        for name in re.findall(r"docs/derivations/(\w+\.md)", file.read_text()):
            assert (FOLDER / name).is_file(), f"{file} names {name}"
            assert str(file.relative_to(SOURCE)) in [path for path, _ in places(FOLDER / name)], f"{name}: {file}"


@each_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    tests = docstrings(Path(__file__).parent / f"test_{page.stem}.py")
    named = re.findall(r"`(test_\w+)`", page.read_text())
    assert named
    assert set(named) <= set(tests), f"{page.name} names {sorted(set(named) - set(tests))}"


@each_page
def test_the_test_of_a_final_formula_says_the_formula(page: Path) -> None:
    tests = docstrings(Path(__file__).parent / f"test_{page.stem}.py")
    [section] = re.findall(r"^## Final formulas\n(.*?)(?=^## )", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `(test_\w+)` \|$", section, flags=re.MULTILINE)
    assert rows
    assert len(rows) == section.count("\n|") - 2, f"{page.name}: a row without a formula or a test"
    for formula, test in rows:
        assert formula in re.sub(r"\s+", " ", tests[test]), f"{page.name}: {test} does not say {formula}"
