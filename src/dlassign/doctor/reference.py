"""The page of the doctor's rules, made from their table: `python -m dlassign.doctor.reference`."""

from __future__ import annotations

import sys
import textwrap

from dlassign.doctor.rules import RULES

_HEAD = """\
# Rules of the doctor

<!-- Written by `python -m dlassign.doctor.reference` from src/dlassign/doctor/rules.py. -->

`dlassign doctor --explain RULE` prints these paragraphs; [the how-to](../howto/doctor.md) says how findings are read.
A rule looks at config and data (static), at the first steps of a training (probe) or at the log of a run (log).
"""


def reference_text() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for name, rule in RULES.items():
        explains = f" It explains: {', '.join(f'`{other}`' for other in rule.explains)}." if rule.explains else ""
        text = textwrap.fill(rule.text + explains, 118)
        parts.append(f"\n## `{name}`\n\n*{', '.join(rule.stages)}*\n\n{text}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference_text())
