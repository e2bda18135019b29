"""Flaw: one thing that is odd about a data set; DataCheck: all that was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Level = Literal["alarm", "warning", "note"]
LEVELS: tuple[Level, ...] = ("alarm", "warning", "note")
"""The worst first. An alarm makes a result wrong; a warning may; a note is worth knowing."""
_EFFECTS = {
    "order_by_class": ("missing_class", "class_shares", "changed_split", "unlike_train"),
    "missing_class": ("class_shares",),
    "constant_columns": ("equal_across", "equal_within", "two_labels"),
}
"""What follows from a fault, and goes when that is mended."""
Place = tuple[str, int]
"""A sample: its split, and its row there."""
SHOWN = 10
"""Places that a flaw holds; its counts say how many there are."""


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One thing that is odd about a data set.

    Attributes:
        kind: what it is, such as `equal_across`.
        level: how bad.
        text: the same in a sentence, with counts.
        cure: what to do about it.
        counts: the numbers of the text, by name.
        samples: the first few places; each entry holds samples that belong together, such as equal ones.
    """

    kind: str
    level: Level
    text: str
    cure: str
    counts: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[tuple[Place, ...], ...] = ()

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Flaw:
        """Return what `asdict` made plain."""
        samples = tuple(tuple((str(split), int(row)) for split, row in group) for group in plain["samples"])
        return cls(**{**plain, "samples": samples})


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What a check of a data set found.

    Attributes:
        flaws: the worst first.
        facts: what is known of the set: shape, sizes, classes, mean and spread of each split.
        leaks: of val and test, the rows that also occur in train and should not.
    """

    flaws: tuple[Flaw, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    leaks: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def alarms(self) -> tuple[Flaw, ...]:
        """What makes a result wrong."""
        return tuple(flaw for flaw in self.flaws if flaw.level == "alarm")

    def with_flaw(self, flaw: Flaw) -> DataCheck:
        """Return the check with one flaw more."""
        return replace(self, flaws=causes([*self.flaws, flaw]))

    def plain(self) -> dict[str, Any]:
        """Return this in plain values, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> DataCheck:
        """Return what `plain` described.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        flaws = tuple(Flaw.from_plain(flaw) for flaw in plain["flaws"])
        leaks = {str(split): [int(row) for row in rows] for split, rows in plain["leaks"].items()}
        return cls(flaws=flaws, facts=dict(plain["facts"]), leaks=leaks)


def causes(flaws: Sequence[Flaw]) -> tuple[Flaw, ...]:
    """Return flaws, the worst first, without those that follow from another one."""
    kinds = {flaw.kind for flaw in flaws}
    follow = {effect for cause, effects in _EFFECTS.items() if cause in kinds for effect in effects}
    left = [flaw for flaw in flaws if flaw.kind not in follow]
    return tuple(sorted(left, key=lambda flaw: LEVELS.index(flaw.level)))
