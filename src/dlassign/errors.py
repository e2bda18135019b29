"""Everything that dlassign raises on purpose.

    DlassignError
    ├── UserError        exit 1   the run cannot go on, and the user can do something about it
    │   ├── DataError    exit 1   a data set is missing, damaged or not what the config says
    │   ├── UnknownName  exit 2   a key, column or rule that does not exist
    │   └── Interrupted  exit 130 Ctrl-C or SIGTERM; a checkpoint was written
    ├── ConfigError      exit 2   the command line or a config is wrong; carries every problem found
    └── Diverged         exit 3   the loss stopped being a finite number

A message says what is wrong, what was expected and what to do. The command line prints it without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONGEST = 200
"""Characters of a line of a file that a message shows."""


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 file`, `2 files`, `1,000 classes`.

    Args:
        count: how many.
        one: the noun of one, or all that depends on the number: `counted(n, "file holds", "files hold")`.
        many: the noun of any other number, if it is not that of one with an s.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def first_few(names: Sequence[str], most: int) -> str:
    """Return the first `most` names as text, and how many more there are: `a, b and 3 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


class DlassignError(Exception):
    """Base of all errors that dlassign raises on purpose."""

    exit_code = 1


class UserError(DlassignError):
    """The run cannot go on; the message names the cause and the cure."""


class DataError(UserError):
    """A data set is missing, damaged or not what the config says."""


class UnknownName(UserError):
    """A key, column or rule that does not exist was asked for."""

    exit_code = 2


class Interrupted(UserError):
    """Stopped by Ctrl-C or SIGTERM after a checkpoint was written."""

    exit_code = 130


class Diverged(DlassignError):
    """The loss stopped being a finite number."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a config, and where.

    Attributes:
        message: what is wrong, what was expected and the cure, one line.
        path: dotted key such as `optimizer.lr`, or "" for the file as a whole.
        file: file name as the user wrote it, or `--set` for a command-line override.
        line, column: 1-based; 0 if the problem has no place in a file.
        source: the text of that line, or "".
        width: number of characters to underline, at least 1.
    """

    message: str
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    source: str = ""
    width: int = 1

    def render(self) -> str:
        """Return `file:line:column: path: message`, then the source line with the spot underlined."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        head = ": ".join(part for part in (place, self.path, self.message) if part)
        if not self.line or not self.source:
            return head
        gutter = f"{self.line:>5} | "
        cut = max(0, self.column - LONGEST // 2) if len(self.source) > LONGEST else 0
        shown = self.source[cut : cut + LONGEST].replace("\t", " ")
        marks = "^" * max(1, min(self.width, len(shown) - self.column + 1 + cut))
        return f"{head}\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {' ' * (self.column - 1 - cut)}{marks}"


class ConfigError(DlassignError):
    """A config or command line is wrong; `problems` holds every problem, sorted by place."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem(message=problems)]
        self.problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        super().__init__("\n".join(problem.render() for problem in self.problems))

    @classmethod
    def at(cls, path: str, message: str) -> ConfigError:
        """Return the error of one problem at one key, such as `optimizer.lr`."""
        return cls([Problem(path=path, message=message)])
