"""verify_run: all that can be told of one run, without training or with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from dlassign.config.overrides import check_evaluation_keys
from dlassign.errors import ConfigError, UserError
from dlassign.parts.run_code import copied_code
from dlassign.store.files import reason
from dlassign.store.json_lines import read_json_lines
from dlassign.store.manifest_check import read_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import DamagedError, read_records
from dlassign.store.summary import DAMAGE
from dlassign.train.cache import DataCache
from dlassign.train.saved import load_run_config
from dlassign.verify.checkpoints import checkpoint_judgements, result_judgements
from dlassign.verify.folder import folder_judgements, unreadable
from dlassign.verify.judgement import Judgement, Verified, contradicted, untold
from dlassign.verify.log import log_judgements
from dlassign.verify.retrain import retrain
from dlassign.verify.start_record import WrongPlaceError, start_judgements
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
    cache: DataCache | None = None,
) -> Verified:
    """Compare log, config, manifest, checkpoints and result of a run with each other; nothing is written.

    Args:
        paths: the run.
        overrides: keys that change no result, such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.
        steps: stretches of the run to train again; 0 is none.
        choice: seed of their choice.
        whole: train the whole run again.
        cache: of a process that looks at run after run; data that an earlier one has is read once.

    Raises:
        ConfigError: an override changes what was trained, or is none that the run's config can take.
        WrongPlaceError: the data is not where an override says that it lies.
    """
    check_evaluation_keys(overrides)
    _check_fit(paths, overrides, trust=trust)
    name = str(paths.root)
    try:
        judgements = list(_without_training(paths, cache or DataCache(), overrides=overrides, trust=trust))
        if steps:
            judgements += repeat_stretches(paths, steps, choice=choice, overrides=overrides, trust=trust)
        if whole:
            judgements += retrain(paths, overrides=overrides, trust=trust)
    except DamagedError as error:
        line, _, what = " ".join(str(error).split()).removeprefix(str(paths.log)).partition(" ")
        return Verified(name, [contradicted("log", f"it {what}", f"{paths.log}{line}")])
    except WrongPlaceError:
        raise
    except UserError as error:
        no_file = unreadable("log", paths.log) if paths.log.exists() else None
        return Verified(name, [no_file or _without_records(paths, error)])
    except OSError as error:
        return Verified(name, [untold("log", f"{error.filename or paths.root} cannot be read: {reason(error)}")])
    except DAMAGE as error:
        return Verified(name, [untold("log", f"{paths.log} is damaged: {type(error).__name__}: {error}")])
    return Verified(name, sorted(judgements, key=lambda judgement: _ORDER.index(judgement.verdict)))


def _check_fit(paths: RunPaths, overrides: tuple[str, ...], *, trust: bool) -> None:
    """Raise ConfigError for overrides that the run's config cannot take, if it can be read without them."""
    if not overrides:
        return
    try:
        logged = read_records(paths.log).start["config"]
        code = copied_code(paths.code, logged, trust=trust)
        load_run_config(paths, (), device=None, logged=logged, code=code)
    except (ConfigError, UserError, OSError, *DAMAGE):  # of which the checks tell
        return
    load_run_config(paths, overrides, device=None, logged=logged, code=code)


def _without_records(paths: RunPaths, error: UserError) -> Judgement:
    """Return what is to say of a log that no reader of this version takes: a run that has ended has left records."""
    with suppress(OSError, UserError, *DAMAGE):
        status = read_manifest(paths)["status"]
        there = paths.log.exists()
        held = there and any(record for _, record in read_json_lines(paths.log, what="the log"))
        if status != "running" and not held:
            what = "it holds no complete record" if there else "it is not there"
            return contradicted("log", f"{what}, and by manifest.json the run ended as {status}", paths.log)
    return untold("log", " ".join(str(error).split()))


def _without_training(
    paths: RunPaths, cache: DataCache, *, overrides: tuple[str, ...], trust: bool
) -> Iterator[Judgement]:
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
    yield from log_judgements(records, paths, trust=trust)
    yield from files
    yield from start_judgements(records, paths, cache, overrides=overrides, trust=trust)
    yield from result_judgements(records, paths, cache, overrides=overrides, trust=trust)


def _size(paths: RunPaths) -> int:
    try:
        return paths.log.stat().st_size
    except OSError:  # read_records says why
        return 0
