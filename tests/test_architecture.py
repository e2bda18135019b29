"""The rules of the tree: one-way imports, who may import what, and how long files and functions may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dlassign"
FILES = sorted(SOURCE.rglob("*.py"))

# A file imports only from layers above its own; names on one line do not import each other.
LAYERS = [
    {"errors"},
    {"config"},
    {"store"},
    {"stats"},
    {"data"},
    {"nets", "numpy_nets", "optim"},
    {"train"},
    {"stacked"},
    {"sweep", "checks", "plots"},
    {"report", "tables"},
    {"cli"},
    {"__main__"},
]
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}

# Which parts may import a heavy or special package at all.
ALLOWED = {
    "torch": {"data", "nets", "optim", "train", "stacked", "sweep", "checks"},
    "torchvision": {"data", "nets"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "matplotlib": {"plots", "report"},
    "click": {"cli"},
    "rich": {"cli"},
    "scipy": {"stats"},
    "sklearn": {"data"},
    "optuna": {"sweep", "plots"},
    "ray": {"sweep"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "filelock": {"store", "train", "cli"},
}
INSIDE_FUNCTIONS_ONLY = {
    ("data", "torch"),
    ("data", "torchvision"),
    ("data", "sklearn"),
    ("stats", "scipy"),
    ("cli", "rich"),
    ("sweep", "optuna"),
    ("sweep", "ray"),
    ("plots", "optuna"),
    ("report", "jinja2"),
    ("report", "markupsafe"),
}
# Batches on the device: imported only by what trains with torch.
TORCH_AT_THE_TOP = {SOURCE / "data" / f"{name}.py" for name in ("augment", "on_device", "torch_batches")}


def part_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module and whether the import stands at module level."""
    tree = tree_of(path)
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in top


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Yield each function and its length without the docstring."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False)
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield node, length - (doc.count("\n") + 1 if doc else 0)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
class TestEveryFile:
    def test_imports_only_from_the_left(self, path: Path) -> None:
        part = part_of(path)
        if part == "__init__":
            return
        for module, _ in imports(path):
            if not module.startswith("dlassign."):
                continue
            other = module.split(".")[1]
            assert other == part or RANK[other] < RANK[part], f"{path} imports {module}"

    def test_imports_special_packages_only_where_allowed(self, path: Path) -> None:
        part = part_of(path)
        for module, at_top in imports(path):
            package = module.split(".")[0]
            if package in ALLOWED:
                assert part in ALLOWED[package], f"{path} imports {package}"
                if package == "torch" and path in TORCH_AT_THE_TOP:
                    continue
                assert not (at_top and (part, package) in INSIDE_FUNCTIONS_ONLY), f"{path} imports {package} at the top"

    def test_is_short(self, path: Path) -> None:
        assert len(path.read_text().splitlines()) <= 400

    def test_functions_are_short_and_documented(self, path: Path) -> None:
        for node, length in functions(path):
            assert length <= 50, f"{path}:{node.lineno} {node.name} has {length} lines"

    def test_has_a_docstring_and_no_global(self, path: Path) -> None:
        tree = tree_of(path)
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)], f"{path} uses global"

    def test_package_files_hold_nothing_but_a_docstring(self, path: Path) -> None:
        if path.name == "__init__.py":
            assert len(tree_of(path).body) == 1

    def test_is_not_a_drawer(self, path: Path) -> None:
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


def test_no_other_data_file_imports_those_with_torch_at_the_top() -> None:
    modules = {f"dlassign.data.{path.stem}" for path in TORCH_AT_THE_TOP}
    for path in sorted((SOURCE / "data").glob("*.py")):
        found = {module for module, _ in imports(path)} & modules
        assert path in TORCH_AT_THE_TOP or not found, f"{path} imports {found}"


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in FILES} - {"__init__"}
    assert parts <= set(RANK)


def test_top_level_of_the_repository() -> None:
    for name in (
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        ".ci/run",
        "out/README.md",
    ):
        assert (ROOT / name).is_file(), f"{name} is missing"
