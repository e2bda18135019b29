"""What a run's log says, without what another run of the same config may have differently."""

from __future__ import annotations

from collections.abc import Iterable

from dlassign.store.records import Record, RunRecords

TIMES = frozenset({"seconds", "wall", "time", "images_per_second", "chain"})
"""What no two runs have alike; the chain is a digest of the others, too."""


def drop_times(records: Iterable[Record]) -> list[Record]:
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def without_times(records: RunRecords) -> list[Record]:
    """Return all that two runs of one config must log alike, whatever machine and however many sessions they took."""
    start = {key: value for key, value in records.start.items() if key != "environment"}
    return drop_times([start, *records.train, *records.evals, *records.augmented.values(), records.end or {}])
