"""sweep.jsonl: what the driver of a sweep did, one JSON object a line, appended, never rewritten.

Kinds of records:

    plan     schema, time, search, file, trials: the sweep file; first, and again when it has changed. `search` is a
             digest of all that decides which points come: what a strategy was told before another digest does not count
    ask      number, values: a strategy chose a point
    report   number, step, value: it was told an intermediate value (only of strategies that prune)
    tell     number, value: it was told the result of a point
    result   run, status, message, value, seconds, confirms: how a run ended
    session  time, executor: a driver began

What a strategy was asked and told stands here in the order in which it happened, so that the next driver can repeat it.
How a run went is in the run's own log; of failed runs only this journal knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlassign.errors import UserError
from dlassign.store.json_lines import NUMBER_OR_NULL, Shape, read_json_lines

SCHEMA = 1
JournalEntry = dict[str, Any]
_SHAPES = {
    "plan": Shape({"schema": int, "search": str, "file": dict, "trials": [str]}),
    "ask": Shape({"number": int, "values": dict}),
    "report": Shape({"number": int, "step": int, "value": NUMBER_OR_NULL}),
    "tell": Shape({"number": int, "value": NUMBER_OR_NULL}),
    "result": Shape({"run": str, "status": str, "message?": str}),
    "session": Shape({}),
}
"""What each kind of entry holds; a key that ends in `?` may be missing."""


@dataclass
class Journal:
    """What a journal says.

    Attributes:
        plan: the newest plan, or None in a new sweep.
        calls: ask, report and tell entries since the last plan with another search.
        results: the newest result of every run, by the name of its folder.
        ended: names of the runs that came to an end, in that order.
        warnings: lines that could not be read, one text each.
    """

    plan: JournalEntry | None = None
    calls: list[JournalEntry] = field(default_factory=list)
    results: dict[str, JournalEntry] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, entry: JournalEntry) -> None:
        """Take in the next entry."""
        match entry["kind"]:
            case "plan":
                if self.plan is None or self.plan["search"] != entry["search"]:
                    self.calls = []
                self.plan = entry
            case "result":
                self.results[entry["run"]] = entry
                if entry["status"] != "interrupted" and entry["run"] not in self.ended:
                    self.ended.append(entry["run"])
            case "ask" | "report" | "tell":
                self.calls.append(entry)


def read_journal(path: Path) -> Journal:
    """Read a journal; a missing one is empty. Torn lines are skipped and reported in `warnings`.

    Raises:
        UserError: it cannot be read, an entry is damaged, or another version of dlassign wrote it.
    """
    journal = Journal()
    for place, entry in read_json_lines(path, what="the journal"):
        if entry is None or str(entry.get("kind")) not in _SHAPES:
            journal.warnings.append(f"{place}: not a complete entry, skipped (the driver was killed)")
            continue
        if entry["kind"] == "plan" and entry.get("schema") != SCHEMA:
            raise UserError(
                f"{path} has schema {entry.get('schema')}, this version of dlassign reads {SCHEMA}; use the version "
                "that wrote it, or move the folder away"
            )
        if wrong := _SHAPES[entry["kind"]].misfit(entry):
            raise UserError(f"{place} is damaged: {wrong}; mend or remove that line")
        journal.add(entry)
    return journal
