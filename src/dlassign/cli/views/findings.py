"""What `dlassign doctor` prints: like a compiler's messages, or JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from difflib import get_close_matches

from dlassign.config.load import Located
from dlassign.doctor.finding import MOST, Finding
from dlassign.doctor.rules import RULES
from dlassign.errors import Problem, UnknownName
from dlassign.launch.diagnosing import Diagnosis


def diagnosis_lines(found: Diagnosis) -> Iterator[str]:
    """Yield the lines that a terminal shows; at most MOST findings."""
    for finding in found.findings[:MOST]:
        yield from _lines(finding, found.located, found.what)
    for note in found.notes:
        yield f"note: {note}"
    yield _last_line(found)


def _lines(finding: Finding, located: Located | None, what: str) -> Iterator[str]:
    message = f"{finding.certainty}: {finding.rule}: {finding.why}"
    if located is None or finding.place is None:
        yield f"{what}: {message}"
    else:
        problem = located.place(Problem(message=message, path=finding.key))
        yield problem.render()
    yield f"      measured  {finding.statistic}"
    yield f"      expected  {finding.null}"
    if finding.swallowed:
        yield f"      explains  {', '.join(finding.swallowed)}"
    if cure := finding.cure or finding.advice:
        yield f"      cure      {cure}"
    yield ""


def _last_line(found: Diagnosis) -> str:
    stages = " and ".join(found.stages)
    count, more = len(found.findings), len(found.findings) - MOST
    if not count:
        return f"{found.what}: nothing found ({stages})"
    rest = f", {more} of them not shown: mend these first" if more > 0 else ""
    explain = f"dlassign doctor --explain {found.findings[0].rule}"
    return f"{count} finding{'s' * (count > 1)} ({stages}){rest}; `{explain}` says more"


def diagnosis_json(found: Diagnosis) -> str:
    """Return a line of JSON; a key for each attribute of a finding, and how many more there are."""
    return json.dumps(
        {
            "what": found.what,
            "stages": found.stages,
            "findings": [asdict(finding) for finding in found.findings[:MOST]],
            "more": max(0, len(found.findings) - MOST),
            "notes": found.notes,
        }
    )


def explanation(name: str) -> str:
    """Return the paragraph on a rule.

    Raises:
        UnknownName: there is no such rule.
    """
    if name not in RULES:
        near = get_close_matches(name, RULES, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UnknownName(f"no rule is called {name!r}.{meant} Rules: {', '.join(RULES)}")
    rule = RULES[name]
    explains = f" It explains: {', '.join(rule.explains)}." if rule.explains else ""
    return f"{name} ({', '.join(rule.stages)})\n\n{textwrap.fill(rule.text + explains, 100)}"
