"""The rules of the tests: each source file has its tests, and each test says what it takes and what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

from helpers.mirror import TESTED_IN

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "dlassign"
FILES = sorted(TESTS.rglob("*.py"))
SOURCES = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"]


def own(source: Path) -> Path:
    """Return where the tests of a source file lie if they have a file of its name."""
    return TESTS / source.parent / f"test_{source.name}"


def test_each_source_file_has_its_tests() -> None:
    for source in SOURCES:
        found = own(source)
        if not found.exists():
            assert str(source) in TESTED_IN, (
                f"{found.relative_to(TESTS)} is missing; helpers/mirror.py may name another"
            )
            found = TESTS / TESTED_IN[str(source)]
        assert found.is_file(), f"{found} is missing"


def test_no_exception_is_out_of_date() -> None:
    there = {str(source) for source in SOURCES if not own(source).exists()}
    assert set(TESTED_IN) <= there, f"helpers/mirror.py names {sorted(set(TESTED_IN) - there)} in vain"


def test_every_test_file_has_a_docstring() -> None:
    assert not [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]


def test_every_test_is_typed() -> None:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                arguments = (*node.args.args, *node.args.kwonlyargs)
                untyped = [arg.arg for arg in arguments if arg.annotation is None and arg.arg != "self"]
                if untyped or node.returns is None:
                    found.append(f"{path.relative_to(TESTS)}:{node.lineno} {node.name} {untyped}")
    assert not found
