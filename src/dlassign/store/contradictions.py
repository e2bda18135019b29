"""What a log says and cannot be, found from its records alone: no model, no data, no training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlassign.config.ordinary_file import read_ordinary
from dlassign.store.log_numbers import number_contradictions
from dlassign.store.log_order import Contradiction, Line, order_contradictions
from dlassign.store.log_result import result_contradictions
from dlassign.store.records import CHAIN, RunRecords


def contradictions(records: RunRecords, log: Path) -> list[Contradiction]:
    """Return what a log says and cannot be; [] of a log that agrees with itself.

    A log of an earlier version lacks some of what is compared; what is not there contradicts nothing.

    Args:
        records: of the log.
        log: the file, whose bytes the chain counts.
    """
    lines = records.lines
    if not lines:  # of a run in memory
        return []
    return [
        *chain_breaks(lines, log),
        *order_contradictions(lines),
        *number_contradictions(lines),
        *result_contradictions(records),
    ]


def chain_breaks(lines: Sequence[Line], log: Path) -> Iterator[Contradiction]:
    """Yield the first record whose `chain` is not the digest of the lines before it: one of these was changed.

    Later ones are not named, for they are wrong because of the same change. Records without a chain after records that
    have one were not written by dlassign, which never stops to write it.
    """
    by_number = {int(place.rpartition(":")[2]): (place, record) for place, record in lines}
    try:
        content = read_ordinary(log).split(b"\n")
    except OSError:
        return
    digest, chained = hashlib.sha256(), False
    for number, line in enumerate(content, 1):
        place, record = by_number.get(number, ("", {}))
        if chained and record and "chain" not in record:
            yield Contradiction("chain", "the record has no chain, and those before it have", place)
            return
        if "chain" in record:
            chained = True
            if record["chain"] != digest.hexdigest()[:CHAIN]:
                what = "the chain is broken: a line before this one was changed, removed or added"
                yield Contradiction("chain", what, place)
                return
        digest.update(line + b"\n")
