"""What lies between a config and its run: where the run is, what would stop it, and training what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dlassign.config.load import Located, placing
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Raw
from dlassign.data.image_folder import Images
from dlassign.data.load import find_images, fingerprint
from dlassign.errors import DataError
from dlassign.launch.importing import without_gc
from dlassign.parts.run_code import with_other_code
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.store.summary import finished_records, same_on_other_data
from dlassign.train.cache import DataCache, images_of

if TYPE_CHECKING:
    from dlassign.checks.shapes import Fit

Say = Callable[[str], None]


class Display(Protocol):
    """Shows a user how a run goes."""

    def say(self, text: str) -> None:
        """Show a line."""

    def on_record(self, record: Record) -> None:
        """Take in the next record of the log."""


MakeDisplay = Callable[["Fit", RunPaths], AbstractContextManager[Display]]
"""Called with what a run amounts to and where it is, before its first step; the display ends with training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundRun:
    """The run that a config asks for.

    Attributes:
        located: the config.
        paths: the run's folder, which need not be there yet.
        records: its log if it is over, else None.
        images: of the config, looked for once; None if the data is no folder of images.
        cache: what was read of the data.
    """

    located: Located
    paths: RunPaths
    records: RunRecords | None
    images: Images | None
    cache: DataCache


def find_run(located: Located, out: Path, *, again: bool, say: Say, raw: Raw | None = None) -> FoundRun:
    """Return the run of a config under `out`.

    Args:
        located: the config.
        out: the folder of all runs.
        again: move an earlier run aside first.
        say: told what the user should know.
        raw: the samples of `data: {name: arrays}`.

    Raises:
        ConfigError: the config does not fit its data, told with its place.
        UserError: the data cannot be read, or another process trains the run.
    """
    with placing(located):
        cache = DataCache(raw)
        images = images_of(located.config.data, cache)  # one look at the folder serves all that follows
        paths = _find_folder(located.config, out, images, raw=raw, say=say)
        if again:
            _set_aside(located.config, paths, images, raw=raw, say=say)
        return FoundRun(located=located, paths=paths, records=finished_records(paths), images=images, cache=cache)


def train_run(found: FoundRun, *, display: MakeDisplay, wall: WallClock, own_process: bool = False) -> RunRecords:
    """Train a run from its beginning or from where it was stopped, and return its log.

    Args:
        found: the run; it is not over.
        display: makes what shows how it goes.
        wall: the clock of the whole run; it is told how long importing took.
        own_process: as of `without_gc`.

    Raises:
        ConfigError, UserError, Interrupted, Diverged: as of `run_experiment`.
    """
    cfg, paths = found.located.config, found.paths
    with placing(found.located):
        began = time.perf_counter()
        with without_gc(own_process=own_process):
            from dlassign.train.experiment import run_experiment  # imports torch, which a finished run does not need
            from dlassign.train.given_back import by_itself

        wall.import_seconds = time.perf_counter() - began
        with by_itself():
            fit = _check(cfg, found.images, raw=found.cache.raw, weights=not paths.last.exists())
            with display(fit, paths) as shown:
                if fit.slow and not paths.log.exists():  # one that goes on computes as it began
                    shown.say(fit.slow)
                return run_experiment(
                    cfg, paths, say=shown.say, on_record=shown.on_record, wall=wall, cache=found.cache
                )


def _find_folder(config: RunConfig, out: Path, images: Images | None, *, raw: Raw | None, say: Say) -> RunPaths:
    """Return the folder of a run; its name depends on the digest of the data, which is kept once it is known."""
    if images is not None and images.known_sha256() is None:
        _check(config, images)  # a mistake in the config should show before gigabytes are read
        say("reading the data for the first time")
    sha256 = fingerprint(config.data, images=images) if raw is None else raw.sha256
    paths = RunPaths.of(out, config.model_dump(mode="json"), sha256)
    if paths.root.exists():
        return paths
    for other, files in with_other_code(paths, config.model_dump(mode="json"), sha256):
        changed = f"{' and '.join(files)} {'has' if len(files) == 1 else 'have'} changed since"
        say(f"{other.root} has the same config and seed, and {changed}: this is another run")
    if images is None:
        return paths
    return _on_former_images(config, paths, say=say) or paths


def _on_former_images(config: RunConfig, paths: RunPaths, *, say: Say) -> RunPaths | None:
    """Say what a new run has to do with those of the same config on other images, or return the one that goes on."""
    former: str | None = None
    for other, records in same_on_other_data(paths, config.model_dump(mode="json")):
        if former is None:
            try:
                former = fingerprint(config.data, images=find_images(config.data, as_before=True))
            except DataError:
                former = ""
        if records.start["data"]["sha256"] != former:
            why = "pixels, labels or class names have changed since"
        elif not records.is_over:
            return other
        else:
            why = "the files are the same, but an earlier version decoded them: it ignored EXIF, transparency and bits"
        say(f"{other.root} has the same config and seed on other images: {why}; this is another run")
    return None


def _set_aside(config: RunConfig, paths: RunPaths, images: Images | None, *, raw: Raw | None, say: Say) -> None:
    """Move an earlier run aside, once it is sure that a new one can begin."""
    if not paths.root.exists():
        return
    from dlassign.train.device import resolve_device
    from dlassign.train.experiment import only_writer

    _check(config, images, raw=raw)
    resolve_device(config.device)
    with only_writer(paths):
        say(f"moved the earlier run to {paths.set_aside()}")


def _check(config: RunConfig, images: Images | None, *, raw: Raw | None = None, weights: bool = True) -> Fit:
    """Raise what would stop a run before its first step: shapes that do not fit, or missing weights."""
    from dlassign.checks.shapes import check_fit
    from dlassign.train.given_back import by_itself
    from dlassign.train.warm_start import check_weights

    with by_itself():
        fit = check_fit(config, images=images, raw=raw)
        if weights:
            check_weights(config.init, cfg=config.model)
        return fit
