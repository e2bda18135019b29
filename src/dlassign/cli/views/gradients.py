"""What `dlassign gradcheck` found, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dlassign.checks.gradients import CheckedGradient

WIDTH = 100
WAYS = ("central", "autograd", "directions")
MAX_SHOWN = 10
"""Wrong gradients that are told in more words."""


def gradient_lines(title: str, rows: Sequence[CheckedGradient], *, most: int) -> Iterator[str]:
    """Yield the table, what is wrong in words, and a summary; `most` entries of a tensor were compared."""
    with_entries = any(row.size > row.differences.entries for row in rows)
    yield f"{title}: gradients in float64"
    yield "largest error of an entry, relative to the largest entry of its tensor"
    of = f"{most} entries" if with_entries else "every entry"
    yield f"central: differences of {of}; autograd: PyTorch; directions: differences along random vectors"
    yield ""
    bounds = rows[0].bounds
    table = [["layer", "tensor", *(["entries"] if with_entries else []), *WAYS, "kinks", ""]]
    table += [["bound", "", *([""] if with_entries else []), *(f"{bound:.0e}" for bound in bounds), "", ""]]
    table += [_cells(row, with_entries=with_entries) for row in rows]
    yield from _aligned(table)
    yield ""
    wrong = [row for row in rows if not row.ok]
    for row in wrong[:MAX_SHOWN]:
        yield _explained(row)
    if len(wrong) > MAX_SHOWN:
        yield f"and {len(wrong) - MAX_SHOWN} more"
    yield _summary(rows)


def _cells(row: CheckedGradient, *, with_entries: bool) -> list[str]:
    found = row.differences
    left_out = f" ({found.left_out} out)" if found.left_out else ""
    entries = [f"{found.entries}/{row.size}"] if with_entries else []
    errors = (found.central, row.autograd, found.directions)
    return [
        f"{row.layer} {row.form}".strip(),
        row.tensor,
        *entries,
        *("-" if error is None else "?" if error == 0 and found.undecided else f"{error:.1e}" for error in errors),
        f"{found.kinks + found.left_out}{left_out}",
        _verdict(row),
    ]


def _verdict(row: CheckedGradient) -> str:
    return "ok" if row.ok else "not proved" if row.unproved else "WRONG"


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows, the first two columns to the left; the first is cut to what the terminal has room for."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] = max(12, min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    for cells in table:
        first = cells[0] if len(cells[0]) <= widths[0] else f"{cells[0][: widths[0] - 1]}…"
        numbers = [cell.rjust(width) for cell, width in zip(cells[2:-1], widths[2:-1], strict=True)]
        yield "  ".join([first.ljust(widths[0]), cells[1].ljust(widths[1]), *numbers, cells[-1]]).rstrip()


def _explained(row: CheckedGradient) -> str:
    """Say what is wrong with a gradient, and in which entry."""
    found, bounds = row.differences, row.bounds
    name = f"{_verdict(row)}  {row.layer} {row.tensor}:"
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
    worst = ", ".join(f"{_size(value)} {way}" for way, value in _worst(rows).items() if value is not None)
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


def _size(error: float) -> str:
    return f"{error:.1e}"


def gradients_json(rows: Sequence[CheckedGradient]) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "ok": all(row.ok for row in rows),
        "tensors": len(rows),
        "bounds": rows[0].bounds._asdict(),
        "worst": {way: _finite(value) for way, value in _worst(rows).items()},
        "rows": [_row_as_json(row) for row in rows],
    }


def _row_as_json(row: CheckedGradient) -> dict[str, Any]:
    found = row.differences
    return {
        "layer": row.layer,
        "form": row.form,
        "tensor": row.tensor,
        "size": row.size,
        "entries": found.entries,
        "central": _finite(found.central),
        "autograd": _finite(row.autograd),
        "directions": _finite(found.directions),
        "kinks": found.kinks,
        "left_out": found.left_out,
        "ok": row.ok,
    }


def _finite(value: float | None) -> float | None:
    """Return a number for JSON, which has no infinity: null."""
    return value if value is not None and math.isfinite(value) else None
