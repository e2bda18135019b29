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

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dlassign.errors import UserError
from dlassign.store.appending import JsonLines, parsed_line
from dlassign.store.files import reason

SCHEMA = 1
JournalEntry = dict[str, Any]
Kind = Literal["plan", "ask", "report", "tell", "result", "session"]
_KEYS: dict[str, tuple[str, ...]] = {
    "plan": ("schema", "search", "file", "trials"),
    "ask": ("number", "values"),
    "report": ("number", "step", "value"),
    "tell": ("number", "value"),
    "result": ("run", "status"),
    "session": (),
}
"""What a line must hold to be taken for an entry."""


class JournalWriter:
    """Appends entries to a journal.

    Args:
        path: the journal; created if missing.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)

    def write(self, kind: Kind, **values: Any) -> None:
        """Append one entry; a result reaches the disk before this returns.

        Raises:
            UserError: the disk is full or the journal is gone.
        """
        self._lines.write({"kind": kind, **values})
        if kind in ("plan", "result"):
            self._lines.sync()

    def close(self) -> None:
        """Close the journal."""
        self._lines.close()


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
        UserError: it cannot be read, or another version of dlassign wrote it.
    """
    journal = Journal()
    for number, line in enumerate(_lines(path), 1):
        entry = _parse(line)
        if entry is not None:
            _check_schema(entry, path)
            journal.add(entry)
        elif line.strip():
            journal.warnings.append(f"{path}:{number}: not a complete entry, skipped (the driver was killed)")
    return journal


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UserError(f"cannot read the journal {path}: {reason(error)}") from error


def _parse(line: str) -> JournalEntry | None:
    entry = parsed_line(line)
    if entry is None:
        return None
    keys = _KEYS.get(str(entry.get("kind")))
    return entry if keys is not None and all(key in entry for key in keys) else None


def _check_schema(entry: JournalEntry, path: Path) -> None:
    if entry["kind"] == "plan" and entry["schema"] != SCHEMA:
        raise UserError(
            f"{path} has schema {entry['schema']}, this version of dlassign reads {SCHEMA}; use the version that wrote "
            "it, or move the folder away"
        )
