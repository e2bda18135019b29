"""Where a run was computed and where it is computed again: only on the same machine are the same bits promised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlassign.store.identity import config_value
from dlassign.store.records import EVALUATION_VARIES, Record, RunRecords

Environment = Mapping[str, Any]
_PACKAGES = ("dlassign", "torch", "torchvision", "numpy")
"""Packages that compute."""
_KEYS = ("python", "platform", "device", "device_name", "threads", "cpus")
_GPU_KEYS = ("cuda", "cudnn", "driver")
STACKED = "it may have been trained in a stack, and on a GPU the last bits then depend on the other runs"


def environments(records: Sequence[Record], start: int, stop: int) -> list[Environment]:
    """Return where the steps start, ..., stop - 1 of a run were computed, counted from 0: one for each session.

    records: all of its log, also those that a resume has dropped.
    """
    sessions: list[tuple[int, Environment]] = []
    for record in records:
        if record["kind"] in ("start", "resume"):
            first = record.get("from_step", 0)
            # Steps that a kill has lost were taken again, in the session that went on.
            sessions = [session for session in sessions if session[0] < first]
            sessions.append((first, record.get("environment", {})))
    ends = [first for first, _ in sessions[1:]] + [stop]
    return [found for (first, found), end in zip(sessions, ends, strict=True) if first < stop and start < end]


def code_reasons(records: RunRecords) -> Iterator[str]:
    """Yield why the code of today, on the same machine, may compute other bits than a run has."""
    # Its version alone does not tell: stacks, for one, had other bits when logs had no chain.
    if "chain" not in records.start:
        yield "an earlier version of dlassign wrote the log"
    if "not_repeatable" in records.notes:
        yield "the log says that a step with the user's own code cannot be repeated"
    if EVALUATION_VARIES in records.notes:
        yield "the log says that an evaluation with the user's own code cannot be repeated"


def start_reasons(records: RunRecords) -> Iterator[str]:
    """Yield why a run may begin with other bits, on the same machine."""
    config = records.start["config"]
    steps = config_value(config, "data.preprocess", None) or []
    if config_value(config, "model.name", "") == "whitened_cnn" or any(step.get("name") == "pca" for step in steps):
        yield "preprocessing was measured by matrix products in a number of threads that the log does not say"


def environment_differences(then: Environment, now: Environment) -> list[str]:
    """Return in what two environments differ that may change the last bits of what is computed."""
    pairs = [(name, then.get("packages", {}).get(name), now.get("packages", {}).get(name)) for name in _PACKAGES]
    pairs += [(key, then.get(key), now.get(key)) for key in (*_KEYS, *_GPU_KEYS)]
    told = [f"{name.replace('_', ' ')} was {_shown(old)}, is {_shown(new)}" for name, old, new in pairs if old != new]
    return [*told, *_code_differences(then.get("git"), now.get("git"))]


def _shown(value: Any) -> str:
    return "not told" if value is None else str(value)


def _code_differences(then: Any, now: Any) -> Iterator[str]:
    """Yield in what the code of dlassign itself differs, where it is used from its repository."""
    commits = [found.get("commit") if isinstance(found, dict) else None for found in (then, now)]
    if commits[0] != commits[1]:
        old, new = (str(commit)[:12] if commit else "not told" for commit in commits)
        yield f"the commit of dlassign was {old}, is {new}"
    elif any(isinstance(found, dict) and found.get("dirty") for found in (then, now)):
        yield "files of dlassign were changed since its commit"


def may_be_stacked(environment: Environment) -> bool:
    """Return whether a run may have been trained in a stack on a GPU, where the last bits depend on its other members.

    On a CPU a stack computes what a run alone does.
    """
    on_gpu = str(environment.get("device")).startswith("cuda")
    return on_gpu and "train" not in environment.get("command", [])[1:2]
