"""verify_run: all that can be told of one run, without training or with it."""

from __future__ import annotations

from collections.abc import Iterator

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.store.summary import DAMAGE
from dlassign.verify.checkpoints import checkpoint_judgements, result_judgements
from dlassign.verify.folder import folder_judgements
from dlassign.verify.judgement import Judgement, Verified, untold
from dlassign.verify.log import log_judgements
from dlassign.verify.retrain import retrain
from dlassign.verify.stretch import repeat_stretches

_LOOKS = 3
"""A run saves at most every few seconds, so the log has mostly not grown at the first look."""
_ORDER = ("contradicted", "proven", "consistent", "cannot be told")


def verify_run(
    paths: RunPaths,
    *,
    overrides: tuple[str, ...] = (),
    trust: bool = False,
    steps: int = 0,
    choice: int = 0,
    whole: bool = False,
) -> Verified:
    """Compare log, config, manifest, checkpoints and result of a run with each other; nothing is written.

    Args:
        paths: the run.
        overrides: keys that change no result, such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.
        steps: stretches of the run to train again; 0 is none.
        choice: seed of their choice.
        whole: train the whole run again.
    """
    name = str(paths.root)
    try:
        judgements = list(_without_training(paths, overrides=overrides, trust=trust))
        if steps:
            judgements += repeat_stretches(paths, steps, choice=choice, overrides=overrides, trust=trust)
        if whole:
            judgements += retrain(paths, overrides=overrides, trust=trust)
    except UserError as error:
        return Verified(name, [untold("log", " ".join(str(error).split()))])
    except DAMAGE as error:
        return Verified(name, [untold("log", f"{paths.log} is damaged: {type(error).__name__}: {error}")])
    return Verified(name, sorted(judgements, key=lambda judgement: _ORDER.index(judgement.verdict)))


def _without_training(paths: RunPaths, *, overrides: tuple[str, ...], trust: bool) -> Iterator[Judgement]:
    """Yield what log, config, manifest, checkpoints and result say of each other.

    A run that is being trained may write between two looks of ours: first its log, then a checkpoint or the manifest.
    So files that were compared with a log which has grown meanwhile are compared anew.
    """
    for _ in range(_LOOKS):
        size = _size(paths)
        records = read_records(paths.log)
        files = [*folder_judgements(records, paths), *checkpoint_judgements(records, paths)]
        if _size(paths) == size:
            break
    else:
        files = [untold("checkpoints", "the run is being trained, and writes faster than its files can be compared")]
    yield from log_judgements(records, paths)
    yield from files
    yield from result_judgements(records, paths, overrides=overrides, trust=trust)


def _size(paths: RunPaths) -> int:
    try:
        return paths.log.stat().st_size
    except OSError:  # read_records says why
        return 0
