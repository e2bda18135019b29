"""The result of a run, read back from its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords, parse_record, read_records

FINISHED = ("finished", "diverged")


def finished_records(paths: RunPaths) -> RunRecords | None:
    """Return the records of a run that is over (finished or diverged), else None.

    Raises:
        UserError: another version of dlassign wrote the log.
    """
    if not has_start(paths):
        return None
    records = read_records(paths.log)
    return records if records.end is not None and records.end["status"] in FINISHED else None


def has_start(paths: RunPaths) -> bool:
    """Return whether the log holds at least one complete record; a torn one that a later session closed is none."""
    try:
        with paths.log.open(encoding="utf-8", errors="replace") as log:
            return any(parse_record(line) for line in log)
    except (FileNotFoundError, NotADirectoryError):
        return False


def result_line(paths: RunPaths, records: RunRecords) -> dict[str, Any]:
    """Return what `train --json` prints.

    val and test are {"loss", "accuracy"} with the chosen weights, or None; train is the last log record, means over the
    `n` samples before `step`. `precision_why` says what decided the precision; null in logs of earlier versions.
    `val_tta` and `test_tta` are there only with test-time augmentation, and say of how many `views`.
    `test_maximum` is there only if the config evaluates the test split during training: the largest of those
    accuracies, at which step, of how many.
    """
    end = records.end or {"status": "interrupted"}
    finals, arithmetic = records.finals, records.start.get("arithmetic") or {}
    line = {
        "run": str(paths.root),
        "status": end["status"],
        "steps": end.get("steps", records.train[-1]["step"] if records.train else 0),
        "planned": records.start.get("steps", 0),
        "n_params": records.start["n_params"],
        "seconds": end["seconds"]["total"] if "seconds" in end else None,
        "images_per_second": end.get("images_per_second"),
        "precision": precision(records.start),
        "precision_why": arithmetic.get("why"),
        "train": _last_means(records.train),
        "val": _scores(finals.get("val")),
        "test": _scores(finals.get("test")),
        **{f"{split}_tta": _views_scores(record) for split, record in sorted(records.augmented.items())},
        "weights_sha256": end.get("weights_sha256"),
        "chosen": end.get("chosen"),
        "data": records.start["data"]["label"],
    }
    maximum = test_maximum(records)
    return {**line, "test_maximum": maximum} if maximum else line


def precision(start: Record) -> str | None:
    """Return what a run computes in; earlier versions did not record it, and did as their config says."""
    found: str | None = (start.get("arithmetic") or start.get("config", {}).get("train", {})).get("precision")
    return found


def test_maximum(records: RunRecords) -> dict[str, Any] | None:
    """Return the best test accuracy seen during training, its step and the number of evaluations; None without any."""
    seen = [record for record in records.evaluations("test") if record["accuracy"] is not None]
    if not seen:
        return None
    best = max(seen, key=lambda record: record["accuracy"])
    return {"accuracy": best["accuracy"], "step": best["step"], "evaluations": len(seen)}


def _scores(record: Record | None) -> dict[str, Any] | None:
    return record and {"loss": record["loss"], "accuracy": record["accuracy"]}


def _views_scores(record: Record) -> dict[str, Any]:
    return {"loss": record["loss"], "accuracy": record["accuracy"], "views": record["views"]}


def _last_means(train: Sequence[Record]) -> dict[str, Any] | None:
    return {key: train[-1][key] for key in ("step", "loss", "accuracy", "n")} if train else None
