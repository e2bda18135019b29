"""The rules of the tree: who may import what, how long files and functions may be, and how they are written."""

from __future__ import annotations

import ast
import re
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dlassign"
FILES = sorted(SOURCE.rglob("*.py"))

# A file imports only from layers above its own; names on one line do not import each other. CONTRIBUTING.md says the
# same. `parts` is planned: users' own parts.
LAYERS = [
    {"errors"},
    {"config"},
    {"store"},
    {"stats", "parts"},
    {"data"},
    {"data_checks"},
    {"nets", "numpy_nets", "optim", "drafts"},
    {"train"},
    {"stacked"},
    {"sweep", "checks", "deploy", "plots", "verify"},
    {"doctor"},
    {"report", "tables", "trackers", "sklearn"},
    {"launch"},
    {"cli", "api"},
    {"__main__"},
]
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}

# Which parts may import a heavy or special package at all.
ALLOWED = {
    "torch": {"data", "nets", "optim", "train", "stacked", "sweep", "checks", "deploy", "doctor", "sklearn", "verify"},
    "torchvision": {"data", "nets"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "matplotlib": {"plots"},
    "click": {"cli"},
    "rich": {"cli", "launch"},
    "scipy": {"stats"},
    "sklearn": {"data", "sklearn"},
    "optuna": {"sweep", "plots"},
    "ray": {"sweep"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "filelock": {"store", "cli"},
    "pyarrow": {"trackers"},
    "mlflow": {"trackers"},
    "sqlalchemy": {"trackers"},
    "wandb": {"trackers"},
    "onnx": {"deploy"},
    "onnxscript": {"deploy"},
    "onnxruntime": {"deploy"},
}
INSIDE_FUNCTIONS_ONLY = {
    ("data", "torch"),
    ("data", "torchvision"),
    ("data", "sklearn"),
    ("sklearn", "torch"),
    ("stats", "scipy"),
    ("cli", "rich"),
    ("launch", "rich"),
    ("sweep", "optuna"),
    ("sweep", "ray"),
    ("plots", "optuna"),
    ("trackers", "pyarrow"),
    ("trackers", "mlflow"),
    ("trackers", "sqlalchemy"),
    ("trackers", "wandb"),
    ("report", "jinja2"),
    ("report", "markupsafe"),
}
# Batches on the device: imported only by what trains with torch.
PROBE = {"probe", "probe_clock", "probe_nets", "probe_samples", "probe_steps"}
TORCH_AT_THE_TOP = {
    SOURCE / "data" / f"{name}.py" for name in ("augment", "augment_pixels", "on_device", "torch_batches")
}

BESIDE_THE_FOLDERS = {"__init__.py", "__main__.py", "errors.py", "sklearn.py"}

FEW_PARAMETERS = {"train", "stacked", "sweep", "store"}
COMMENTED = {"train": 6.0, "stacked": 6.0, "optim": 6.0, "numpy_nets": 6.0}
"""Comment lines that 100 lines of code must have, in the parts in which a reader stumbles."""


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


def told(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_a_file_imports_only_from_the_left() -> None:
    found = [
        f"{told(path)} imports {module}"
        for path in FILES
        if part_of(path) != "__init__"
        for module, _ in imports(path)
        if module.startswith("dlassign.")
        and (other := module.split(".")[1]) != part_of(path)
        and RANK[other] >= RANK[part_of(path)]
    ]
    assert not found


def test_special_packages_are_imported_only_where_allowed() -> None:
    found = []
    for path in FILES:
        part = part_of(path)
        for module, at_top in imports(path):
            package = module.split(".")[0]
            if part not in ALLOWED.get(package, {part}):
                found.append(f"{told(path)} imports {package}")
            elif package == "torch" and path in TORCH_AT_THE_TOP:
                continue
            elif at_top and (part, package) in INSIDE_FUNCTIONS_ONLY:
                found.append(f"{told(path)} imports {package} at the top")
    assert not found


def test_files_are_short() -> None:
    assert not [told(path) for path in FILES if len(path.read_text().splitlines()) > 400]


def test_functions_are_short() -> None:
    found = [(node, length, path) for path in FILES for node, length in functions(path) if length > 50]
    assert not [f"{told(path, node.lineno)} {node.name} has {length} lines" for node, length, path in found]


def test_functions_have_few_parameters() -> None:
    found = []
    for path in FILES:
        for node, _ in functions(path) if part_of(path) in FEW_PARAMETERS else ():
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            number = len(names) - (names[:1] in (["self"], ["cls"]))
            if number > 7:
                found.append(f"{told(path, node.lineno)} {node.name} has {number} parameters")
    assert not found


def test_an_assignment_sets_one_attribute() -> None:
    found = []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            for target in node.targets if isinstance(node, ast.Assign) else ():
                names = target.elts if isinstance(target, ast.Tuple) else ()
                if sum(isinstance(name, ast.Attribute) for name in names) > 1:
                    found.append(told(path, target.lineno))
    assert not found


def test_every_file_has_a_docstring_and_none_uses_global() -> None:
    assert not [told(path) for path in FILES if not ast.get_docstring(tree_of(path))]
    uses = [(path, node) for path in FILES for node in ast.walk(tree_of(path)) if isinstance(node, ast.Global)]
    assert not [told(path, node.lineno) for path, node in uses]


def test_package_files_hold_nothing_but_a_docstring() -> None:
    """All but the package's own, which fetches the public names."""
    inner = [path for path in FILES if path.name == "__init__.py" and path.parent != SOURCE]
    assert not [told(path) for path in inner if len(tree_of(path).body) != 1]


def test_no_file_is_a_drawer() -> None:
    assert not [told(path) for path in FILES if path.stem in {"utils", "util", "helpers", "common", "misc"}]


def test_no_other_data_file_imports_those_with_torch_at_the_top() -> None:
    modules = {f"dlassign.data.{path.stem}" for path in TORCH_AT_THE_TOP}
    for path in sorted((SOURCE / "data").glob("*.py")):
        found = {module for module, _ in imports(path)} & modules
        assert path in TORCH_AT_THE_TOP or not found, f"{path} imports {found}"


def test_of_the_doctor_only_the_probe_takes_torch() -> None:
    """Static rules and those of a log take less than a second, and importing torch alone takes two."""
    found = [
        told(path)
        for path in FILES
        if part_of(path) == "doctor" and path.stem not in PROBE
        for module, _ in imports(path)
        if module.split(".")[0] == "torch" or module in {f"dlassign.doctor.{name}" for name in PROBE}
    ]
    assert not found


def test_no_other_file_stands_beside_the_folders() -> None:
    assert {path.name for path in SOURCE.glob("*.py")} == BESIDE_THE_FOLDERS


def test_no_name_is_that_of_three_files() -> None:
    """Commands, views and config classes do not count: their folder is part of their name."""
    kinds = {"commands", "views", "config"}
    names = Counter(path.name for path in FILES if path.name != "__init__.py" and path.parent.name not in kinds)
    assert not [name for name, number in names.items() if number > 2]


def commented(path: Path) -> tuple[int, int]:
    """Return how many lines of a file hold a comment, and how many hold code that is no docstring."""
    silent = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
    comments, code = set(), set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                if not re.match("# (type|noqa|fmt)", token.string):
                    comments.add(token.start[0])
            elif token.type not in silent:
                code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(comments), len(code)


@pytest.mark.parametrize("part", COMMENTED)
def test_reasons_stand_where_a_reader_would_stumble(part: str) -> None:
    found = [commented(path) for path in FILES if part_of(path) == part]
    comments, code = sum(c for c, _ in found), sum(n for _, n in found)
    assert 100 * comments / code >= COMMENTED[part], f"{part}: {comments} comment lines for {code} lines of code"


def test_contributing_tells_the_same_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    chain = re.search(r"^errors -> [^`]*", text, re.MULTILINE)
    assert chain is not None
    told = [set(layer.split(" | ")) for layer in " ".join(chain[0].split()).split(" -> ")]
    there = {part_of(path) for path in FILES}
    kept = [{part for part in layer if part in there} for layer in LAYERS]
    assert [layer & there for layer in told] == [layer for layer in kept if layer != {"__main__"}]
    assert set().union(*told) <= set(RANK)


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    """The mark must lie in the package, which is all that the wheel takes in."""
    assert (SOURCE / "py.typed").is_file()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert settings == {"packages": ["src/dlassign"]}
    if find_spec("hatchling"):
        wheel = import_module("hatchling.builders.wheel").WheelBuilder(str(ROOT))
        assert "dlassign/py.typed" in {file.distribution_path for file in wheel.recurse_included_files()}


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


def test_no_test_is_left_out_for_a_missing_package() -> None:
    """Such tests are marked `extra`: .ci/run installs the extras and runs them, and they fail without their package."""
    skips = re.compile(r"importorskip\(|skipif\(.*(find_spec|missing_packages)")
    found = [path.name for path in (ROOT / "tests").rglob("*.py") if skips.search(path.read_text())]
    assert not found
