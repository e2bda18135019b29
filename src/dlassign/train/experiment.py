"""run_experiment: the only place where the parts are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext

import torch
from filelock import FileLock, Timeout

from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.data.prepare import Preprocess
from dlassign.errors import UserError
from dlassign.store.clock import WallClock
from dlassign.store.files import make_folder, reason, remove_leftovers
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, Record, RunRecords, read_records
from dlassign.store.result import has_start
from dlassign.train.assemble import Parts, assemble
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import CheckpointStore, to_numpy
from dlassign.train.device import fitting_threads, keep_memory, resolve_device
from dlassign.train.learner import State
from dlassign.train.run import Say, Session
from dlassign.train.stopping import StopRequest
from dlassign.train.watchers import Prune


def run_experiment(
    cfg: RunConfig,
    paths: RunPaths,
    *,
    say: Say = lambda text: None,
    on_record: Callable[[Record], None] | None = None,
    import_seconds: float = 0.0,
    wall: WallClock | None = None,
    prune: Callable[[Record], bool] | None = None,
    cache: DataCache | None = None,
) -> RunRecords:
    """Train what a config says, from the beginning or from where an earlier call stopped, and return its log.

    Args:
        cfg: the run.
        paths: its folder.
        say: told one line about everything that a user should know beside the result.
        on_record: called with every log record, for a progress display.
        import_seconds: time spent importing before this call, for the log.
        wall: the clock of the whole run; None is one that begins now.
        prune: asked at every evaluation, with its log record, whether to give the run up; it then ends as "pruned",
            with a checkpoint.
        cache: of a process that trains run after run.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: the data cannot be read, the folder cannot be written, another process is writing it.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
        Diverged: the loss is not finite.
    """
    pruning = None if prune is None else Prune(prune)
    with (
        open_run(
            cfg,
            paths,
            say=say,
            on_record=_both(on_record, pruning),
            clock={"import": import_seconds},
            wall=wall or WallClock(),
            prune=pruning,
            cache=cache,
        ) as (parts, session),
        StopRequest() as stop,
        _threads(cfg, parts),
    ):
        session.go(stop)
    return read_records(paths.log)


@contextmanager
def open_run(
    cfg: RunConfig,
    paths: RunPaths,
    *,
    say: Say,
    on_record: Callable[[Record], None] | None,
    clock: dict[str, float],
    wall: WallClock,
    prune: Prune | None = None,
    cache: DataCache | None = None,
    as_member: Callable[[Parts], Parts] = lambda parts: parts,
    checkpoint_seconds: float | None = None,
) -> Iterator[tuple[Parts, Session]]:
    """Put the parts of a run together, and hold the lock of its folder and its log open.

    Args:
        cfg: the run.
        paths: its folder.
        say: told one line about everything that a user should know beside the result.
        on_record: called with every log record.
        clock: seconds of each phase so far, by name; changed in place.
        wall: the clock of the whole run.
        prune: asked at every evaluation whether the run is to be given up, or None.
        cache: of a process that trains run after run.
        as_member: given the parts, returns them with a learner that trains beside others.
        checkpoint_seconds: least age of a checkpoint for a new one; None is what the config says.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: see run_experiment.
    """
    with only_writer(paths), naming_memory():
        device = resolve_device(cfg.device)
        keep_memory()
        start = read_records(paths.log).start if has_start(paths) else None
        state = load_state(paths, say) if start is not None else None
        parts = assemble(
            cfg,
            device,
            clock=clock,
            recorded=start and start.get("arithmetic"),
            preprocess=None if state is None else Preprocess.from_state(to_numpy(state["preprocess"])),
            cache=cache,
        )
        parts = as_member(parts)
        make_folder(paths.checkpoints)
        remove_leftovers(paths.root)
        remove_leftovers(paths.checkpoints)
        with closing(MetricsWriter(paths.log, on_record=on_record)) as log:
            yield (
                parts,
                Session(
                    cfg,
                    paths,
                    parts,
                    log=log,
                    say=say,
                    clock=clock,
                    wall=wall,
                    start=start,
                    state=state,
                    prune=prune,
                    checkpoint_seconds=checkpoint_seconds,
                ),
            )


def _both(on_record: Callable[[Record], None] | None, prune: Prune | None) -> Callable[[Record], None] | None:
    if prune is None:
        return on_record

    def tell(record: Record) -> None:
        if on_record is not None:
            on_record(record)
        prune.on_record(record)

    return tell


def load_state(paths: RunPaths, say: Say) -> State | None:
    """Return the newest readable checkpoint of a run, or None if there is none.

    Raises:
        UserError: none can be read, or it was copied here from another run: it would silently mix two configs.
    """
    state, warnings = CheckpointStore(paths).load_newest()
    for warning in warnings:
        say(f"{warning}; going on from the checkpoint before it")
    if state is not None and state.get("run") != paths.root.name:
        message = f"the checkpoint in {paths.checkpoints} is that of another run, {state.get('run')}"
        raise UserError(f"{message}; remove it to train from the beginning, or use --again")
    return state


def _threads(cfg: RunConfig, parts: Parts) -> AbstractContextManager[None]:
    """Return a context with as many threads as the work of a step is worth; convolutions are worth all of them."""
    if not isinstance(cfg.model, MLP):
        return nullcontext()
    return fitting_threads(parts.learner.n_params, parts.plan.samples_a_step)


@contextmanager
def only_writer(paths: RunPaths) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """
    make_folder(paths.lock.parent)
    try:
        with FileLock(paths.lock, timeout=0):
            yield
    except Timeout as error:
        message = f"another process is training {paths.root}; wait for it, or choose another --out or --seed"
        raise UserError(message) from error
    except OSError as error:
        raise UserError(f"cannot write to {paths.lock.parent}: {reason(error)}, or choose another --out") from error


@contextmanager
def naming_memory() -> Iterator[None]:
    """Say in plain words that memory has run out.

    Raises:
        UserError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
            message = "out of memory; use a smaller train.batch_size, train.eval_batch_size or model, then go on"
            details = f" ({str(error).splitlines()[0]})" if str(error) else ""
            raise UserError(f"{message}{details}") from error
        raise
