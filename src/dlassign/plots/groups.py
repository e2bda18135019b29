"""Which lines a picture has: single runs, or groups of runs over seeds; and the name of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlassign.config.values import value_text
from dlassign.plots.series import Run
from dlassign.store.identity import config_value, differing_keys, experiment_of, flat_config, inner_keys, unknown_key
from dlassign.store.paths import telling_names
from dlassign.store.records import RunRecords
from dlassign.store.summary import last_step

_MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class Group:
    """Runs that are drawn as one line.

    Attributes:
        label: what the legend calls it.
        runs: at least one.
        place: among the groups of its picture, for its colour; the same in whatever order the runs are given.
    """

    label: str
    runs: tuple[Run, ...]
    place: int = 0

    @property
    def size(self) -> str:
        """Return "3 seeds", or "3 runs" if they differ in more than the seed (or in nothing)."""
        if len(self.runs) == 1:
            return "1 run"
        seeds = {run.records.start["config"]["seed"] for run in self.runs}
        same = len({_identity(run) for run in self.runs}) == 1
        return f"{len(self.runs)} {'seeds' if same and len(seeds) == len(self.runs) else 'runs'}"


def group_runs(runs: Sequence[Run], key: str | None) -> list[Group]:
    """Put runs together that share the value of a config key; without a key every run stands for itself.

    Args:
        runs: at least one.
        key: dotted config key such as `optimizer.lr`; `seed` puts together what differs only in its seed.

    Raises:
        UserError: no run has that key.
    """
    if key is None or key == "seed":
        groups = _groups(runs, seeds=key == "seed")
        by_folder = sorted(groups, key=lambda group: min(str(run.paths.root.resolve()) for run in group.runs))
        return [replace(group, place=by_folder.index(group)) for group in groups]
    known = [name for run in runs for name in inner_keys(_config(run))]
    if key not in known:
        raise unknown_key(key, known)
    values = [json.dumps(config_value(_config(run), key, None), sort_keys=True) for run in runs]
    groups = [
        Group(f"{key}={value_text(config_value(_config(group[0]), key, None))}", group)
        for group in _collect(values, runs)
    ]
    return [replace(group, place=i) for i, group in enumerate(sorted(groups, key=lambda group: _order(group, key)))]


def _groups(runs: Sequence[Run], *, seeds: bool) -> list[Group]:
    """Return each run for itself, or together what differs only in its seed."""
    if not seeds:
        folders = telling_names([run.paths.root for run in runs])
        return [Group(label, (run,)) for label, run in zip(_labels(runs, folders, seed=True), runs, strict=True)]
    members = _collect([_identity(run) for run in runs], runs)
    roots = [group[0].paths.root for group in members]
    folders = telling_names([root.with_name(root.name.partition("-")[0]) for root in roots])
    labels = _labels([group[0] for group in members], folders, seed=False)
    return [Group(label, group) for label, group in zip(labels, members, strict=True)]


def note(records: RunRecords) -> str:
    """Return what is odd about a run ("diverged at step 31"), or ""."""
    if (step := diverged_at(records)) is not None:
        return f"diverged at step {step}"
    if records.end is None:
        return f"no end record: stopped or still running at step {last_step(records)}"
    status = records.end.get("status")
    return "" if status == "finished" else f"{status} at step {records.end.get('steps', last_step(records))}"


def group_note(group: Group) -> str:
    """Return what is odd about the runs of a group, or ""."""
    notes = [text for run in group.runs if (text := note(run.records))]
    if len(group.runs) == 1 or not notes:
        return "; ".join(notes)
    return f"{len(notes)} of {len(group.runs)}: {'; '.join(dict.fromkeys(notes))}"


def diverged_at(records: RunRecords) -> int | None:
    """Return the first step whose loss is not finite, or None."""
    steps = [record["step"] for record in [*records.train, *records.evals] if record.get("loss", 0.0) is None]
    if steps:
        return int(min(steps))
    if records.end is not None and records.end.get("status") == "diverged":
        return int(records.end.get("steps", last_step(records)))
    return None


def title(runs: Sequence[Run]) -> str:
    """Return a title: what was run, how often, on what data."""
    starts = [run.records.start for run in runs]
    data = ", ".join(dict.fromkeys(str(start["data"]["label"]) for start in starts))
    names = list(dict.fromkeys(str(start["name"]) for start in starts))
    if len(runs) == 1:
        return f"{names[0]} ({data}, seed {starts[0]['seed']})"
    return f"{names[0]}: {len(runs)} runs ({data})" if len(names) == 1 else f"{len(runs)} runs ({data})"


def _config(run: Run) -> dict[str, Any]:
    config: dict[str, Any] = run.records.start["config"]
    return config


def _identity(run: Run) -> str:
    return experiment_of(_config(run), run.records.start["data"].get("sha256"))


def _collect(keys: Sequence[str], runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Return the runs of each key, in the order in which keys first appear."""
    return [tuple(run for own, run in zip(keys, runs, strict=True) if own == key) for key in dict.fromkeys(keys)]


def _order(group: Group, key: str) -> tuple[bool, float, str]:
    found = config_value(_config(group.runs[0]), key, None)
    number = isinstance(found, int | float)
    return not number, float(found) if number else 0.0, group.label


def _labels(runs: Sequence[Run], folders: list[str], *, seed: bool) -> list[str]:
    """Return the names if they tell runs apart, else with the keys in which they differ, else the folders."""
    names = [str(run.records.start["name"]) for run in runs]
    if len(set(names)) == len(names):
        return names
    configs = [_config(run) for run in runs]
    keys = differing_keys(configs, seed=seed)
    if not keys or len(keys) > _MOST_DIFFERENCES:
        return folders
    flats = [dict(flat_config(config)) for config in configs]
    told = [", ".join(f"{key}={value_text(flat[key])}" for key in keys if key in flat) for flat in flats]
    if len(set(names)) > 1:
        told = [f"{name}, {text}" for name, text in zip(names, told, strict=True)]
    return told if len(set(told)) == len(told) else folders
