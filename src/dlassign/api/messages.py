"""What is told to who calls from Python: errors in the words of Python, and lines beside the result."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from dlassign.errors import ConfigError, UserError

GATHERED = "dlassign-parts-"
"""How temporary folders begin, in which parts that were given as objects are gathered."""
_OPTION = re.compile(
    r"(?P<line>dlassign \w+ [^;`]*)|(?<!\S)--"
    r"(code (?P<file>\S*\.py)|(?P<flag>trust|again)\b|(?P<name>code|device|out|seed|set|split|weights|where|workers)\b)"
)
"""An option of the command line in a message, or a whole command line."""


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


def say(text: str) -> None:
    """Tell a line beside the result, on standard error."""
    print(text, file=sys.stderr)  # noqa: T201
