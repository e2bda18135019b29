"""The page docs/api.md, made from signatures and docstrings: `python -m dlassign.api.reference > docs/api.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter, cleandoc, getdoc, isfunction, signature
from typing import Any

import dlassign
from dlassign import errors
from dlassign.api.check import Check
from dlassign.api.columns import Columns
from dlassign.api.compare import Compared, Group
from dlassign.api.find import Runs
from dlassign.api.given import Arrays, Config
from dlassign.api.result import Evaluated, Result
from dlassign.api.run import Run, SplitName
from dlassign.api.sweep import ExecutorName, SweepResult
from dlassign.deploy.model import Model
from dlassign.parts.gathered import Part
from dlassign.plots.picture import Picture
from dlassign.store.summary import RunSummary

FUNCTIONS = ("train", "open", "runs", "check", "compare", "sweep", "load_model")
RETURNED = (Result, Columns, Picture, Evaluated, Runs, Check, Compared, SweepResult, Model, RunSummary)
ERRORS = (errors.ConfigError, errors.UserError, errors.DataError)
TYPES = {
    "Arrays": Arrays,
    "Config": Config,
    "ExecutorName": ExecutorName,
    "Group": Group,
    "Part": Part,
    "SplitName": SplitName,
}
HEAD = """\
# Python

What `import dlassign as dl` offers: `dl.train` and the other names below, and what they return. Nothing else is
promised to stay. [howto/python.md](howto/python.md) shows it in use. This page is made from the code:
`python -m dlassign.api.reference > docs/api.md`.
"""
_SECTIONS = ("Args", "Attributes", "Returns", "Raises")
_ENTRY = re.compile(r"(?P<names>[\w., *]+?): (?P<text>.*)", re.DOTALL)


def reference_text() -> str:
    """Return docs/api.md, written from the docstrings and signatures of the public names."""
    parts = [HEAD]
    for name in FUNCTIONS:
        parts += _function(f"dlassign.{name}", _called(name), level=2)
    parts += _class("dlassign.Run", Run)
    parts.append("## What these return\n")
    for kind in RETURNED:
        parts += _class(kind.__name__, kind, level=3)
    parts.append("## Names of types\n")
    parts.append("".join(f"- `{name}` is `{_plain(kind)}`\n" for name, kind in TYPES.items()))
    parts.append(
        "## Errors\n\n`from dlassign.errors import ConfigError` and so on; their text is what the commands print.\n"
    )
    parts.append("".join(f"- `{error.__name__}`: {_first_line(error)}\n" for error in ERRORS))
    return "\n".join(parts).rstrip() + "\n"


def _called(name: str) -> Callable[..., Any]:
    """Return the function of a public name, also of one that is a package, too."""
    found = getattr(dlassign, name)
    return found if isfunction(found) else found.function


def _class(name: str, kind: type, *, level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} `{name}`\n"
    # How it is made and what that raises is no matter of those who are given one.
    yield _text(getdoc(kind) or "", without=("Args:", "Raises:"))
    properties = [(key, own) for key, own in vars(kind).items() if isinstance(own, property) and key[0] != "_"]
    if properties:
        yield "\n".join(f"- `{key}`: {_joined(getdoc(own) or '')}" for key, own in properties) + "\n"
    for key, own in vars(kind).items():
        if isfunction(own) and not key.startswith("_"):
            yield from _function(f"{name.rpartition('.')[2]}.{key}", own, level=level + 1)


def _function(name: str, function: Callable[..., Any], *, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{name}`\n"
    yield f"```python\n{_signature(name, function)}\n```\n"
    yield _text(getdoc(function) or "")


def _signature(name: str, function: Callable[..., Any]) -> str:
    own = signature(function)
    given, starred = [], False
    for parameter in own.parameters.values():
        if parameter.name == "self":
            continue
        starred |= parameter.kind is Parameter.VAR_POSITIONAL
        if parameter.kind is Parameter.KEYWORD_ONLY and not starred:
            given.append("*")
            starred = True
        given.append(_parameter(parameter))
    ending = f" -> {own.return_annotation}"
    line = f"{name}({', '.join(given)}){ending}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(given) + f",\n){ending}"


def _parameter(parameter: Parameter) -> str:
    star = "*" if parameter.kind is Parameter.VAR_POSITIONAL else ""
    default = "" if parameter.default is Parameter.empty else f" = {parameter.default!r}"
    return f"{star}{parameter.name}: {parameter.annotation}{default}"


def _text(doc: str, *, without: Sequence[str] = ()) -> str:
    """Return a docstring as Markdown: its sections, but for some, as lists."""
    parts = []
    for section in re.split(rf"\n\n(?=(?:{'|'.join(_SECTIONS)}):\n)", doc):
        head, _, rest = section.partition("\n")
        if head.removesuffix(":") not in _SECTIONS:
            parts.append(section)
        elif head not in without:
            parts += [head, "\n".join(map(_entry, re.split(r"\n(?=\S)", cleandoc(f"\n{rest}"))))]
    return "\n\n".join(parts) + "\n"


def _plain(kind: Any) -> str:
    """Return a type without the names of the modules in it."""
    return re.sub(r"\b[a-z_]+\.(?:[a-z_]+\.)*(?=[A-Z])", "", str(kind))


def _entry(text: str) -> str:
    """Return an entry of a section as an item of a list; a text without a name stands alone."""
    found = _ENTRY.fullmatch(text)
    if found is None or " " in found["names"].replace(", ", ""):
        return _joined(text)
    names = ", ".join(f"`{name}`" for name in found["names"].split(", "))
    return f"- {names}: {_joined(found['text'])}"


def _joined(text: str) -> str:
    return " ".join(text.split())


def _first_line(kind: type) -> str:
    return (getdoc(kind) or "").partition("\n")[0]


if __name__ == "__main__":
    print(reference_text(), end="")  # noqa: T201
