"""What is told to who calls from Python: errors in the words of Python, and lines beside the result."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Any, SupportsIndex

from dlassign.errors import ConfigError, UserError

GATHERED = "dlassign-parts-"
"""How temporary folders begin, in which parts that were given as objects are gathered."""
_OPTION = re.compile(
    r"(?P<line>dlassign \w+ [^;`]*)|(?<!\S)--"
    r"(code (?P<file>\S*\.py)|(?P<flag>trust|again)\b|(?P<name>code|device|out|seed|set|split|weights|where|workers)\b)"
)
"""An option of the command line in a message, or a whole command line."""


_LONGEST = 60
"""Letters of a wrong argument that a message shows."""


@contextmanager
def telling_python() -> Iterator[None]:
    """Tell errors in the words that Python has: `set` and `code=['net.py']` for `--set` and `--code net.py`."""
    try:
        yield
    except ConfigError as error:
        problems = [
            replace(one, file=one.file.removeprefix("--"), message=_python_words(one.message)) for one in error.problems
        ]
        raise ConfigError(problems) from None
    except UserError as error:
        error.args = (_python_words(str(error)),)
        raise


def _python_words(message: str) -> str:
    """Return a message with the options in it as arguments; command lines stay as they are."""
    # A gathered file is known by its name alone: its folder is another each time, and gone.
    return _OPTION.sub(_argument, re.sub(rf"[^\s`'\"(]*{GATHERED}\w+/", "", message))


def _argument(option: re.Match[str]) -> str:
    if option["line"]:
        return option["line"]
    if option["file"]:
        return f"code=['{option['file']}']"
    return f"{option['flag']}=True" if option["flag"] else option["name"]


def check_word(name: str, value: str, known: Sequence[str]) -> None:
    """Raise ValueError for an argument that is none of the known words."""
    if value not in known:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(known)}")


def check_kind(name: str, value: object, kind: Any, expected: str) -> None:
    """Raise ValueError for an argument that is of another kind than expected, as a slip in a call makes it."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}={_shown(value)}; expected {expected}")


def check_count(name: str, value: object) -> int:
    """Return a count, 1 or more, of Python or NumPy; raise ValueError for anything else."""
    try:
        count = value.__index__() if isinstance(value, SupportsIndex) and not isinstance(value, bool) else 0
    except TypeError:  # arrays and tensors have it, and refuse where they hold no whole number
        count = 0
    if count < 1:
        raise ValueError(f"{name}={_shown(value)}; expected a count, 1 or more")
    return count


def check_number(name: str, value: object, expected: str = "a number") -> None:
    """Raise ValueError for an argument that is no finite number of Python or NumPy."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or value in (math.inf, -math.inf) or value != value:
        raise ValueError(f"{name}={_shown(value)}; expected {expected}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def say(text: str) -> None:
    """Tell a line beside the result, on standard error."""
    print(text, file=sys.stderr)  # noqa: T201
