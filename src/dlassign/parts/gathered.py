"""Classes and functions that Python holds, such as those of a notebook, taken into files that run by themselves."""

from __future__ import annotations

import ast
import inspect
import keyword
import linecache
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from dlassign.errors import UserError
from dlassign.parts.source_files import read_sources
from dlassign.store.files import make_folder

_OF_EVERY_CLASS = {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__"}
Part = Callable[..., Any]
"""A class or a function."""
_MAIN = "__main__"


def gather(parts: Mapping[str, Part], folder: Path) -> dict[str, tuple[Path, str]]:
    """Return the file of each part and its name in a config, such as `net.py:Net`.

    The part of an imported file is that file as it is now. That of a script or a notebook is written into the folder,
    with all of its own that it uses and the imports for the rest.

    Args:
        parts: by a name of the user's choice, which is that of the file, too.
        folder: an empty one.

    Raises:
        UserError: one is no class or function, or its source, or that of what it uses, is not known.
    """
    return {name: _gathered(name, part, folder) for name, part in parts.items()}


def _gathered(name: str, part: Part, folder: Path) -> tuple[Path, str]:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(
            f"parts: {name!r} is no name in Python, and a file is called by it; give it another, such as 'net'"
        )
    if not isinstance(part, type | FunctionType):
        raise UserError(f"parts[{name!r}]: expected a class or a function, got {type(part).__name__}")
    if part.__qualname__ != part.__name__ or not part.__name__.isidentifier():
        where = "define it at the top level of a file or of a notebook's cell"
        raise UserError(f"parts[{name!r}]: {part.__qualname__} is defined inside another function or class; {where}")
    module = sys.modules.get(part.__module__)
    file = getattr(module, "__file__", None)
    if part.__module__ != _MAIN and "." not in part.__module__ and file and getattr(module, part.__name__, 0) is part:
        return Path(file), f"{Path(file).name}:{part.__name__}"
    gathering = _Gathering(name, part.__name__, folder)
    gathering.add(part)
    target = folder / f"{name}.py"
    target.write_text(gathering.text(), encoding="utf-8")
    return target, f"{target.name}:{part.__name__}"


@dataclass
class _Gathering:
    """A file in the making: of a part, and all that it uses.

    Attributes:
        name: of the part, for messages.
        what: name of the class or function, for messages.
        folder: where files that it imports are copied to.
        known: what each name of the file means.
        imports, values, definitions: its lines, in the order in which they stand in it.
        future: whether annotations are text in it.
    """

    name: str
    what: str
    folder: Path
    known: dict[str, Any] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    future: bool = False

    def text(self) -> str:
        """Return the file."""
        first = ["from __future__ import annotations"] if self.future else []
        head = "\n".join([*first, *sorted(self.imports), *self.values])
        return "\n\n\n".join([head, *self.definitions] if head else self.definitions) + "\n"

    def _error(self, message: str) -> UserError:
        return UserError(f"parts[{self.name!r}]: {message}")

    def add(self, part: Part) -> None:
        """Take in a class or function, and before it what it uses."""
        found = _definition(part)
        if found is None:
            why = f"the source of {part.__name__} is not known: it was typed at a prompt, or it has no method"
            raise self._error(f"{why}; put it into a notebook's cell, or into a file and give code=['FILE.py']")
        source, function = found
        self.known[part.__name__] = part
        self.future |= bool(function.__code__.co_flags & _annotations_flag())
        for used in sorted(_global_names(source)):
            if used in function.__globals__:
                self._use(used, function.__globals__[used], part.__module__)
        self.definitions.append(source)

    def _use(self, name: str, value: Any, module: str) -> None:
        """Take in what a name means."""
        if name in self.known:
            if self.known[name] is not value:
                raise UserError(
                    f"parts[{self.name!r}]: {name} means two things in the code that {self.what} uses; rename one"
                )
            return
        self.known[name] = value
        if isinstance(value, ModuleType):
            self._import(value.__name__, f"import {value.__name__}" + f" as {name}" * (name != value.__name__))
        elif isinstance(value, type | FunctionType) and value.__module__ == module:
            self.add(value)
            if value.__name__ != name:
                self.definitions.append(f"{name} = {value.__name__}")
        elif found := _importable(name, value):
            home, own = found
            self._import(home, f"from {home} import {own}" + f" as {name}" * (name != own))
        elif _is_plain(value):
            self.values.append(f"{name} = {value!r}")
        else:
            why = f"{self.what} uses {name}, {_described(value)}, which cannot be copied into the run"
            raise self._error(f"{why}; define it inside {self.what}, or put all into a file and give code=['FILE.py']")

    def _import(self, module: str, line: str) -> None:
        """Write an import; files of the user's own come along, from which `Code` takes what is imported."""
        self.imports.append(line)
        for below, text in _own_files(module.partition(".")[0]).items():
            target = self.folder / below
            make_folder(target.parent)
            target.write_bytes(text)


def _definition(part: Part) -> tuple[str, FunctionType] | None:
    """Return the source of a class or function, and a function in it; None if it is not known."""
    for function in _functions(part):
        code = function.__code__
        text = "".join(linecache.getlines(code.co_filename))
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError):
            continue
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name != part.__name__:
                continue
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= code.co_firstlineno <= (node.end_lineno or first):
                return "\n".join(text.splitlines()[first - 1 : node.end_lineno]), function
    return None


