"""What a check of a run found, and what all of them together say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["proven", "consistent", "contradicted", "cannot be told"]
"""proven: computed again, with the same result. consistent: what is there agrees, and nothing was computed.
contradicted: two things cannot both be true. cannot be told: what the check needs is not there."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one check found.

    Attributes:
        name: of the check, or the kind of a contradiction, in one word.
        verdict: as of `Verdict`.
        what: a sentence.
        where: `FILE` or `FILE:LINE` of a contradiction; "" of others.
    """

    name: str
    verdict: Verdict
    what: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass(frozen=True)
class Verified:
    """All that was found of one run.

    Attributes:
        run: its folder.
        judgements: those that contradict come first.
    """

    run: str
    judgements: Sequence[Judgement]

    @property
    def verdict(self) -> Verdict:
        """What all judgements together say.

        One contradiction is enough; a run is proven if all of its result was computed again and came out alike, and
        consistent if something of it could be compared.
        """
        found = {judgement.verdict for judgement in self.judgements}
        if "contradicted" in found:
            return "contradicted"
        # A digest that was computed again says which weights these are, not what they reach.
        results = [judgement.verdict for judgement in self.judgements if judgement.name == "result"]
        if results and set(results) == {"proven"}:
            return "proven"
        return "consistent" if found & {"proven", "consistent"} else "cannot be told"

    def plain(self) -> dict[str, Any]:
        """Return what `verify --json` prints of the run."""
        judgements = [
            {"name": one.name, "verdict": one.verdict, "what": one.what, "where": one.where or None}
            for one in self.judgements
        ]
        return {"run": self.run, "verdict": self.verdict, "judgements": judgements}


def consistent(name: str, what: str) -> Judgement:
    """Return a judgement of something that agrees."""
    return Judgement(name=name, verdict="consistent", what=what)


def proven(name: str, what: str) -> Judgement:
    """Return a judgement of something that was computed again."""
    return Judgement(name=name, verdict="proven", what=what)


def untold(name: str, why: str) -> Judgement:
    """Return a judgement of something that cannot be told, and why."""
    return Judgement(name=name, verdict="cannot be told", what=why)


def contradicted(name: str, what: str, where: object) -> Judgement:
    """Return a judgement of something that cannot be, and where it stands."""
    return Judgement(name=name, verdict="contradicted", what=what, where=str(where))
