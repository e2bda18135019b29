"""The cheap part of the check, at the first load of a data set, and kept beside the images that were decoded then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dlassign.data.bundle import Dataset
from dlassign.data.image_cache import keep_sealed, read_sealed
from dlassign.data_checks.classes import class_counts, class_shares
from dlassign.data_checks.flaw import DataCheck, Flaw, causes
from dlassign.data_checks.shared_samples import shared_samples
from dlassign.data_checks.values import unlike_train

_FORMAT = 5
"""Part of the name of every kept check. Raise it when the same data gives another one."""
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError)


def check_at_load(dataset: Dataset, *, by: str | None, folder: Path | None = None) -> DataCheck:
    """Return what is wrong with a data set that can be told in a tenth of the time that decoding takes.

    Args:
        dataset: as it is split.
        by: how, `data.split.by`.
        folder: of the cache of decoded images, in which the check is kept; None: it is made each time.
    """
    if dataset.val is None and dataset.test is None:
        return DataCheck()  # nothing is measured that could be wrong
    if folder is None:
        return _made(dataset, by)
    # All that the check depends on: content, and which sample is in which split.
    rows = hashlib.sha256(repr([_FORMAT, dataset.sha256, by, sorted(dataset.origin.items())]).encode())
    for name, numbers in dataset.numbers.items():
        rows.update(f"{name} {len(numbers)}".encode())
        rows.update(numbers.tobytes())
    key = f"check-{rows.hexdigest()[:32]}"
    try:
        return DataCheck.from_plain(read_sealed(folder, key))
    except _DAMAGE:
        check = _made(dataset, by)
        keep_sealed(folder, key, check.plain())
        return check


def _made(dataset: Dataset, by: str | None) -> DataCheck:
    shared, leaks = shared_samples(dataset)
    found = [*shared, *class_shares(dataset, class_counts(dataset), by=by), *unlike_train(dataset)]
    return DataCheck(flaws=causes(found), leaks=leaks)


def notes_of_alarms(check: DataCheck, names: Callable[[], Mapping[str, Sequence[str]]]) -> Iterator[str]:
    """Yield what a run says of its data, one sentence for each alarm.

    Args:
        check: of the data.
        names: () -> what the samples of each split are called; asked for only if there is something to say.
    """
    alarms = check.alarms
    named = names() if any(flaw.samples for flaw in alarms) else {}
    for flaw in alarms:
        yield f"{flaw.text}{_such_as(flaw, named)}; {flaw.cure} (dlassign data check tells more)"


def _such_as(flaw: Flaw, names: Mapping[str, Sequence[str]]) -> str:
    if not flaw.samples:
        return ""
    return f", such as {' and '.join(names[split][row] for split, row in flaw.samples[0])}"
