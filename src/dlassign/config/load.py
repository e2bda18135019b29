"""From a YAML file and command-line overrides to a RunConfig, or to every problem at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config
from dlassign.config.explain import explain, explain_rule, first
from dlassign.config.indentation import mend_indentation
from dlassign.config.ordinary_file import open_ordinary
from dlassign.config.overrides import apply_overrides, extend, set_option
from dlassign.config.own_names import settle_names, with_own_parts
from dlassign.config.own_part import Allowed, OwnCode
from dlassign.config.places import Document, KeyPath, Place
from dlassign.config.rules import broken_rules
from dlassign.config.run import NAME_PATTERN, RunConfig
from dlassign.config.schema import Node, run_schema
from dlassign.config.values import show
from dlassign.config.yamlpos import EXPECTED, parse_yaml, plain_value
from dlassign.errors import ConfigError, Problem

MAX_BYTES = 100_000
"""No config is so long, and PyYAML would read it for minutes."""
C = TypeVar("C", bound=Config)
T = TypeVar("T")
Rules: TypeAlias = Callable[[Mapping[str, Any]], Iterable[PydanticCustomError]]
"""Yields the broken rules between those sections of a config that are valid by themselves."""


@dataclass(frozen=True)
class Located:
    """A config and where its keys stand, for problems that show only later, such as when the data is read."""

    config: RunConfig
    document: Document

    def place(self, problem: Problem) -> Problem:
        """Return `problem` with the place of its dotted `path`, or of the nearest key above it."""
        if problem.file:
            return problem
        path: KeyPath = ()
        for part in problem.path.split(".") if problem.path else ():
            path = (*path, int(part) if (*path, 0) in self.document.values and part.isdigit() else part)
        return replace(self.document.problem(path, problem.message), path=problem.path)


@contextmanager
def placing(located: Located) -> Iterator[None]:
    """Give config errors that are found later, such as when the data is read, their place in the file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([located.place(problem) for problem in error.problems]) from error


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    device: str | None = None,
    code: OwnCode | None = None,
) -> RunConfig:
    """Do what `load_located` does, without the places.

    Raises:
        ConfigError: with every problem, sorted by place.
    """
    return load_located(path, overrides, seed=seed, device=device, code=code).config


def load_located(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    device: str | None = None,
    code: OwnCode | None = None,
) -> Located:
    """Read, extend, override and check a config, and keep the place of every key.

    Args:
        path: the YAML file. Its stem is the run's name if the file gives none.
        overrides: `a.b=c` each, as after `--set`.
        seed: replaces the seed in the file.
        device: replaces the device in the file.
        code: the user's code that may run; None: none may.

    Raises:
        ConfigError: with every problem, sorted by place.
    """
    return locate(read_named_config(Path(path)), overrides, seed=seed, device=device, code=code)


def locate(
    document: Document,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    device: str | None = None,
    code: OwnCode | None = None,
) -> Located:
    """Override and check a config that has been read; the arguments are those of `load_located`.

    Raises:
        ConfigError: with every problem, sorted by place.
    """
    file = document.file
    if {"base", "space"} <= document.data.keys():
        message = f"{file} is a sweep file, not the config of a run; train it with `dlassign sweep --config {file}`"
        raise ConfigError([document.value_place(("space",)).problem(message)])
    if "rows" in document.data and "model" not in document.data:
        message = f"{file} is a table, not the config of a run; `dlassign reproduce {file}` trains what it lacks"
        raise ConfigError([document.value_place(("rows",)).problem(message)])
    apply_overrides(document, overrides)
    for key, value in (("seed", seed), ("device", device)):
        if value is not None:
            set_option(document, key, value, f"--{key}")
    return check_document(document, code)


def _fill_default_names(data: dict[str, Any]) -> None:
    """Name the member of a union that is the default, where only its other keys are given: `loss: {penalty: [...]}`."""
    for key, field in RunConfig.model_fields.items():
        section = data.get(key)
        if isinstance(section, dict) and "name" not in section and hasattr(field.default, "name"):
            section["name"] = field.default.name


