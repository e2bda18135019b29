"""What Python gives for a config: a path, a dict or text, and changes; made into what a YAML file gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

from numpy.typing import ArrayLike

from dlassign.api.messages import GATHERED, check_word, telling_python
from dlassign.config.load import Located, dump_line, dump_plain, extended, locate, parse_config, read_named_config
from dlassign.config.ordinary_file import given_path
from dlassign.config.own_part import own_parts
from dlassign.config.places import Document, KeyPath, dotted
from dlassign.config.yamlpos import MAX_DEPTH
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.bundle import Raw
from dlassign.errors import ConfigError, UserError
from dlassign.parts.code import Code
from dlassign.parts.gathered import Part, difference, gather

Config = str | Path | Mapping[str, Any]
"""The path of a YAML file, its text, or a dict with its keys. Text has a line break or `: ` in it, a path has none."""

Arrays = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""Samples and labels in memory, by split: `{"train": (x, y)}`, and `val` and `test` if they are given, too."""
_NAMING = {"name", "activation", "metric"}
"""Keys below a section whose value may be the name of a part."""


def locate_config(
    config: Config,
    changes: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    device: str | None = None,
    data: Arrays | None = None,
    code: Sequence[str | Path] = (),
    parts: Mapping[str, Part] | None = None,
) -> Located:
    """Read and check a config.

    Args:
        config: as of `Config`.
        changes: values by dotted key, such as {"optimizer.lr": 0.01}.
        seed: replaces the config's.
        device: replaces the config's.
        data: samples in memory.
        code: Python files of the user's own that may run.
        parts: classes and functions by the names that the config has for them.

    Raises:
        ConfigError: with every problem; of a dict, lines are those of its YAML.
        UserError: a file of code cannot be read, is no Python, or two have one name; the source of a part is not known.
    """
    with telling_python():
        allowed, names = own_code(code, parts)
        overrides = overrides_of(changes, names)
        document = read_named_config(given_path(config)) if is_path(config) else extended(document_of(config), Path())
        if data is not None:
            _name_arrays(document, data)
        document.data = with_files(document.data, names)
        # A seed may be a number of NumPy, a device one of torch.
        located = locate(document, overrides, seed=plain(seed), device=device and str(device), code=allowed)
        named = {part.name for part in own_parts(located.config)}
        if unused := [key for key, name in names.items() if name not in named]:
            raise UserError(
                f"parts gives {', '.join(unused)}, which the config does not name; leave it out, or name it"
            )
        return located


def own_code(code: Sequence[str | Path], parts: Mapping[str, Part] | None) -> tuple[Code, dict[str, str]]:
    """Return the code that may run, and the name in a config, such as `net.py:Net`, of each part.

    Raises:
        UserError: a file cannot be read, is no Python, or two have one name; the source of a part is not known.
    """
    if parts is not None and not isinstance(parts, Mapping):
        what = f"got {type(parts).__name__}"
        raise UserError(f'parts: expected classes and functions by name, such as {{"net": Net}}, {what}')
    listed = [code] if isinstance(code, str | Path) else code
    if not isinstance(listed, Sequence) or isinstance(listed, bytes):
        raise UserError(f"code: expected paths of Python files, such as ['net.py'], got {type(code).__name__}")
    files = [given_path(file, "code") for file in listed]
    with TemporaryDirectory(prefix=GATHERED) as folder:
        gathered = gather(parts or {}, Path(folder))
        # Read before the folder goes.
        allowed = Code([*files, *(file for file, _ in gathered.values())])
    for key, (_, name) in gathered.items():
        if parts is not None and (what := difference(parts[key], allowed.load(name))):
            changed = f"{what} is not what its source says; it was changed after it was defined, or its file was"
            raise UserError(f"parts[{key!r}]: {changed}: define it anew")
    return allowed, {key: name for key, (_, name) in gathered.items()}


def with_files(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """Return plain data with the file of a part in place of the name that the user gave it: `net.py:Net` for `net`."""
    match value:
        case dict():
            # At the top level `name` is that of the experiment.
            return {inner: with_files(own, names, f"{key}.{inner}") for inner, own in value.items()}
        case list():
            return [with_files(own, names, key) for own in value]
        case str() if "." in key.removeprefix(".") and key.rpartition(".")[2] in _NAMING:
            return names.get(value, value)
    return value


def raw_of(data: Arrays | None) -> Raw | None:
    """Return the samples that were given, if any.

    Raises:
        DataError: they are of no form that a net takes, or do not fit each other.
        ValueError: there is no split of such a name, or no pair of samples and labels.
    """
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ValueError(f'data: expected {{"train": (x, y)}}, got {type(data).__name__}')
    for name, pair in data.items():
        check_word("split", name, ("train", "val", "test"))
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"data[{name!r}]: expected (x, y), samples and their labels")
    if "train" not in data:
        raise ValueError('data: the training samples are missing; expected {"train": (x, y)}')
    x, y = data["train"]
    return raw_of_arrays(x, y, val=data.get("val"), test=data.get("test"))


def _name_arrays(document: Document, data: Arrays) -> None:
    """Write into a config what need not be said in it where samples are given: that they are, and of which splits."""
    section = document.data.setdefault("data", {"name": "arrays"})
    if isinstance(section, dict) and section.get("name") == "arrays":
        section.setdefault("given", [name for name in data if name != "train"])


def is_path(config: Config) -> TypeGuard[str | Path]:
    """Return whether a config is given by its path."""
    return isinstance(config, Path) or (isinstance(config, str) and "\n" not in config and ": " not in config)


def document_of(config: Config, file: str = "dict") -> Document:
    """Return the document of a dict or of text; file: the name of a dict in problems.

    Raises:
        ConfigError: it is neither, or holds what no YAML file can hold.
    """
    if isinstance(config, Mapping):
        return parse_config(dump_plain(plain(config)), file)
    if isinstance(config, str):
        return parse_config(config, "text")
    raise ConfigError(f"a config is the path of a YAML file, its text or a dict, not {type(config).__name__}")


def overrides_of(changes: Mapping[str, Any] | None, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return changes by dotted key as `--set` gives them; names: as of `with_files`.

    Raises:
        ConfigError: they are none, or a value is none that a config can hold.
    """
    if changes is not None and not isinstance(changes, Mapping):
        what = f"got {type(changes).__name__}"
        raise ConfigError(f'set: expected values by dotted key, such as {{"optimizer.lr": 0.01}}, {what}')
    found: dict[str, Any] = with_files(plain(changes or {}), names)
    return tuple(f"{key}={dump_line(value)}" for key, value in found.items())


def plain(value: Any, path: KeyPath = ()) -> Any:
    """Return a value as YAML has it: tuples and arrays as lists, paths as texts.

    Raises:
        ConfigError: it is none that a config can hold.
    """
    if len(path) > MAX_DEPTH:
        raise ConfigError.at(dotted(path[:3]), f"nested more than {MAX_DEPTH} levels deep; does it hold itself?")
    match value:
        case None | bool() | int() | float() | str() if type(value) in (type(None), bool, int, float, str):
            return value
        case Path():
            return str(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise ConfigError.at(dotted(path), f"the keys of a config are texts, not {key!r}")
            return {str(key): plain(inner, (*path, key)) for key, inner in value.items()}
        case list() | tuple() | range():
            return [plain(inner, (*path, number)) for number, inner in enumerate(value)]
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy, tensors
        return plain(value.tolist(), (*path, 0))
    what = getattr(value, "__qualname__", None) or f"an object of {type(value).__qualname__}"
    raise ConfigError.at(dotted(path), f"expected plain data (numbers, texts, lists, dicts), got {what}")
