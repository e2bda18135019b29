"""What the doctor found, and which of it a user should see: causes first, signs of a found cause left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dlassign.doctor.rules import RULES

Certainty = Literal["certain", "likely", "hint"]
"""certain: it is arithmetic, or was measured beyond chance. likely: it mostly is the cause. hint: look there first."""
CERTAINTIES: tuple[Certainty, ...] = ("certain", "likely", "hint")
MOST = 3
"""Findings that are shown; who mends three things at once does not know which of them it was."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason why training does not work, or one sign that it does not.

    Attributes:
        rule: a name of RULES.
        certainty: how sure it is.
        why: what is wrong and what follows, one sentence that names the values.
        statistic: what was computed or measured.
        null: what it was held against: its value if all were well, or the threshold with its reason.
        cure: an option that mends it, such as `--set optimizer.lr=0.01`; "" if no key of the config does.
        key: the dotted key of the config that it is about; "" if none is.
        place: `file:line:column` of that key; None if it has no place.
        swallowed: rules that were found too, and that this one explains.
        advice: what to do where no key of the config mends it; shown without a cure.
    """

    rule: str
    certainty: Certainty
    why: str
    statistic: str
    null: str
    cure: str = ""
    key: str = ""
    place: str | None = None
    swallowed: tuple[str, ...] = ()
    advice: str = ""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"no rule is called {self.rule!r}; name it in doctor/rules.py")


def small_share(share: float, least: float = 1e-7) -> str:
    """Return a small share; one below `least`, which rounding alone gives, as what it is below."""
    return f"less than {least:g}" if share < least else f"{share:.1e}"


def ranked(found: Iterable[Finding]) -> list[Finding]:
    """Return findings with the surest first, one for each rule, without those that another one explains.

    A cause explains signs of it however sure they are, and becomes likely by a sign that is more than a hint. It
    explains other causes only where it is as sure as they are. Among equally sure ones the order of RULES counts.
    """
    first: dict[str, Finding] = {}
    for finding in sorted(found, key=_order):
        first.setdefault(finding.rule, finding)
    explained = {
        name: {sign for sign in _below(name) & first.keys() if _may_explain(first[name], first[sign])} for name in first
    }
    signs = set().union(*explained.values())
    causes = [
        _raised(finding, [first[name] for name in RULES if name in explained[finding.rule]])
        for finding in first.values()
        if finding.rule not in signs
    ]
    return sorted(causes, key=_order)


def _order(finding: Finding) -> tuple[int, int]:
    return CERTAINTIES.index(finding.certainty), list(RULES).index(finding.rule)


def _may_explain(cause: Finding, other: Finding) -> bool:
    sure = CERTAINTIES.index(cause.certainty) <= CERTAINTIES.index(other.certainty)
    return sure or (RULES[other.rule].is_sign and not RULES[cause.rule].is_sign)


def _below(name: str) -> set[str]:
    """Return all rules that a rule explains, those of its signs included; the table has no circles."""
    signs = RULES[name].explains
    return set(signs).union(*map(_below, signs))


def _raised(cause: Finding, signs: Sequence[Finding]) -> Finding:
    seen = any(sign.certainty != "hint" and RULES[sign.rule].is_sign for sign in signs)
    certainty: Certainty = "likely" if cause.certainty == "hint" and seen else cause.certainty
    return replace(cause, certainty=certainty, swallowed=tuple(sign.rule for sign in signs))