def dump_config(config: RunConfig) -> str:
    """Return the YAML of a config with every default written out; loading it gives the same config."""
    return dump_plain(config.model_dump(mode="json"))


def dump_plain(data: dict[str, Any]) -> str:
    """Return plain data as YAML, in each section the name first."""
    data = {
        key: {"name": value["name"], **value} if isinstance(value, dict) and "name" in value else value
        for key, value in data.items()
    }
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def dump_line(value: Any) -> str:
    """Return plain data as one line of YAML, of printable letters; others are escaped."""
    text = _line(value, allow_unicode=True)
    return text if text.isprintable() else _line(value, allow_unicode=False)


def _line(value: Any, *, allow_unicode: bool) -> str:
    settings: dict[str, Any] = {"sort_keys": False, "width": math.inf, "allow_unicode": allow_unicode}
    text = yaml.dump(value, Dumper=_LineDumper, default_flow_style=True, **settings)
    return str(text).removesuffix("\n").removesuffix("\n...")


class _Dumper(yaml.SafeDumper):
    """Quotes texts that our reader, unlike PyYAML's, takes for numbers; writes lists in one line."""

    def represent_data(self, data: Any) -> yaml.Node:
        node = super().represent_data(data)
        if isinstance(node, yaml.ScalarNode) and isinstance(data, str) and not isinstance(plain_value(data), str):
            node.style = "'"
        if isinstance(node, yaml.ScalarNode) and isinstance(data, str) and not self.may_stand(data):
            node.style = '"'
        if isinstance(node, yaml.SequenceNode):
            node.flow_style = True
        return node

    def may_stand(self, text: str) -> bool:
        """Return whether a text may stand as it is; YAML takes some letters for the end of a line."""
        return text.replace("\n", "").isprintable()


class _LineDumper(_Dumper):
    """Writes a text in one line, too."""

    def may_stand(self, text: str) -> bool:
        return text.isprintable()


