"""Runs for a report page: read once, kept while their logs do not change, and told as plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlassign.config.values import value_text
from dlassign.errors import UserError
from dlassign.plots.series import steps_per_epoch
from dlassign.report.curves import Drawn, drawn_curves, short
from dlassign.report.damage import check_depth, check_summary, checked_list
from dlassign.stats.proportion import sampling_interval
from dlassign.store.files import is_locked
from dlassign.store.identity import config_value, telling_keys
from dlassign.store.paths import RunPaths, telling_names
from dlassign.store.records import Record, read_records
from dlassign.store.run_group import group_by_config
from dlassign.store.summary import DAMAGE, RunSummary, summarise, unreadable

_MOST_CLASSES = 200
_SIZES = ("params", "steps", "planned")
_UNSEEN = ("val_unseen", "test_unseen")
_AS_THEY_ARE = ("name", "hash", "seed", "status", "reason", "data", *_SIZES, "mark", *_UNSEEN, "precision", "best")
_MOST_SAMPLES = 2**53
"""A larger count is none, and a browser could not add it up."""
_MOST_CELLS = 600_000
"""Cells of all confusion matrices of a page."""


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run and what a page needs of its log.

    Attributes:
        paths: its folder.
        summary: the run in a few numbers; its status is "unreadable" if the log is damaged or of another version,
            "contradicted" if it says what cannot be.
        start: the first record; {} if the log cannot be read.
        curves: by curve and metric.
        confusions: final counts by split, test first.
        spe: optimizer steps an epoch; None if unknown.
        has_end: whether the log says how the run ended.
        warnings: lines of the log that could not be read.
        notes: what the log says beside the results, by what it is about.
        chosen: {weights, step} that the final results are of; None if the run has not ended or does not tell.
        penalised: whether the training loss holds a penalty, which the curves leave out.
    """

    paths: RunPaths
    summary: RunSummary
    start: Record = field(default_factory=dict)
    curves: Drawn = field(default_factory=dict)
    confusions: dict[str, list[list[int]]] = field(default_factory=dict)
    spe: float | None = None
    has_end: bool = False
    warnings: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    chosen: Record | None = None
    penalised: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will come; a log that has no first record yet is as good as running."""
        held = self.summary.status == "unreadable" and is_locked(self.paths.lock)
        return self.summary.status != "running" and not held


class RunReader:
    """Reads runs; one whose log has the time and size that it had before is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int], LoggedRun]] = {}
        self.times_read = 0

    def read(self, paths: RunPaths) -> LoggedRun:
        """Return a run; one that cannot be read has the status "unreadable" and the reason."""
        key, stamp = str(paths.root), _stamp(paths)
        known = self._known.get(key)
        if known is None or known[0] != stamp:
            self.times_read += 1
            known = stamp, _read(paths)
            self._known[key] = known
        run = known[1]
        if run.has_end or run.summary.status not in ("running", "interrupted"):
            return run
        # A process may have been killed without writing to its log.
        status = "running" if is_locked(run.paths.lock) else "interrupted"
        return replace(run, summary=replace(run.summary, status=status))


def _stamp(paths: RunPaths) -> tuple[int, int]:
    try:
        state = paths.log.stat()
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


def _read(paths: RunPaths) -> LoggedRun:
    summary = summarise(paths)
    if not summary.config or summary.status == "contradicted":  # then its curves are no better than its results
        return LoggedRun(paths=paths, summary=summary)
    try:
        run = _logged(paths, summary)
        check_summary(summary)
        for name, value in (("config", summary.config), ("environment", environment_of(run))):
            check_depth(value, name)
        check_depth(run_values(run, group=0), "log")  # also makes sure that they can be made
    except UserError as error:
        reason = str(error)
    except DAMAGE as error:
        reason = f"{paths.log} is damaged: {type(error).__name__}: {error}"
    else:
        return run
    return LoggedRun(paths=paths, summary=unreadable(paths, reason))


def _logged(paths: RunPaths, summary: RunSummary) -> LoggedRun:
    records = read_records(paths.log)
    classes = _classes(records.start)
    finals = sorted(records.confusions.items(), key=lambda item: item[0] != "test")
    confusions = {split: counts for split, counts in finals if _is_square(counts, len(classes))}
    return LoggedRun(
        paths=paths,
        summary=summary,
        start=records.start,
        curves=drawn_curves(records),
        confusions=confusions,
        spe=steps_per_epoch(records),
        has_end=records.end is not None,
        warnings=tuple(records.warnings),
        notes={about: str(note["text"]) for about, note in records.notes.items()},
        chosen=(records.end or {}).get("chosen"),
        penalised=any("penalty" in record for record in records.train),
    )


def _classes(start: Record) -> list[str]:
    return [str(name) for name in checked_list(start.get("data", {}).get("classes"), "data.classes")]


def _is_square(counts: Any, classes: int) -> bool:
    return (
        isinstance(counts, list)
        and 0 < len(counts) == classes <= _MOST_CLASSES
        and all(
            isinstance(row, list)
            and len(row) == classes
            and all(isinstance(n, int) and 0 <= n <= _MOST_SAMPLES for n in row)
            for row in counts
        )
    )


