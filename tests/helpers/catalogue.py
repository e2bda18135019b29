"""Catalogues of golden messages: one text file holds many cases, each what is given and the exact message it gets.

    ======== 001_typo_top.yaml
    data: {name: digits}
    sede: 3
    -------- says
    001_typo_top.yaml:2:1: sede: unknown key. Did you mean 'seed'?

A case without the line `says` is a file that other cases read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock

BEGIN, SAYS = "======== ", "-------- says\n"


@dataclass(frozen=True)
class Case:
    """What is given, and the message that is expected; None for a file that other cases read."""

    name: str
    given: str
    message: str | None

    def __str__(self) -> str:
        return f"{BEGIN}{self.name}\n{self.given}" + ("" if self.message is None else f"{SAYS}{self.message}")


def read_catalogue(path: Path) -> dict[str, Case]:
    """Return the cases of a catalogue by name."""
    text = path.read_bytes().decode()  # as it is: an end of line of another system may be what a case is about
    cases: dict[str, Case] = {}
    for block in re.split(rf"^{BEGIN}", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.removesuffix("\n\n").removesuffix("\n").partition("\n")
        given, says, message = f"{rest}\n".partition(SAYS)
        assert name not in cases, f"{path}: {name} stands twice"
        cases[name] = Case(name, given, message if says else None)
    return cases


def write_catalogue(path: Path, cases: dict[str, Case]) -> None:
    """Write the cases, with an empty line between two."""
    path.write_bytes("\n".join(map(str, cases.values())).encode())


def update_message(path: Path, name: str, message: str) -> None:
    """Write one message anew; other processes may do so at the same time."""
    with FileLock(Path(gettempdir(), f"{path.name}.lock")):
        cases = read_catalogue(path)
        write_catalogue(path, {**cases, name: Case(name, cases[name].given, message)})
