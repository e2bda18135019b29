"""The records of a log that count, each with the line on which it stands."""

from __future__ import annotations

from dlassign.store.records import Line, Record, RunRecords


def counted_lines(records: RunRecords) -> list[Line]:
    """Return the records that count, with their places: those that a resume has dropped are left out."""
    lines: list[Line] = []
    for place, record in records.lines:
        if record["kind"] == "resume":
            lines = [line for line in lines if _stays(line[1], record["from_step"])]
        lines.append((place, record))
    return lines


def _stays(record: Record, step: int) -> bool:
    """Return whether a record still counts after a resume from a step."""
    if record["kind"] in ("start", "resume"):
        return True
    # What is written when training is over has the step of the chosen weights, which is an earlier one.
    late = record["kind"] in ("end", "tta") or record.get("final") or record.get("file") == "best"
    return not late and record.get("step", 0) <= step