def key_of(paths: RunPaths) -> str:
    """Return a short name of a run folder that a page uses in links; the same each time it is written."""
    return hashlib.sha256(str(paths.root.resolve()).encode(errors="surrogateescape")).hexdigest()[:10]


def newest_first(runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """Return runs by their start, those that do not tell it last."""
    return sorted(runs, key=lambda run: str(run.summary.started or ""), reverse=True)


def groups_of(runs: Sequence[LoggedRun]) -> dict[str, int]:
    """Return the number of the group of each run, by run folder; runs of a group differ in the seed alone."""
    groups = group_by_config(run.summary for run in runs)
    return {member.run: number for number, group in enumerate(groups) for member in group}


def folders_of(runs: Sequence[LoggedRun]) -> list[str]:
    """Return what the folder of each run is called: its name, or what tells equal runs of two people apart."""
    same: dict[tuple[str | None, str], list[Path]] = {}
    for run in runs:
        same.setdefault((run.summary.name, run.paths.root.name), []).append(run.paths.root)
    told = {
        root: name
        for roots in same.values()
        for root, name in zip(roots, telling_names(roots) if len(roots) > 1 else [roots[0].name], strict=True)
    }
    return [told[run.paths.root] for run in runs]


def telling_texts(runs: Sequence[LoggedRun]) -> list[str]:
    """Return of each run the values of the config keys that tell it from the others, but for those of its model."""
    named = [(run.summary.name, run.summary.config) for run in runs if run.summary.config]
    keys = [key for key in telling_keys(named) if key not in ("model.name", "model.hidden")]
    found = [[(key, config_value(run.summary.config, key, None)) for key in keys] for run in runs]
    return [", ".join(f"{key} {value_text(value)}" for key, value in own if value is not None) for own in found]


def run_values(run: LoggedRun, *, group: int) -> dict[str, Any]:
    """Return what the table of runs, its filter and its order need; accuracies in percent."""
    summary = run.summary
    return {
        "key": key_of(run.paths),
        "group": group,
        "folder": run.paths.root.name,
        "path": str(run.paths.root),
        **{name: getattr(summary, name) for name in _AS_THEY_ARE},
        "warnings": list(run.warnings[:5]),
        "notes": run.notes,
        "model": model_text(summary.config),
        "val": _percent(summary.val_accuracy),
        "test": _percent(summary.test_accuracy),
        "val_interval": _interval(summary.val_accuracy, summary.val_n),
        "test_interval": _interval(summary.test_accuracy, summary.test_n),
        "test_max": _percent(summary.test_max),
        "tests": summary.test_evaluations,
        **{name: short(getattr(summary, name)) for name in ("val_loss", "test_loss", "seconds")},
        "spe": short(run.spe),
        "phases": {phase: short(spent) for phase, spent in summary.seconds_by_phase.items()},
        "started": time_text(summary.started),
        "classes": _classes(run.start),
        "command": list(map(str, checked_list(run.start.get("environment", {}).get("command"), "environment.command"))),
    }


def confusions_within(runs: Sequence[LoggedRun]) -> dict[str, dict[str, list[list[int]]]]:
    """Return final counts by key of the run and split, as many of the first runs as a page can hold."""
    found: dict[str, dict[str, list[list[int]]]] = {}
    cells = 0
    for run in runs:
        for split, counts in run.confusions.items():
            cells += len(counts) ** 2
            if cells <= _MOST_CELLS:
                found.setdefault(key_of(run.paths), {})[split] = counts
    return found


def environment_of(run: LoggedRun) -> dict[str, Any]:
    """Return versions, machine and git state of a run without its command, and what the data was."""
    start = run.start
    known = {name: value for name, value in start.get("environment", {}).items() if name != "command"}
    data = {name: value for name, value in (start.get("data") or {}).items() if name != "classes"}
    return {**known, "arithmetic": start.get("arithmetic"), "data": data} if start else {}


def model_text(config: dict[str, Any]) -> str | None:
    """Return what a model is called in a table: its name, its hidden layers, and NumPy if that trains it."""
    model = config.get("model")
    if not isinstance(model, dict):
        return None
    hidden = model.get("hidden")
    words = [str(model.get("name", "?"))]
    if isinstance(hidden, list):
        words.append("-".join(map(str, hidden)) if hidden else "no hidden layer")
    if config.get("backend") == "numpy":
        words.append("(NumPy)")
    return " ".join(words)


def time_text(started: str | None) -> str | None:
    """Return a time as `2026-11-21 12:00:00` in UTC; text that is no time stays as it is."""
    try:
        return started and f"{datetime.fromisoformat(started).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError, OverflowError):
        return str(started)


def _interval(share: float | None, n: int | None) -> list[float] | None:
    """Return where an accuracy lies, in percent; None where many samples make that narrow."""
    found = sampling_interval(share, n)
    return None if found is None else [round(100 * end, 1) for end in found]


def _percent(share: float | None) -> float | None:
    return None if share is None else short(100 * share)
