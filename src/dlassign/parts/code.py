"""Code: the Python files of a user's own that may run, and the parts that are in them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dlassign.config.own_keys import UnfitKey, own_class
from dlassign.config.own_part import Allowed, OwnPart, file_and_name
from dlassign.config.suggestion import did_you_mean
from dlassign.errors import UserError
from dlassign.parts.kinds import KINDS
from dlassign.parts.modules import PREFIX, import_own
from dlassign.parts.signature import Definition, keys_of
from dlassign.parts.source_files import digest_of, read_sources, tree_of


@dataclass(frozen=True)
class _Source:
    """What was read of one allowed file: all its files by path below its folder, and their digest."""

    folder: Path
    files: dict[str, bytes]
    digest: str


class Code:
    """Files that may run. They are read once, so that a run goes on with what it began with when a file changes.

    It can be pickled: another process then runs the same bytes.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Read the files and what they import from beside them; nothing runs yet.

        Raises:
            UserError: a file cannot be read, is no Python, or two have one name.
        """
        self.files: dict[str, Path] = {}
        self._sources: dict[str, _Source] = {}
        self._once: tuple[str, Any] = ("", None)
        self._classes: dict[tuple[str, type[OwnPart]], type[OwnPart]] = {}
        for path in paths:
            self._allow(path)

    def _allow(self, path: Path) -> None:
        former = self.files.get(path.name)
        if former is not None and former.resolve() == path.resolve():
            return
        if former is not None:
            raise UserError(
                f"--code {former} and --code {path} have the same name, by which configs know them; rename one"
            )
        if path.suffix != ".py" or "." in path.stem or ":" in path.name:
            raise UserError(f"--code {path}: expected a Python file such as net.py, without another dot in its name")
        files = read_sources(path)
        self._refuse_two_of_a_name(path, files)
        self.files[path.name] = path
        self._sources[path.name] = _Source(path.parent, files, digest_of(files))

    def _refuse_two_of_a_name(self, path: Path, files: Mapping[str, bytes]) -> None:
        """Refuse a file that an earlier one has under the same name: in a run folder all lie in one place."""
        for source in self._sources.values():
            for below in sorted(files.keys() & source.files.keys()):
                if files[below] != source.files[below]:
                    first, second = source.folder / below, path.parent / below
                    raise UserError(f"{first} and {second} have the same name, and not the same content; rename one")

    def __getstate__(self) -> dict[str, Any]:
        # Made in memory; made again when they are asked for.
        return {**self.__dict__, "_classes": {}, "_once": ("", None)}

    def class_of(self, name: str, base: type[OwnPart]) -> type[OwnPart]:
        """Return the config class of a part; the first time its file runs.

        Args:
            name: such as `net.py:Net`; its file is allowed.
            base: of its family; the class is derived from it.

        Raises:
            UserError: the file fails, the part is not in it, or its keys cannot be checked.
        """
        if (name, base) not in self._classes:
            self._classes[name, base] = self._make_class(name, base)
        return self._classes[name, base]

    def _make_class(self, name: str, base: type[OwnPart]) -> type[OwnPart]:
        part = self.load(name)
        where, source = self._definition(name), self._sources[file_and_name(name)[0]]
        keys = keys_of(part, KINDS[base.own_kind], where)
        text = (inspect.getdoc(part) or "").split("\n\n")[0]
        try:
            text = " ".join(text.split()) or f"Own {base.own_kind}."
            return own_class(name, keys, base=base, origin=self, digest=source.digest, text=text)
        except UnfitKey as error:
            raise where.error(str(error), error.key) from None

    def names(self) -> list[str]:
        """Return the names of all classes and functions that the files define, such as `net.py:Net`.

        Raises:
            UserError: a file fails when it runs.
        """
        return [f"{file}:{inner}" for file in self.files for inner in _defined_in(self._module(file))]

    def _definition(self, name: str) -> Definition:
        file, inner = file_and_name(name)
        path = self.files[file]
        return Definition(str(path), tree_of(self._sources[file].files[file], path), inner)

    def place(self, name: str, method: str = "") -> str:
        """Return where a class or function, or a method of it, is defined: `net.py:14`."""
        where = self._definition(name)
        return f"{where.path}:{where.line_of_method(method) if method else where.line()}"

    def has(self, name: str) -> bool:
        """Return whether there is a class or function of such a name in its file.

        Raises:
            UserError: the file fails when it runs.
        """
        return callable(getattr(self._module(file_and_name(name)[0]), file_and_name(name)[1], None))

    def load(self, name: str) -> Callable[..., Any]:
        """Return the class or function of a name such as `net.py:Net`.

        Raises:
            UserError: the file fails when it runs, or has no such class or function.
        """
        file, inner = file_and_name(name)
        path, module = self.files[file], self._module(file)
        found: object = getattr(module, inner, None)
        if not callable(found):
            own = _defined_in(module)
            there = f" In it: {', '.join(own)}" if own else ""
            raise UserError(f"{path} has no class or function {inner!r}.{did_you_mean(inner, own)}{there}")
        return found

    def _module(self, file: str) -> ModuleType:
        source = self._sources[file]
        try:
            return import_own(file, source.files, folder=source.folder, digest=source.digest)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise UserError(self.fault(f"{file}:", error)) from error

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what `make` gives; for the same key again the same object, until another key comes."""
        if self._once[0] != key:
            self._once = (key, make())
        return self._once[1]

    def raised(self, name: str, error: BaseException) -> bool:
        """Return whether an error comes from the code of a part, or from what that called."""
        return bool(self._frames(name, error))

    def _frames(self, name: str, error: BaseException) -> list[traceback.FrameSummary]:
        # By module, not by file: the same code may have been read from another folder first, such as a run's copy.
        package = PREFIX + self.digest(name)
        walked = list(traceback.walk_tb(error.__traceback__))
        own = [str(frame.f_globals.get("__name__")).partition(".")[0] == package for frame, _ in walked]
        return [frame for frame, is_own in zip(traceback.extract_tb(error.__traceback__), own, strict=True) if is_own]

    def fault(self, name: str, error: BaseException) -> str:
        """Return what a part's code raised, with the innermost line of the user's: `net.py:14: ValueError: ...`."""
        try:
            text = " ".join(str(error).split())[:500]
        except Exception:  # noqa: BLE001 - of the user's own class of errors
            text = ""
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
        if isinstance(error, SyntaxError):
            return f"{error.filename}:{error.lineno or 1}: {said}"
        frames = self._frames(name, error)
        if not frames:
            return f"{self.files[file_and_name(name)[0]]}: {said}"
        last = frames[-1]
        shown = f", in `{last.line}`" if last.line else ""
        return f"{last.filename}:{last.lineno}: {said}{shown}{self._not_taken_along(name, error)}"

    def _not_taken_along(self, name: str, error: BaseException) -> str:
        """Return the cure where a file beside the part is missing among those that were read."""
        if not isinstance(error, ModuleNotFoundError) or not error.name:
            return ""
        beside = self._sources[file_and_name(name)[0]].folder / f"{error.name.rpartition('.')[2]}.py"
        if not beside.is_file():
            return ""
        return f"; {beside} is taken along if the statement `import {beside.stem}` stands in a file"

    def digest(self, name: str) -> str:
        """Return the digest of a part's file and of what it imports from beside it."""
        return self._sources[file_and_name(name)[0]].digest

    def sources(self, name: str) -> Mapping[str, bytes]:
        """Return the file of a part and what it imports from beside it, by path below its folder."""
        return self._sources[file_and_name(name)[0]].files

    def restore(self, name: str, base: type[OwnPart], values: Mapping[str, Any]) -> OwnPart:
        """Return a part with these values, in the process that it was sent to."""
        return self.class_of(name, base).model_validate({"name": name, **values}, context=Allowed(self))


def _defined_in(module: ModuleType) -> list[str]:
    """Return the classes and functions that a file defines, without those that it imports."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
