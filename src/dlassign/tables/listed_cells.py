"""How a table of runs is laid out: stars for what has to be known of a figure, and less where a terminal is narrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dlassign.stats.text import columns_text, terminal_width, wrapped
from dlassign.tables.table_format import comment, formatted

_MOST_NOTES = 5
_MOST_NAMES = 2
_CONSTANT = ("status", "data", "steps")
"""Columns that a narrow terminal gets as one line, where all runs have the same in them."""
_SPARED = ("age", "steps", "data", "status")
"""Columns that a narrow terminal does without, the least needed first."""
_NAME = "run"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A column.

    Attributes:
        texts: of each run.
        intervals: what stands behind it, or "".
        marks: what has to be known of it, or "".
    """

    texts: Sequence[str]
    intervals: Sequence[str]
    marks: Sequence[str]

    def shown(self) -> list[str]:
        """Return the cells, with a star where something has to be known."""
        stars = ["*" if mark else " " for mark in self.marks] if any(self.marks) else [""] * len(self.texts)
        return [f"{text}{end}{star}" for text, end, star in zip(self.texts, self.intervals, stars, strict=True)]


def listed_text(columns: Mapping[str, Cells], runs: Sequence[str], how: str) -> str:
    """Return a table of runs.

    Args:
        columns: by their heads.
        runs: the folder of each.
        how: text, which fits the terminal if there is one; markdown; or latex, where notes are comments.
    """
    width = terminal_width() if how == "text" else None
    notes = [wrapped(line, after="  ", width=width) for line in _notes(columns, runs)]
    if how == "latex":
        return "\n".join([_table(columns, how), *map(comment, notes)])
    if width is not None:
        columns, told = _narrowed(columns, width)
        notes = [*(wrapped(line, width=width) for line in told), *notes]
        return "\n".join([columns_text(_plain(columns), left=(_NAME,), width=width), *notes])
    return "\n".join([_table(columns, how), *([""] if notes and how == "markdown" else []), *notes])


def _table(columns: Mapping[str, Cells], how: str) -> str:
    return formatted(_plain(columns), how, left=(_NAME,))


def _plain(columns: Mapping[str, Cells]) -> dict[str, list[str]]:
    return {head: cells.shown() for head, cells in columns.items()}


def _narrowed(columns: Mapping[str, Cells], width: int) -> tuple[dict[str, Cells], list[str]]:
    """Return what a narrow terminal has room for, and the lines that say the rest."""
    left, told = dict(columns), []
    if _wide(left) > width:
        same = {head: left[head].texts[0] for head in _CONSTANT if head in left and len(set(left[head].texts)) == 1}
        left = {head: cells for head, cells in left.items() if head not in same}
        told += [f"all of them: {', '.join(f'{head} {text}' for head, text in same.items())}"] if same else []
    without = [head for head in left if any(left[head].intervals)]
    spared = [*(f"intervals of {head}" for head in without), *(head for head in _SPARED if head in left)]
    gone = []
    for what in spared:
        if _wide(left) <= width:
            break
        head = what.removeprefix("intervals of ")
        if head == what:
            del left[head]
        else:
            left[head] = replace(left[head], intervals=[""] * len(left[head].texts))
        gone.append(what)
    if gone:
        told.append(f"not shown on {width} columns: {', '.join(gone)}; --columns names what to show")
    return left, told


def _wide(columns: Mapping[str, Cells]) -> int:
    return max(map(len, columns_text(_plain(columns)).splitlines()))


def _notes(columns: Mapping[str, Cells], runs: Sequence[str]) -> Iterator[str]:
    """Yield what the stars mean, a line for each thing to be known."""
    by_mark: dict[str, list[str]] = {}
    for place, run in enumerate(runs):
        marks = [
            f"{head.removesuffix(' %')} {found}" for head, cells in columns.items() if (found := cells.marks[place])
        ]
        if marks:
            by_mark.setdefault(", ".join(marks), []).append(run)
    for mark, names in list(by_mark.items())[:_MOST_NOTES]:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield f"* {', '.join(names[:_MOST_NAMES])}{more}: {mark}"
    if len(by_mark) > _MOST_NOTES:
        yield f"* and {len(by_mark) - _MOST_NOTES} more such lines; --columns run,val_unseen,mark shows all"
