"""What `verify` prints of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dlassign.verify.judgement import Verified

_TRAINED = ("stretch", "retrain")
"""Checks that somebody has asked for, and waited for."""


def verified_lines(found: Verified, *, short: bool) -> Iterator[str]:
    """Yield the lines of one run: its verdict, and below it each judgement.

    Args:
        found: of the run.
        short: of many runs, a line: the verdict, and beside it the first of what is wrong or why nothing can be told.
    """
    wrong = [judgement for judgement in found.judgements if judgement.verdict == "contradicted"]
    if short and (wrong or len(found.judgements) == 1):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield f"{found.run}: {found.verdict}: {found.judgements[0]}{more}"
        return
    trained = any(judgement.name in _TRAINED for judgement in found.judgements)
    only = " (its result; --steps and --retrain prove how the weights were trained)"
    yield f"{found.run}: {found.verdict}{only if found.verdict == 'proven' and not trained and not short else ''}"
    shown = [judgement for judgement in found.judgements if not short or judgement.name in _TRAINED]
    # Several checks may stop at one thing, such as a config that was edited.
    yield from dict.fromkeys(f"  {judgement.verdict:<14}  {judgement}" for judgement in shown)


def among_lines(found: Verified) -> Iterator[str]:
    """Yield the lines of what runs say of each other: the verdict, and what is wrong or cannot be told."""
    yield f"{found.run}: {found.verdict}"
    for judgement in found.judgements:
        if judgement.verdict != "consistent":
            yield f"  {judgement.verdict:<14}  {judgement}"


def summary_line(found: Sequence[Verified]) -> str:
    """Return how many runs have which verdict."""
    counts = Counter(one.verdict for one in found)
    return f"{len(found):,} runs: " + ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
