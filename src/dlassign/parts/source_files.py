"""The source of a user's file and of what it imports from beside it, as text alone: nothing runs here."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from dlassign.config.ordinary_file import open_ordinary
from dlassign.errors import UserError
from dlassign.store.files import reason

MAX_BYTES = 10_000_000
"""A file of code has a few kilobytes; this one is something else."""


def read_sources(file: Path) -> dict[str, bytes]:
    """Return a Python file and all files that it imports from its own folder, by their path below that folder.

    Raises:
        UserError: one of them cannot be read, or is no Python.
    """
    found: dict[str, bytes] = {}
    waiting = [PurePosixPath(file.name)]
    while waiting:
        below = waiting.pop()
        if str(below) in found:
            continue
        found[str(below)] = text = _read(file.parent / below)
        waiting += _beside(tree_of(text, file.parent / below), below, file.parent)
    return dict(sorted(found.items()))


def digest_of(sources: Mapping[str, bytes]) -> str:
    """Return 16 hex digits that change with every byte of code, and with the name of a file."""
    whole = hashlib.sha256()
    for name, text in sorted(sources.items()):
        whole.update(f"{name}\0{hashlib.sha256(text).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def _read(path: Path) -> bytes:
    try:
        with open_ordinary(path) as stream:
            text = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"{path} cannot be read ({said}); give the path of a Python file") from error
    if len(text) > MAX_BYTES:
        raise UserError(f"{path} is larger than 10 MB, so hardly code; give the path of a Python file")
    return text


def tree_of(text: bytes, path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        UserError: it is no Python; the message names the line.
    """
    try:
        return ast.parse(text, str(path))
    except SyntaxError as error:
        shown = f", in `{error.text.strip()}`" if error.text and error.text.strip() else ""
        raise UserError(f"{path}:{error.lineno or 1}: {type(error).__name__}: {error.msg}{shown}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: no Python source ({error or 'nested too deep'})") from None


def _beside(tree: ast.Module, below: PurePosixPath, folder: Path) -> Iterator[PurePosixPath]:
    """Yield the files in the folder that a file imports, packages on the way included."""
    package = below.parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(tuple(alias.name.split(".")), folder)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            yield from _files(base, folder)
            for alias in node.names:  # a name may be a module of a package
                yield from _files((*base, alias.name), folder)


def _files(module: tuple[str, ...], folder: Path) -> Iterator[PurePosixPath]:
    for depth in range(1, len(module) + 1):
        path = PurePosixPath(*module[:depth])
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if (folder / candidate).is_file():
                yield candidate
                break