def read_yaml(path: Path) -> Document:
    """Read a config file.

    Raises:
        ConfigError: the file cannot be read, is no UTF-8 text, or is not one YAML mapping.
    """
    file = str(path)
    try:
        with open_ordinary(path) as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(file=file, message=_unreadable(path, error))]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError([Place(file).problem("larger than 100 kB, so hardly a config; give the YAML file of a run")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        where = f"byte 0x{raw[error.start]:02x} at {error.start} of the file"
        message = f"not UTF-8 text ({where}); save the file as UTF-8"
        raise ConfigError([Place(file, line).problem(message)]) from None
    return parse_config(text, file)


def parse_config(text: str, file: str) -> Document:
    """Read the text of a config.

    Args:
        text: the YAML.
        file: name to show in problems.

    Raises:
        ConfigError: it is not one YAML mapping.
    """
    document = parse_yaml(text, file)
    if isinstance(document.data, dict):
        return document
    what = "a list" if isinstance(document.data, list) else "a single value"
    found = "the file is empty or holds only comments" if document.data is None else f"the file holds {what}, not keys"
    message = f"{found}; {EXPECTED}, e.g. `data: {{name: digits}}`"
    raise ConfigError([*document.problems, document.value_place(()).problem(message)])


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; give the path of a YAML file that exists"
    if isinstance(error, IsADirectoryError):
        return "is a folder; give the path of a YAML file in it"
    if isinstance(error, PermissionError):
        return "no permission to read this file; change its permissions (chmod +r) or give another file"
    return f"cannot be read ({getattr(error, 'strerror', None) or error}); give the path of a YAML file"


def read_config(path: Path) -> Document:
    """Return the file, merged into the one it extends, not checked yet.

    Raises:
        ConfigError: one of them cannot be read or is not one YAML mapping.
    """
    return extended(read_yaml(path), path.parent)


def read_named_config(path: Path) -> Document:
    """Do as `read_config`; a config without a name gets that of its file.

    Raises:
        ConfigError: as of `read_config`.
    """
    document = read_config(path)
    if "name" not in document.data and re.fullmatch(NAME_PATTERN, path.stem):
        document.data["name"] = path.stem
    return document


def extended(top: Document, folder: Path) -> Document:
    """Return a config merged into the one it extends, whose path is relative to a folder; not checked yet.

    Raises:
        ConfigError: that one cannot be read or is not one YAML mapping.
    """
    if "extends" not in top.data:
        return top
    place = top.value_place(("extends",))
    name = top.data.pop("extends")
    if not isinstance(name, str) or not name:
        message = f"expected the path of a config, relative to this file, got {show(name)}"
        raise ConfigError([place.problem(message, ("extends",))])
    base_path = folder / name
    base = read_named(base_path, read_yaml, top, ("extends",))
    if "extends" in base.data:
        message = f"{base_path} extends another file itself; only one level is allowed: remove `extends` there"
        raise ConfigError([place.problem(message, ("extends",))])
    return extend(base, top)


def read_named(path: Path, read: Callable[[Path], T], document: Document, key: KeyPath) -> T:
    """Read a file that a key of another file names.

    Raises:
        ConfigError: with the problems in the file; one of the file as a whole stands at the key.
    """
    try:
        return read(path)
    except ConfigError as error:
        if error.problems[0].line:
            raise
        raise ConfigError([document.problem(key, f"{shown(path)}: {error.problems[0].message}")]) from None


def shown(path: Path) -> str:
    """Return a path as a message shows it."""
    return str(path).encode(errors="backslashreplace").decode()


def check_document(document: Document, code: OwnCode | None = None) -> Located:
    """Check a document that nothing is added to any more, and keep the place of every key.

    Args:
        document: of a run; default names are written into it.
        code: the user's code that may run; None: none may.

    Raises:
        ConfigError: with every problem, sorted by place.
    """
    _fill_default_names(document.data)
    allowed = settle_names(document, code)
    config, problems = validate(document, RunConfig, broken_rules, run_schema, allowed=allowed)
    if config is None or problems:
        raise ConfigError(problems)
    return Located(config, document)


def validate(
    document: Document, kind: type[C], rules: Rules, root: Callable[[], Node], *, allowed: Allowed | None = None
) -> tuple[C | None, list[Problem]]:
    """Return the config if it is valid, and all problems; what could not be read is not reported twice.

    Args:
        document: the whole file.
        kind: the config's class.
        rules: those between its sections.
        root: makes its JSON Schema, which only a problem needs.
        allowed: which of the user's own parts may run; None: none.
    """
    allowed = allowed or Allowed()
    config, found = _checked(document, kind, rules, root, allowed)
    if found:
        mended, told = mend_indentation(document, with_own_parts(root(), document, allowed))
        told += _checked(mended, kind, rules, root, allowed)[1] if told else found
        found = min(found, told, key=len)  # one wrong indentation makes many keys unknown or missing
    return config, first(document.problems, document) + found


def _checked(
    document: Document, kind: type[C], rules: Rules, root: Callable[[], Node], allowed: Allowed
) -> tuple[C | None, list[Problem]]:
    try:
        return kind.model_validate(document.data, context=allowed), []
    except ValidationError as error:
        schema = with_own_parts(root(), document, allowed)
        known = {(problem.file, problem.line, problem.path) for problem in document.problems}
        wrong_sections = {str(details["loc"][0]) for details in error.errors() if details["loc"]}
        sections = _valid_sections(document.data, kind, wrong_sections, allowed)
        found = explain(error, document, schema) + [explain_rule(rule, document) for rule in rules(sections)]
        return None, [p for p in found if (p.file, p.line, p.path) not in known]


def _valid_sections(data: Mapping[str, Any], kind: type[Config], wrong: set[str], allowed: Allowed) -> dict[str, Any]:
    """Return the sections that are valid by themselves."""
    valid: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name in data and name not in wrong:
            adapter = TypeAdapter[Any](field.rebuild_annotation())
            valid[name] = adapter.validate_python(data[name], context=allowed)
        elif name not in wrong:
            valid[name] = field.get_default(call_default_factory=True)
    return valid
