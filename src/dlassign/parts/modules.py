"""A user's files as modules, made from the bytes that were read: what runs is what the digest is of."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

PREFIX = "dlassign_own_"
"""Each code is a package of its own, named by its digest: a changed file is another module, and no file of a user
hides a module of the same name."""


def import_own(name: str, sources: Mapping[str, bytes], *, folder: Path, digest: str) -> ModuleType:
    """Return a file as a module; the second time the same one.

    Args:
        name: of the file, such as `net.py`.
        sources: all files of this code, by path below the folder.
        folder: where they were read, for the places in tracebacks.
        digest: of the sources.
    """
    package = PREFIX + digest
    if not any(isinstance(finder, _Finder) and finder.package == package for finder in sys.meta_path):
        sys.meta_path.append(_Finder(package, sources, folder))
    return importlib.import_module(f"{package}.{PurePosixPath(name).stem}")


class _Finder(MetaPathFinder):
    """Finds the modules of one code."""

    def __init__(self, package: str, sources: Mapping[str, bytes], folder: Path) -> None:
        self.package = package
        self._sources = dict(sources)
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == self.package:
            return ModuleSpec(fullname, _Loader(b"", str(self._folder), {}), is_package=True)
        if not fullname.startswith(self.package + "."):
            return None
        below = PurePosixPath(*fullname.removeprefix(self.package + ".").split("."))
        for file, is_package in ((below / "__init__.py", True), (below.with_name(f"{below.name}.py"), False)):
            if (text := self._sources.get(str(file))) is not None:
                origin = str(self._folder / file)
                loader = _Loader(text, origin, {**vars(builtins), "__import__": self._import})
                return ModuleSpec(fullname, loader, origin=origin, is_package=is_package)
        if self._is_folder(str(below)):
            return ModuleSpec(fullname, _Loader(b"", str(self._folder / below), {}), is_package=True)
        return None

    def _is_folder(self, below: str) -> bool:
        return any(file.startswith(f"{below}/") for file in self._sources)

    def _is_ours(self, top: str) -> bool:
        """Return whether `import top` means what lies beside the file."""
        if {f"{top}.py", f"{top}/__init__.py"} & self._sources.keys():
            return True
        if not self._is_folder(top):
            return False
        # As in Python, a folder without __init__.py comes after what is installed.
        # Found itself, it has no origin.
        installed = importlib.util.find_spec(top)
        return installed is None or installed.origin is None

    def _import(
        self,
        name: str,
        globals: Any = None,  # noqa: A002 (these are the names that Python's own has)
        locals: Any = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what `import` does, but `import blocks` means the blocks.py beside the file, if there is one."""
        top = name.partition(".")[0]
        if level or not self._is_ours(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or ())
        # Without a list of names, `import` binds the first package: here the one below ours. It is no attribute of ours
        # yet while files that import each other are being run.
        return module if fromlist else sys.modules[f"{self.package}.{top}"]


class _Loader(Loader):
    """Runs the bytes of one file.

    Args:
        text: of the file.
        origin: its path, for tracebacks.
        names: what the code finds as Python's builtins.
    """

    def __init__(self, text: bytes, origin: str, names: dict[str, Any]) -> None:
        self._text = text
        self._origin = origin
        self._names = names

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._origin
        if self._names:
            module.__dict__["__builtins__"] = self._names
        # The lines that run, for tracebacks and inspect, even if the file changes meanwhile.
        lines = self._text.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[self._origin] = (len(self._text), None, lines, self._origin)
        exec(compile(self._text, self._origin, "exec", dont_inherit=True), module.__dict__)
