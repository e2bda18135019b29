"""Which parameters belong to which group of an optimizer, by patterns of their names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from dlassign.config.suggestion import did_you_mean
from dlassign.errors import ConfigError, Problem, first_few

SHOWN = 20
"""Names of parameters that a message lists."""


def split_by_patterns(groups: Sequence[Sequence[str]], names: Sequence[str], *, path: str) -> list[int]:
    """Return for every name the number of the first group that has a pattern for it, or len(groups) if none has.

    Args:
        groups: patterns of each group; `*` stands for any text, dots included.
        names: of the parameters.
        path: dotted key of the groups, for messages.

    Raises:
        ConfigError: a pattern fits no name, or earlier groups take all that a group fits.
    """
    problems = [
        Problem(path=f"{path}.{number}.params", message=no_match(pattern, names))
        for number, patterns in enumerate(groups)
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    owners = [_first(groups, name) for name in names]
    # Only where every pattern fits: a typo would make its group empty too, and be told twice.
    if not problems:
        message = "every parameter that fits is in an earlier group; put this group before it, or remove it"
        empty = sorted(set(range(len(groups))) - set(owners))
        problems = [Problem(path=f"{path}.{number}.params", message=message) for number in empty]
    if problems:
        raise ConfigError(problems)
    return owners


def fits(name: str, patterns: Collection[str]) -> bool:
    """Return whether one of the patterns fits a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def no_match(pattern: str, names: Sequence[str]) -> str:
    """Return the message for a pattern that fits none of these names."""
    there = first_few(names, SHOWN) or "none"
    return f"{pattern!r} fits no parameter.{did_you_mean(pattern, names)} There are: {there}"


def _first(groups: Sequence[Sequence[str]], name: str) -> int:
    # The first group wins, so a general pattern may follow a special one.
    return next((number for number, patterns in enumerate(groups) if fits(name, patterns)), len(groups))
