"""compare: groups of runs over seeds, as `dlassign compare` compares them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from dlassign.api.messages import check_number, check_word
from dlassign.api.run import Run
from dlassign.config.ordinary_file import given_path
from dlassign.errors import UserError
from dlassign.store.run_group import RunGroup, find_group, group_of
from dlassign.tables.comparison import Comparison, compare_groups
from dlassign.tables.comparison_text import comparison_json, comparison_text

Group = str | Path | Run | Iterable[Run]
"""Runs that differ in the seed alone: the place of one or several, such as out/NAME/HASH8; a run; or several."""


class Compared:
    """What a comparison found out. Printed, it is the text of `dlassign compare`."""

    def __init__(self, found: Comparison) -> None:
        self._found = found

    def __repr__(self) -> str:
        return self.text()

    @property
    def difference(self) -> float:
        """The second group's mean minus the first's; of accuracies 0..1."""
        return self._found.against_first[0].found.difference

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference; None where there are too few seeds to tell."""
        found = self._found.against_first[0].found
        return None if found.low is None or found.high is None else (found.low, found.high)

    @property
    def p(self) -> float | None:
        """The p value of the second group against the first, corrected for the number of groups; None as above."""
        return self._found.against_first[0].p

    def text(self, format: Literal["text", "csv", "markdown", "latex"] = "text") -> str:  # noqa: A002 (as on the command line)
        """Return the comparison as text.

        Args:
            format: text; markdown; latex, sentences as comments; or csv, the table of the groups alone.

        Raises:
            ValueError: there is no such format.
        """
        check_word("format", format, ("text", "csv", "markdown", "latex"))
        return comparison_text(self._found, format)

    def to_dict(self) -> dict[str, Any]:
        """Return everything that was found out, as `dlassign compare --json` prints it."""
        return comparison_json(self._found)


def compare(
    *groups: Group,
    split: Literal["val", "test"] | None = None,
    metric: Literal["accuracy", "loss"] = "accuracy",
    effect: float | None = None,
) -> Compared:
    """Compare groups of runs over seeds with the first: difference, interval, p value, and how many seeds are missing.

    Args:
        groups: each a place such as out/NAME or out/NAME/HASH8, a sweep's row such as out/SWEEP:1, a run, or runs that
            differ in the seed alone.
        split: whose final figures. None: test if all have them, else val.
        metric: what to compare.
        effect: a difference, in points (or units of the loss), for which seeds are counted. None: the one seen.

    Raises:
        ConfigError: there are too few groups, or too many.
        UserError: a group is none, two of them share a run or differ in their data, or none of its runs has finished.
        ValueError: split or metric is none of those above.
    """
    check_word("metric", metric, ("accuracy", "loss"))
    if split is not None:
        check_word("split", split, ("val", "test"))
    if effect is not None:
        check_number("effect", effect)
    return Compared(compare_groups(list(map(_group, groups)), split=split, metric=metric, effect=effect))


def _group(given: Group) -> RunGroup:
    if isinstance(given, str | Path):
        return find_group(str(given_path(given)))
    what = "groups: expected places such as 'out/NAME/HASH8', runs, or lists of runs, got"
    if not isinstance(given, Run | Iterable):
        raise UserError(f"{what} {type(given).__name__}")
    runs: list[Run] = [given] if isinstance(given, Run) else [*given]
    if kinds := sorted({type(run).__name__ for run in runs if not isinstance(run, Run)}):
        raise UserError(f"{what} {type(given).__name__} of {', '.join(kinds)}")
    return group_of([run.summary for run in runs])
