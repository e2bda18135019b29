"""What the numbers of one record of a log cannot be, beside what the start record says of run and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from dlassign.store.log_order import Contradiction
from dlassign.store.records import Line

_EXACT = 1e-9
"""Relative difference of two numbers that are one: JSON has all digits, and the last may be rounded."""


def number_contradictions(lines: Sequence[Line]) -> Iterator[Contradiction]:
    """Yield what cannot be about single records of a log, beginning with its start record."""
    start = lines[0][1]
    yield from _start(start, lines[0][0])
    for place, record in lines[1:]:
        if record["kind"] in ("train", "eval", "tta"):
            yield from _measured(record, start, place)
        if record["kind"] in ("eval", "tta"):
            yield from _evaluated(record, start, place)
        if "confusion" in record:
            yield from _confusion(record, start, place)
        if "unseen" in record:
            yield from _unseen(record, place)


def close(one: float, other: float, *, within: float = _EXACT) -> bool:
    """Return whether two numbers are the same but for rounding."""
    return abs(one - other) <= within * max(abs(one), abs(other))


def is_number(found: Any) -> TypeGuard[float]:
    """Return whether a value of a log is a number."""
    return isinstance(found, int | float) and not isinstance(found, bool)


def _start(start: dict[str, Any], place: str) -> Iterator[Contradiction]:
    config = start["config"]
    train = config["train"]
    for key in ("name", "seed"):
        if key in config and config[key] != start[key]:
            yield Contradiction("config", f"{key} is {start[key]!r}, in its config {config[key]!r}", place)
    steps, each = start.get("steps"), start.get("steps_per_epoch")
    if steps is None:
        return
    if train["steps"] is not None and steps != train["steps"]:
        yield Contradiction("plan", f"{steps:,} steps are planned, the config says {train['steps']:,}", place)
    elif train["steps"] is None and each and is_number(train["epochs"]):
        expected = max(round(min(train["epochs"] * each, 1e15)), 1)
        if steps != expected:
            of = f"{train['epochs']:g} epochs of {each:,} steps"
            yield Contradiction("plan", f"{steps:,} steps are planned, {of} are {expected:,}", place)


def _measured(record: dict[str, Any], start: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield what cannot be of means over samples."""
    accuracy, each = record.get("accuracy"), start.get("steps_per_epoch")
    if is_number(accuracy) and not 0 <= accuracy <= 1 + _EXACT:
        yield Contradiction("accuracy", f"an accuracy of {accuracy:g}, which is no share", place)
    if record.get("n") == 0:
        yield Contradiction("counts", "means over no sample", place)
    # Logs that were put together by hand may lack the list; those with a chain were not.
    if record["loss"] is None and "loss" not in record.get("nonfinite", () if "chain" in record else ["loss"]):
        yield Contradiction("nonfinite", "there is no loss, and it is not among what was not finite", place)
    epoch = record.get("epoch")
    if each and is_number(epoch) and not close(epoch, record["step"] / each):
        what = f"step {record['step']:,} is epoch {record['step'] / each:.6g} at {each:,} steps each, not {epoch:.6g}"
        yield Contradiction("epoch", what, place)
    batch = _largest_batch(start)
    if record["kind"] == "train" and batch and record.get("n", 0) > record["step"] * batch:
        yield Contradiction("counts", f"{record['n']:,} samples in {record['step']:,} steps of {batch:,}", place)


def _largest_batch(start: dict[str, Any]) -> int | None:
    """Return how many samples a step sees at most; None where the log does not say."""
    train = start["config"]["train"]
    size = train.get("batch_size")
    # With `full` a step sees all, and preprocessing may have made several of each.
    return size if isinstance(size, int) and train.get("order") != "full" else None


def _evaluated(record: dict[str, Any], start: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield what cannot be of an evaluation: other samples than the split has, a part of a sample right."""
    n, split, accuracy = record.get("n"), record["split"], record["accuracy"]
    if n is None:
        return
    there = start["data"].get(f"n_{split}")
    if there is not None and n != there:
        yield Contradiction("counts", f"an evaluation of {n:,} {split} samples, of which there are {there:,}", place)
    # Confusion counts say it more clearly, and a log without a chain may be one that was put together by hand.
    if is_number(accuracy) and "confusion" not in record and "chain" in record:
        right = accuracy * n
        if abs(right - round(right)) > max(1e-6 * n, 1e-6):
            what = f"an accuracy of {accuracy:.6g} is {right:.3f} of {n:,} samples, no whole number"
            yield Contradiction("accuracy", what, place)


def _confusion(record: dict[str, Any], start: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield where the confusion counts of an evaluation are not those of its accuracy."""
    counts, n, accuracy = record["confusion"], record.get("n"), record["accuracy"]
    if len({len(counts), *map(len, counts)}) > 1:
        yield Contradiction("confusion", "the confusion counts are no square", place)
        return
    classes = start["data"].get("classes")
    if classes is not None and len(classes) != len(counts):
        yield Contradiction("confusion", f"confusion counts of {len(counts)} classes; there are {len(classes)}", place)
    total, right = sum(map(sum, counts)), sum(row[k] for k, row in enumerate(counts))
    if n is not None and total != n:
        yield Contradiction("confusion", f"the confusion counts are of {total:,} samples, the accuracy of {n:,}", place)
    if total and is_number(accuracy) and not close(accuracy, right / total, within=1e-6):
        what = f"the accuracy is {100 * accuracy:.2f} %, by its confusion counts {100 * right / total:.2f} %"
        yield Contradiction("confusion", what, place)


def _unseen(record: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield where an accuracy without some samples cannot be that of the others, given the accuracy of all."""
    n, accuracy, unseen = record.get("n"), record["accuracy"], record["unseen"]
    if n is None:
        return
    seen = n - unseen["n"]
    if not 0 < seen <= n:
        yield Contradiction("counts", f"{unseen['n']:,} of {n:,} samples do not occur in train, so {seen:,} do", place)
    elif is_number(accuracy) and is_number(unseen["accuracy"]):
        # How many of the samples that were left out are right.
        right = accuracy * n - unseen["accuracy"] * unseen["n"]
        if not -0.5 < right < seen + 0.5:
            what = (
                f"of the {seen:,} samples that also occur in train, {right:,.1f} would be right by the two accuracies"
            )
            yield Contradiction("accuracy", what, place)