def _functions(part: Part) -> Iterator[FunctionType]:
    """Yield the functions that stand in the source of a part: itself, or the methods of a class."""
    if isinstance(part, FunctionType):
        yield from (own for own in (inspect.unwrap(part),) if isinstance(own, FunctionType))
        return
    for value in vars(part).values():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and inner.__module__ == part.__module__:
            yield inner


def _annotations_flag() -> int:
    import __future__

    return __future__.annotations.compiler_flag


def _global_names(source: str) -> set[str]:
    """Return the names that code takes from the file around it."""
    found: set[str] = set()
    waiting = [symtable.symtable(source, "part", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        outermost = table.get_type() == "module"
        for symbol in table.get_symbols():
            outside = not symbol.is_assigned() if outermost else symbol.is_global()
            if symbol.is_referenced() and outside:
                found.add(symbol.get_name())
    return found


def _importable(name: str, value: Any) -> tuple[str, str] | None:
    """Return module and name by which a value can be imported."""
    home = getattr(value, "__module__", None)
    module = sys.modules.get(home) if isinstance(home, str) and home != _MAIN else None
    for own in (name, getattr(value, "__name__", None), getattr(value, "_name", None)):
        if module is not None and isinstance(own, str) and own.isidentifier() and getattr(module, own, None) is value:
            return module.__name__, own
    return None


def difference(given: Any, read: Any) -> str:
    """Return in what an object differs from the one that its source makes, such as `Net.forward`; "" if in nothing.

    Args:
        given: the class or function that the user holds; it may have been changed after it was defined.
        read: what the file of the run makes.
    """
    name = getattr(given, "__qualname__", "?")
    if isinstance(given, FunctionType) and isinstance(read, FunctionType):
        return "" if _meaning(given) == _meaning(read) else name
    if not (isinstance(given, type) and isinstance(read, type)):
        return name
    mine, theirs = (
        {key: value for key, value in vars(one).items() if key not in _OF_EVERY_CLASS} for one in (given, read)
    )
    for key in sorted(mine.keys() | theirs.keys()):
        ours, other = mine.get(key), theirs.get(key)
        if type(ours).__name__ != type(other).__name__:
            return f"{name}.{key}"
        if isinstance(ours, FunctionType | type) and (found := difference(ours, other)):
            return found
        if _is_plain(ours) and ours != other:
            return f"{name}.{key}"
    return ""


def _meaning(function: FunctionType) -> tuple[Any, ...]:
    """Return what equal functions share. Not their bytecode: it also depends on the imports around them."""
    code = function.__code__
    constants = [repr(one) for one in code.co_consts if not isinstance(one, CodeType)]
    try:
        text = textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):  # not known; names and constants tell most
        text = ""
    return text, code.co_names, constants, repr((function.__defaults__, function.__kwdefaults__))


def _is_plain(value: Any) -> bool:
    """Return whether a value can be written down."""
    if isinstance(value, type) or len(text := repr(value)) > 10_000:
        return False
    try:
        return bool(ast.literal_eval(text) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _own_files(module: str) -> dict[str, bytes]:
    """Return the files of a module that lies beside the script or in the working directory; {} of installed ones."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py") or {"site-packages", "dist-packages"} & set(Path(file).parts):
        return {}
    path = Path(file).resolve()
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    if folder not in (Path.cwd(), Path(sys.path[0]).resolve()):
        return {}
    if path.name != "__init__.py":
        return read_sources(path)
    return {str(own.relative_to(folder)): own.read_bytes() for own in sorted(path.parent.rglob("*.py"))}


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
