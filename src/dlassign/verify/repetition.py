"""A run trained again in memory, from its beginning or from a checkpoint; nothing is written into its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from dlassign.config.own_part import naming_own_code
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, Diverged, DlassignError, Interrupted, UserError
from dlassign.parts.run_code import copied_code
from dlassign.store.clock import WallClock
from dlassign.store.manifest import environment
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.store.summary import DAMAGE
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import using, weights_sha256
from dlassign.train.device import cuda_versions, in_threads, keep_memory, resolve_device
from dlassign.train.experiment import assemble, compile_model
from dlassign.train.folder import InMemory
from dlassign.train.learner import Evaluation, State, Steps
from dlassign.train.loop import Alone, Trainer, fit
from dlassign.train.memory import naming_memory
from dlassign.train.parts import Former
from dlassign.train.run import Run
from dlassign.train.saved import load_run_config

CANNOT_TRAIN = (ConfigError, UserError, *DAMAGE)
"""What says that a run cannot be trained again here: data, device, code or a file is not there, or not as it was."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A run that is to be trained again.

    Attributes:
        paths: its folder, which is only read.
        cfg: its config, with the device that its log names.
        records: its log.
        cache: holds its data, read once for all repetitions.
    """

    paths: RunPaths
    cfg: RunConfig
    records: RunRecords
    cache: DataCache = field(default_factory=DataCache)


def open_source(paths: RunPaths, *, overrides: tuple[str, ...] = (), trust: bool = False) -> Source:
    """Read what is needed to train a run again.

    Args:
        paths: the run.
        overrides: keys that change no result, such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.

    Raises:
        UserError: there is no log, config.yaml was edited, or the code is not trusted.
        ConfigError: an override changes what is computed.
    """
    records = read_records(paths.log)
    start = records.start
    code = copied_code(paths.code, start["config"], trust=trust)
    # On the device that the log names, whatever `auto` would take here: another one computes other bits.
    device = start.get("environment", {}).get("device")
    cfg = load_run_config(paths, overrides, device=device, logged=start["config"], code=code)
    return Source(paths=paths, cfg=cfg, records=records)


class Repetition:
    """A run that is being trained again.

    Args:
        run: at its beginning, or gone back to a checkpoint.
        log: what it has logged since.
    """

    def __init__(self, run: Run, log: InMemory) -> None:
        self._run = run
        self._log = log
        parts = run.parts
        self._machine = parts.machine()
        self._trainer = Alone(parts.learner, parts.batches, lr_factor=parts.plan.lr_factor)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._run.step

    @property
    def error(self) -> DlassignError | None:
        """What has ended the training, or None."""
        return self._run.error

    def train_to(self, step: int, *, threads: int | None = None) -> None:
        """Train until so many steps are done, or training ends before.

        Args:
            step: optimizer steps, counted from the beginning of the run.
            threads: of each operation, as the log says; None, or more than this machine has, is as it comes.
        """
        with _threads(threads):
            self._machine = self._run.parts.machine()
            fit(_Until(self._trainer, step), [self._run], interrupted=lambda: self._run.step >= step)

    def environment(self) -> dict[str, Any]:
        """Return where the newest steps were computed, as a log says it."""
        return environment(*self._machine) | cuda_versions(self._machine[0])

    def finish(self, *, threads: int | None = None) -> None:
        """Evaluate with the chosen weights and write the last record, as a run does that has come to its end."""
        try:
            with _threads(threads):
                self._run.finish()
        except (Diverged, Interrupted) as error:
            self._run.error = error

    def digest(self, weights: str) -> str:
        """Return the digest of the weights; weights: `trained`, or `evaluated`, which may be an average of those."""
        learner = self._run.learner
        return weights_sha256(learner.state_dict()["model"] if weights == "trained" else learner.weights())

    def records(self) -> RunRecords:
        """Return what it has logged."""
        return self._log.records()


@contextmanager
def repetition(source: Source, state: State | None) -> Iterator[Repetition]:
    """Begin a run again, or go back to a checkpoint.

    Args:
        source: the run.
        state: of the checkpoint; None is the beginning.

    Raises:
        UserError, ConfigError: the data is not there, is another one, or the device cannot compute what the run did.
    """
    cfg, former = source.cfg, Former(source.records.start, state)
    with naming_own_code(cfg), naming_memory():
        keep_memory()
        # Also from the beginning with the log's first record: it has the data's digest and the arithmetic.
        parts = assemble(cfg, resolve_device(cfg.device), former=former, cache=source.cache)
        log = InMemory()
        run = Run(cfg, log, parts, log=log, say=lambda text: None, wall=WallClock())
        # What goes wrong later is not the fault of a checkpoint.
        with using(source.paths):
            run.begin(None if state is None else former)
        compile_model(run, parts)
        yield Repetition(run, log)


class _Until:
    """A trainer that takes no step past a given one.

    Args:
        trainer: takes the steps.
        last: so many, counted from the beginning of the run.
    """

    def __init__(self, trainer: Trainer, last: int) -> None:
        self._trainer = trainer
        self._last = last

    def advance(self, start: int, stop: int, interrupted: Callable[[], bool]) -> list[Steps]:
        """Take the steps that another trainer would take, up to the last."""
        return self._trainer.advance(start, min(stop, self._last), interrupted)

    def evaluate(self, split: Any, places: Sequence[int]) -> list[Evaluation]:
        """Evaluate as the other does."""
        return self._trainer.evaluate(split, places)

    def keep(self, places: Any) -> None:
        """Leave everything as it is."""

    def close(self) -> None:
        """Leave everything as it is."""


def _threads(count: int | None) -> AbstractContextManager[None]:
    """Return a context with so many threads, as far as this machine has them."""
    if count is None or not 1 <= count <= (os.cpu_count() or 1):
        return nullcontext()
    return in_threads(count)


def one_line(error: Exception) -> str:
    """Return the text of an error in one line."""
    told = str(error) if isinstance(error, DlassignError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:300]
