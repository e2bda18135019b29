"""What a user's class or function takes, read from its signature, with the line of whatever cannot be a key."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dlassign.config.own_keys import REQUIRED, OwnKey
from dlassign.errors import UserError
from dlassign.parts.kinds import Kind
from dlassign.parts.modules import PREFIX

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Definition:
    """Where a class or function stands: its file, and the syntax tree of that."""

    path: str
    tree: ast.Module
    name: str

    def line(self, parameter: str = "") -> int:
        """Return the line of a parameter, or of the class or function."""
        node = next((n for n in self.tree.body if getattr(n, "name", None) == self.name), None)
        if node is None:
            return 1
        inner: ast.AST = node
        if isinstance(node, ast.ClassDef):
            inner = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), node)
        arguments = [n for n in ast.walk(inner) if isinstance(n, ast.arg | ast.AnnAssign)]
        named = (n.lineno for n in arguments if parameter in (getattr(n, "arg", ""), _target(n)))
        return next(named, node.lineno) if parameter else node.lineno

    def line_of_method(self, method: str) -> int:
        """Return the line of a method, or of the class where it has none of this name in its body."""
        body = next((n.body for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == self.name), [])
        lines = (n.lineno for n in body if isinstance(n, ast.FunctionDef) and n.name == method)
        return next(lines, self.line())

    def error(self, message: str, parameter: str = "") -> UserError:
        """Return an error at a line of the file."""
        return UserError(f"{self.path}:{self.line(parameter)}: {message}")


def _target(node: ast.AST) -> str:
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def keys_of(part: Callable[..., Any], kind: Kind, where: Definition) -> list[OwnKey]:
    """Return the keys that a class or function takes, after what dlassign gives it by position.

    Raises:
        UserError: it cannot be called as its kind is, or a parameter says no type.
    """
    if not isinstance(part, type) and not hasattr(part, "__name__"):  # as functools.partial
        kind_of_it = type(part).__name__
        raise where.error(f"{where.name} is a {kind_of_it}; write a class or function, {kind.form(where.name)}")
    try:
        parameters = list(inspect.signature(part).parameters.values())
    except (TypeError, ValueError):
        raise where.error(f"what {where.name} takes cannot be read; write {kind.form(where.name)}") from None
    form = kind.form_of_class(where.name) if isinstance(part, type) else kind.form(where.name)
    given = kind.by_class if kind.by_class is not None and isinstance(part, type) else kind.given
    first, others = parameters[: len(given)], parameters[len(given) :]
    if len(first) < len(given) or any(parameter.kind not in _POSITIONAL for parameter in first):
        taken = str(inspect.signature(part)).partition(" -> ")[0]
        raise where.error(f"{where.name}{taken} cannot be called with {', '.join(given)}; write {form}")
    annotations, texts = _annotations(part, where), _texts(part)
    if _is_inherited(part):  # as of a torch.nn.Module without __init__, which takes *args and **kwargs
        others = [parameter for parameter in others if parameter.kind not in _ANY]
    called = f"{where.name}({', '.join(given)})"
    keys = [parameter for parameter in others if parameter.name not in kind.by_name]
    return [_key(parameter, annotations, texts, where, called=called) for parameter in keys]


def _key(
    parameter: inspect.Parameter,
    annotations: dict[str, Any],
    texts: dict[str, str],
    where: Definition,
    *,
    called: str,
) -> OwnKey:
    name = parameter.name
    if parameter.kind in _ANY:
        raise where.error(f"{parameter} says no keys that a config could be checked against; name each of them", name)
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise where.error(f"{name} is taken by position alone, and keys of a config are given by name", name)
    if name not in annotations:
        default = parameter.default
        if isinstance(default, bool | int | float | str):
            cure = f"write `{name}: {type(default).__name__} = {default!r}`"
        else:
            types = f"give it its type, such as `{name}: int` or `{name}: str`"
            cure = f"{types}; dlassign itself calls {called} and gives no {name}"
        raise where.error(f"{name} has no annotation, so its key cannot be checked; {cure}", name)
    default = REQUIRED if parameter.default is parameter.empty else parameter.default
    return OwnKey(name, annotations[name], default, texts.get(name, ""))


def _annotations(part: Callable[..., Any], where: Definition) -> dict[str, Any]:
    """Return the annotations, those written as text evaluated."""
    target = _called(part)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception as error:  # noqa: BLE001  # whatever the user's annotation does
        raise where.error(f"an annotation of {where.name} cannot be read ({type(error).__name__}: {error})") from None


def _is_inherited(part: Callable[..., Any]) -> bool:
    """Return whether a class has its `__init__` from a class that is not the user's."""
    return isinstance(part, type) and not str(getattr(_called(part), "__module__", "")).startswith(PREFIX)


def _called(part: Callable[..., Any]) -> Any:
    """Return the function that takes the arguments: of a class its `__init__`."""
    return getattr(part, "__init__") if isinstance(part, type) else part  # noqa: B009  # mypy takes it for unsound


def _texts(part: Callable[..., Any]) -> dict[str, str]:
    """Return what the section Args of a Google docstring says of each argument."""
    docs = [inspect.getdoc(part) or "", inspect.getdoc(_called(part)) or ""]
    return {name: text for doc in docs for name, text in _described(doc)}


def _described(doc: str) -> Iterator[tuple[str, str]]:
    _, found, rest = doc.partition("Args:\n")
    section = re.split(r"\n\S", rest)[0] if found else ""
    for match in re.finditer(r"^    (\w+)(?: \([^)]*\))?: (.+(?:\n {6,}.+)*)", section, re.MULTILINE):
        yield match[1], " ".join(match[2].split())
