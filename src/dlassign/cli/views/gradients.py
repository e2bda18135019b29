"""What `dlassign gradcheck` found, as a table and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from dlassign.checks.gradients import CheckedGradient
from dlassign.checks.own_layer import Tried
from dlassign.stats.text import columns_text

WAYS = ("central", "autograd", "directions")
_LONGEST = 40
"""Letters of a layer and its form in the table."""
_COLUMNS = 80
"""Letters of a line about a layer of the user's own, which has few rows and words of theirs."""
_SHORTEST = 24
"""Letters of such a layer and its form that are always shown."""
MAX_SHOWN = 10
"""Wrong gradients that are told in more words."""


def gradient_lines(
    title: str, rows: Sequence[CheckedGradient], *, most: int, tried: Sequence[Tried] = ()
) -> Iterator[str]:
    """Yield the table, what is wrong in words, and a summary.

    Args:
        title: what was checked.
        rows: what was found.
        most: entries of a tensor that were compared at most.
        tried: the arguments of a layer of the user's own.
    """
    with_entries = any(row.size > row.differences.entries for row in rows)
    yield f"{title}: gradients in float64"
    yield "largest error of an entry, relative to the largest entry of its tensor"
    of = f"{most} entries" if with_entries else "every entry"
    yield f"by central differences of {of}, PyTorch's autograd, and random directions"
    yield ""
    bounds = rows[0].bounds
    columns = {
        "tensor": ["", *(row.tensor for row in rows)],
        "entries": ["", *(f"{row.differences.entries}/{row.size}" for row in rows)] if with_entries else [],
        **{way: [f"{getattr(bounds, way):.0e}", *(_error(row, way) for row in rows)] for way in WAYS},
        "kinks": ["", *map(_kinks, rows)],
        "": ["", *map(_verdict, rows)],
    }
    columns = {name: cells for name, cells in columns.items() if cells}
    room = _COLUMNS - sum(max(map(len, (name, *cells))) + 2 for name, cells in columns.items())
    width = max(room, _SHORTEST) if tried else _LONGEST
    yield columns_text({"layer": ["bound", *(_name(row, width) for row in rows)], **columns})
    yield ""
    yield from _tried_lines(tried)
    wrong = [row for row in rows if not row.ok]
    for row in wrong[:MAX_SHOWN]:
        yield _explained(row)
    if len(wrong) > MAX_SHOWN:
        yield f"and {len(wrong) - MAX_SHOWN} more"
    yield _summary(rows)


def _name(row: CheckedGradient, width: int) -> str:
    name = f"{row.layer} {row.form}".strip()
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _tried_lines(tried: Sequence[Tried]) -> Iterator[str]:
    """Yield with which arguments and which input a layer was checked, and what it refused."""
    if not tried:
        return
    width = max(len(one.name) for one in tried)
    yield "tried"
    for one in tried:
        values = ", ".join(str(value) for value in one.values)
        said = [f"{values} alone, which can hide a mistake" if one.hides else values]
        if one.why:
            refused = ", ".join(map(str, one.refused))
            said.append(f"refused {refused}: {one.why}" if refused else one.why)
        start = f"  {one.name:{width}}  "
        yield textwrap.fill("; ".join(said), _COLUMNS, initial_indent=start, subsequent_indent=" " * len(start))
    yield ""


def _error(row: CheckedGradient, way: str) -> str:
    error = row.autograd if way == "autograd" else getattr(row.differences, way)
    return "-" if error is None else "?" if error == 0 and row.differences.undecided else f"{error:.1e}"


def _kinks(row: CheckedGradient) -> str:
    found = row.differences
    return f"{found.kinks + found.left_out}" + (f" ({found.left_out} out)" if found.left_out else "")


def _verdict(row: CheckedGradient) -> str:
    return "ok" if row.ok else "not proved" if row.unproved else "WRONG"


def _explained(row: CheckedGradient) -> str:
    """Say what is wrong with a gradient, and in which entry."""
    found, bounds = row.differences, row.bounds
    name = " ".join(word for word in (f"{_verdict(row)} ", row.layer, row.form, row.tensor) if word) + ":"
    if found.worst is not None and not found.central <= bounds.central:
        at = f"[{', '.join(map(str, found.worst.at))}]"
        given, expected = found.worst.given, found.worst.expected
        return f"{name} at {at} backward gives {given:.9g}, differences give {expected:.9g}"
    if not found.directions <= bounds.directions:
        return f"{name} entries that central did not compare are off, as random vectors show"
    if row.autograd is not None and not row.autograd <= bounds.autograd:
        return f"{name} PyTorch's output or gradient is another"
    cure = "is forward smooth, and in float64 throughout?"
    return f"{name} {found.left_out} differences depend on the step; {cure}"


def _summary(rows: Sequence[CheckedGradient]) -> str:
    worst = ", ".join(f"{value:.1e} {way}" for way, value in _worst(rows).items() if value is not None)
    counts = {word: sum(_verdict(row) == word for row in rows) for word in ("WRONG", "not proved")}
    verdict = ", ".join(f"{n} {word}" for word, n in counts.items() if n) or "all within bounds"
    return f"{len(rows)} tensor{'s' * (len(rows) != 1)}, worst {worst}; {verdict}"


def _worst(rows: Sequence[CheckedGradient]) -> dict[str, float | None]:
    autograd = [row.autograd for row in rows if row.autograd is not None]
    return {
        "central": max(row.differences.central for row in rows),
        "autograd": max(autograd, default=None),
        "directions": max(row.differences.directions for row in rows),
    }


def gradients_json(rows: Sequence[CheckedGradient], tried: Sequence[Tried] = ()) -> dict[str, Any]:
    """Return what `--json` prints."""
    alone = [one for one in tried if one.hides]
    return {
        "ok": all(row.ok for row in rows),
        "tensors": len(rows),
        "bounds": rows[0].bounds._asdict(),
        "worst": {way: _finite(value) for way, value in _worst(rows).items()},
        "rows": [
            {
                **{name: getattr(row, name) for name in ("layer", "form", "tensor", "size")},
                "entries": row.differences.entries,
                "central": _finite(row.differences.central),
                "autograd": _finite(row.autograd),
                "directions": _finite(row.differences.directions),
                **{name: getattr(row.differences, name) for name in ("kinks", "left_out")},
                "ok": row.ok,
            }
            for row in rows
        ],
        "arguments": [
            {"name": one.name, "values": [*map(_plain, one.values)], "refused": one.refused} for one in tried
        ],
        "notes": [
            f"{one.name} was tried at {one.values[0]} alone, which can hide a mistake; {one.why}" for one in alone
        ],
    }


def _plain(value: Any) -> Any:
    """Return an argument as JSON can hold it."""
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, int | str) else str(value)


def _finite(value: float | None) -> float | None:
    """Return a number for JSON, which has no infinity: null."""
    return value if value is not None and math.isfinite(value) else None
