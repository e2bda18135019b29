"""The rules of the tests: each source file has its tests, and each test says what it takes and what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers.mirror import TESTED_IN

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "dlassign"
FILES = sorted(TESTS.rglob("*.py"))
SOURCES = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"]

# Folders whose tests are not typed and described yet.
UNTYPED = {"plots", "report"}


def own(source: Path) -> Path:
    """Return where the tests of a source file lie if they have a file of its name."""
    return TESTS / source.parent / f"test_{source.name}"


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_each_source_file_has_its_tests(source: Path) -> None:
    found = own(source)
    if not found.exists():
        assert str(source) in TESTED_IN, f"{found.relative_to(TESTS)} is missing; helpers/mirror.py may name another"
        found = TESTS / TESTED_IN[str(source)]
    assert found.is_file(), f"{found} is missing"


def test_no_exception_is_out_of_date() -> None:
    there = {str(source) for source in SOURCES if not own(source).exists()}
    assert set(TESTED_IN) <= there, f"helpers/mirror.py names {sorted(set(TESTED_IN) - there)} in vain"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
class TestEveryTestFile:
    def test_has_a_docstring(self, path: Path) -> None:
        if path.relative_to(TESTS).parts[0] not in UNTYPED:
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"

    def test_tests_are_typed(self, path: Path) -> None:
        if path.relative_to(TESTS).parts[0] in UNTYPED:
            return
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                untyped = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs) if arg.annotation is None]
                assert untyped in ([], ["self"]), f"{path}:{node.lineno} {node.name}: {untyped} have no types"
                assert node.returns is not None, f"{path}:{node.lineno} {node.name} has no `-> None`"
