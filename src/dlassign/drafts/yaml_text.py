"""What drafts of images and of tables write alike: values, comments, and a loss for classes of unequal size."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable

from dlassign.config.yamlpos import plain_value

UNEQUAL = 3
"""How many times as large as the smallest class the largest may be before classes are weighed."""
_PLAIN = re.compile(r"[A-Za-z_./]([\w./ -]*[\w./-])?")


def inline(text: str) -> str:
    """Return a text as YAML in one line, quoted where our reader would take it for something else."""
    if _PLAIN.fullmatch(text) and isinstance(plain_value(text), str):
        return text
    # JSON escapes only some of the characters that YAML refuses; the next line escapes the others.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def comment_lines(lines: Iterable[str]) -> list[str]:
    """Return lines as comments; what cannot be printed, such as the end of a line in a file's name, becomes `?`."""
    return ["# " + "".join(char if char.isprintable() else "?" for char in line) for line in lines]


def loss_lines(labels: Iterable[Hashable]) -> list[str]:
    """Return the section `loss` if classes have very unequal numbers of samples, else nothing: the default will do."""
    counts = Counter(labels).values()
    if max(counts) < UNEQUAL * min(counts):
        return []
    return ["loss: {name: cross_entropy, class_weight: balanced}  # a rare class counts as much as a frequent one"]
