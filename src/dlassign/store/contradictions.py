"""What a log says and cannot be, found from its records alone: no model, no data, no training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlassign.config.ordinary_file import read_ordinary
from dlassign.store.json_lines import TWICE
from dlassign.store.log_numbers import number_contradictions
from dlassign.store.log_order import Contradiction, order_contradictions
from dlassign.store.log_result import result_contradictions
from dlassign.store.manifest import package_version
from dlassign.store.records import CHAIN, FINISHED, Line, Record, RunRecords

ODD_LINES = ("chain", "record", "torn")
"""Kinds of contradictions that say how lines stand in a log, and nothing of what records say."""


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
        *skipped_lines(records),
        *order_contradictions(lines),
        *number_contradictions(lines),
        *result_contradictions(records),
    ]


def chain_breaks(lines: Sequence[Line], log: Path) -> Iterator[Contradiction]:
    """Yield the first record whose `chain` is not the digest of the lines before it: one of these was changed.

    Mostly that record is as it was written, and what was changed is the line before it. Later ones are not named,
    for they are wrong because of the same change. Records without a chain after records that have one were not written
    by dlassign, which never stops to write it; and it begins with a session.
    """
    by_number = {int(place.rpartition(":")[2]): (place, record) for place, record in lines}
    try:
        content = read_ordinary(log).split(b"\n")
    except OSError:
        return
    if not any("chain" in record for _, record in lines):
        if saved := next((place for place, record in lines if record["kind"] == "checkpoint"), ""):
            what = "no record has a chain, and every version that writes records of checkpoints writes one"
            yield Contradiction("chain", what, saved)
        return
    digest, chained, before = hashlib.sha256(), False, 0
    for number, line in enumerate(content, 1):
        place, record = by_number.get(number, ("", {}))
        if chained and record and "chain" not in record:
            yield Contradiction("chain", "the record has no chain, and those before it have", place)
            return
        if "chain" in record:
            if not chained and not _begins_a_session(record):
                yield Contradiction(
                    "chain", "the record has a chain, and those before it of its session have none", place
                )
                return
            chained = True
            if record["chain"] != digest.hexdigest()[:CHAIN]:
                yield Contradiction("chain", f"the chain is broken: {_changed(before, number)}", place)
                return
            before = number
        digest.update(line + b"\n")


def _changed(before: int, number: int) -> str:
    """Return what has happened to a log whose chain is whole at line `before` and broken at line `number`.

    The chain of a line is the digest of all lines before it, so what was changed is no earlier than `before`.
    """
    if not before:
        return "a line before this one was changed, removed or added"
    if before + 1 == number:
        return f"line {before:,} was changed, or lines after it were removed"
    return f"one of lines {before:,} to {number - 1:,} was changed or added, or lines among them were removed"


def _begins_a_session(record: Record) -> bool:
    """Return whether a process may have opened the log to write this record; `evaluate` opens it for a note."""
    return record["kind"] in ("start", "resume") or record.get("about") == "test_opened_early"


def skipped_lines(records: RunRecords) -> Iterator[Contradiction]:
    """Yield the lines that a reader skips and that no kill has left: whole ones, and torn ones without a new session.

    Before the first record that has a chain nothing is said: earlier versions did not end a torn line.
    """
    if not records.skipped:
        return
    known = dict(records.lines)
    rows = sorted([*records.lines, *records.skipped], key=lambda row: int(row[0].rpartition(":")[2]))
    chained, torn, over = "chain" in records.start, "", ""
    for place, found in rows:
        record = known.get(place)
        if record is None:
            what = over and f"a line that is no record after the end of the run: {over}"
            if found is not None:
                what = found.get(TWICE) or _unknown(found, records)
            if what and chained:
                yield Contradiction("record", what, place)
            elif chained and found is None:
                torn = torn or place
            continue
        if torn and not _begins_a_session(record):
            what = "a torn line, as a kill leaves it; but the same session goes on after it"
            yield Contradiction("torn", what, torn)
        chained, torn = chained or "chain" in record, ""
        over = place if record["kind"] == "end" and record["status"] in FINISHED else ""


def _unknown(record: Record, records: RunRecords) -> str:
    """Return what is wrong with a whole object that is no record; "" if another version may write it."""
    wrote = [line.get("environment", {}).get("packages", {}).get("dlassign") for _, line in records.lines]
    if {version for version in wrote if version} - {package_version("dlassign")}:
        return ""
    if record.get("about") == "nothing_chosen":  # earlier versions gave such a note no step
        return ""
    return f"a record of kind {record.get('kind')!r} that dlassign does not write so"
