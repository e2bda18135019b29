"""Files of JSON objects, one a line: appended to, and read back whatever a killed process has left of them."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.files import reason

NUMBER = (int, float)
NUMBER_OR_NULL = (int, float, NoneType)
MOST = 2**63
TWICE = ""
"""The key of what is wrong with an object in which a key stands twice; it has no other."""
_NAMES = {list: "a list", str: "a text", dict: "an object", int: "a whole number", bool: "true or false"}
_NAMES |= {float: "a number", NoneType: "null"}


class JsonLines:
    """Appends JSON objects to a file, one a line.

    Args:
        path: the file; created if missing. A torn line at its end is closed first, so that nothing runs into it.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            there = _whole(self._file)
            self._content = hashlib.sha256(there)
            if there and not there.endswith(b"\n"):
                self._append(b"\n")
        except OSError as error:
            raise self._failed(error) from error

    @property
    def sha256(self) -> str:
        """The digest of all bytes of the file, in hex."""
        return self._content.hexdigest()

    def write(self, kind: str, **values: Any) -> None:
        """Append one object.

        Raises:
            UserError: the disk is full or the file is gone.
        """
        data = (json.dumps({"kind": kind, **values}, separators=(",", ":")) + "\n").encode()
        try:
            self._append(data)
        except OSError as error:
            raise self._failed(error) from error

    def sync(self) -> None:
        """Flush to disk everything written so far.

        Raises:
            UserError: the disk is full.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file; what was written but not synced may still be lost in a power cut."""
        os.close(self._file)

    def _append(self, data: bytes) -> None:
        while data:
            written = os.write(self._file, data)
            # Of what the disk has taken, which is less than was asked for when it is full.
            self._content.update(data[:written])
            data = data[written:]

    def _failed(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self._path}: {reason(error)}")


def _whole(file: int) -> bytes:
    with open(file, "rb", closefd=False) as content:
        return content.read()


def read_json_lines(path: Path, *, what: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield `FILE:LINE` and the object of each line; None of a torn line. A missing file has no lines.

    Of an object in which a key stands twice, which of its values counts is not said: it is {TWICE: that it does}.

    Raises:
        UserError: it cannot be read; the message calls the file `what`.
    """
    try:
        lines = read_ordinary(path).decode(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {reason(error)}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{number}", _parsed(line)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found: Any = read_json(line)
    except KeyTwiceError as error:
        return {TWICE: str(error)}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class KeyTwiceError(ValueError):
    """A key stands twice in one object, which JSON allows and no program agrees on."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyTwiceError(f"the key {next(key for key in keys if keys.count(key) > 1)} stands twice in one object")
    return found


# Made once: a decoder for each line would take as long as the line.
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none; a KeyTwiceError if it has a key twice.
        RecursionError: it is nested too deep.
    """
    return _DECODER.decode(text)


class Shape:
    """What a JSON object must hold.

    Args:
        keys: for each key the type of its value; or `[type]`, a list of such values; or an object's keys again; or a
            tuple of types, one of which it has. A key that ends in `?` may be missing. Other keys do not matter.
    """

    def __init__(self, keys: Mapping[str, Any]) -> None:
        # Worked out once, for a long log is checked a million times.
        self._keys = [(key.removesuffix("?"), not key.endswith("?"), _kinds(value)) for key, value in keys.items()]

    def complete(self, found: Mapping[str, Any]) -> bool:
        """Return whether an object has all keys that it must have, whatever their values are."""
        return all(name in found for name, required, _ in self._keys if required)

    def misfit(self, found: Mapping[str, Any]) -> str:
        """Return where an object has another shape, and what was expected there; "" if it has this one."""
        return self._misfit(found).removeprefix(".")

    def _misfit(self, found: Mapping[str, Any]) -> str:
        for name, required, kinds in self._keys:
            if name in found:
                if wrong := _wrong(found[name], kinds):
                    return f".{name}{wrong}"
            elif required:
                return f".{name}: is missing"
        return ""


def _kinds(value: Any) -> tuple[Any, ...]:
    """Return what a value may be: types, shapes, and lists that hold what their items may be."""
    if isinstance(value, tuple):
        return tuple(kind for one in value for kind in _kinds(one))
    if isinstance(value, list):
        return (list(_kinds(value[0])),)
    return (Shape(value) if isinstance(value, Mapping) else value,)


def _wrong(found: Any, kinds: Sequence[Any]) -> str:
    kind = type(found)
    if kind is int and int in kinds and float not in kinds:
        # Steps, samples, seeds: none is below 0, and tables and pictures hold them in 64 bits.
        return "" if 0 <= found < MOST else f": expected a count from 0 to below 2**63, got {reprlib.repr(found)}"
    if kind in kinds:
        # JSON can hold numbers that are not finite, and whole ones that no float can hold.
        if kind not in NUMBER or -sys.float_info.max <= found <= sys.float_info.max:
            return ""
        return f": expected a finite number, got {reprlib.repr(found)}"
    for inner in kinds:
        if kind is dict and isinstance(inner, Shape):
            return inner._misfit(found)
        if kind is list and isinstance(inner, list):
            return next((f"[{i}]{wrong}" for i, item in enumerate(found) if (wrong := _wrong(item, inner))), "")
    types = [dict if isinstance(one, Shape) else list if isinstance(one, list) else one for one in kinds]
    expected = " or ".join(_NAMES[one] for one in types if one is not int or float not in types)
    return f": expected {expected}, got {reprlib.repr(found)}"
