"""What is wrong with the cells of a table, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dlassign.errors import DataError

MOST = 20
"""Cells that are told at once."""


class Fault(NamedTuple):
    """What is wrong in a line of a table, and what to do about it."""

    line: int
    what: str
    cure: str


def refusal(path: str, faults: Sequence[Fault]) -> DataError:
    """Return the error of these faults: the first MOST by line, how many more there are, and each cure once."""
    faults = sorted(faults, key=lambda fault: fault.line)
    told = [f"{path}:{fault.line}: {fault.what}" for fault in faults[:MOST]]
    cures = list(dict.fromkeys(fault.cure for fault in faults))
    if len(faults) == 1:
        return DataError(f"{told[0]}; {cures[0]}")
    if len(faults) > MOST:
        told.append(f"{path}: and {len(faults) - MOST:,} more like these")
    return DataError("\n".join([*told, *cures[:MOST]]))
