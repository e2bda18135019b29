"""run_experiment trains one run; `assemble` is the only place where the parts of a run are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from dlassign.config.model import MLP
from dlassign.config.own_part import naming_own_code, own_parts
from dlassign.config.run import RunConfig
from dlassign.data.batches import Batches, Order
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import data_of_run, load_dataset, names_of_run
from dlassign.data.numpy_batches import numpy_batches
from dlassign.data.prepare import Preprocess
from dlassign.data.torch_batches import TensorSplit
from dlassign.data.variants import training_size
from dlassign.data_checks.at_load import check_at_load, notes_of_alarms
from dlassign.data_checks.flaw import DataCheck
from dlassign.errors import UserError
from dlassign.parts.run_code import write_code
from dlassign.store.clock import WallClock
from dlassign.store.files import hold_lock, make_folder, reason, remove_leftovers
from dlassign.store.paths import RunPaths
from dlassign.store.records import EVALUATION_VARIES, MetricsWriter, Record, RunRecords, former_records, read_records
from dlassign.train.cache import DataCache, digest, images_of
from dlassign.train.checkpoint import CheckpointStore, to_numpy
from dlassign.train.device import (
    describe_blas,
    describe_device,
    fitting_threads,
    keep_memory,
    resolve_device,
    seed_everything,
)
from dlassign.train.folder import InMemory, RunFolder
from dlassign.train.loop import Alone, fit
from dlassign.train.make_numpy import make_numpy_learner, numpy_layout, place_numpy
from dlassign.train.make_torch import make_torch_learner, place_torch, torch_layout, torch_training_batches
from dlassign.train.memory import naming_memory
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.parts import Former, Parts
from dlassign.train.plan import Plan, check_batches, plan_of, training_order
from dlassign.train.repeat import CAUSES, evaluation_repeats, step_repeats
from dlassign.train.run import Run, Say
from dlassign.train.stopping import StopRequest
from dlassign.train.task import task_of
from dlassign.train.torch_learner import TorchLearner
from dlassign.train.torn_log import complete_torn
from dlassign.train.warm_start import fit_steps, steps_by_default

SAMPLES = 5000
"""Training samples that initial weights are measured on."""


def run_experiment(
    cfg: RunConfig,
    paths: RunPaths,
    *,
    say: Say = lambda text: None,
    on_record: Callable[[Record], None] | None = None,
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
        wall: the clock of the whole run; None is one that begins now.
        prune: asked at every evaluation, with its log record, whether to give the run up; it then ends as "pruned",
            with a checkpoint.
        cache: of a process that trains run after run, or one that holds samples: `DataCache(raw_of_arrays(x, y))`.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: the data cannot be read, the folder cannot be written, another process is writing it.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
        Diverged: the loss is not finite.
    """
    wall = wall or WallClock()  # now: reading the data counts too
    with only_writer(paths), naming_own_code(cfg), naming_memory():
        keep_memory()
        former = read_former(paths, say)
        # The checkpoint comes first, for it decides preprocessing and arithmetic of a run that goes on.
        parts = assemble(cfg, resolve_device(cfg.device), former=former, cache=cache)
        # Only now, when it is known that the data is that of the run.
        if (over := over_meanwhile(paths)) is not None:
            return over
        # The log is opened only now: a config that does not fit its data leaves no folder behind.
        with open_log(paths, on_record) as log, StopRequest() as stop, _threads(cfg, parts):
            # Also of a run that goes on: somebody may have edited or removed the copy meanwhile.
            write_code(paths.code, cfg)
            _train(Run(cfg, RunFolder(paths), parts, log=log, say=say, wall=wall, prune=prune), former, stop)
    return read_records(paths.log)


def train_in_memory(cfg: RunConfig, cache: DataCache, *, say: Say = lambda text: None) -> tuple[RunRecords, Parts]:
    """Train as `run_experiment` does, with the same result, but write no file.

    Args:
        cfg: the run.
        cache: holds the samples, if they are arrays.
        say: as there.

    Returns:
        The log, and the parts, whose learner has the chosen weights.

    Raises:
        ConfigError, UserError, Interrupted, Diverged: as `run_experiment`; an interrupted training is lost.
    """
    wall = WallClock()
    with naming_own_code(cfg), naming_memory():
        keep_memory()
        parts = assemble(cfg, resolve_device(cfg.device), cache=cache)
        kept = InMemory()
        with StopRequest() as stop, _threads(cfg, parts):
            _train(Run(cfg, kept, parts, log=kept, say=say, wall=wall), None, stop)
    return kept.records(), parts


def _train(run: Run, former: Former | None, stop: StopRequest) -> None:
    """Begin a run or go back to its checkpoint, take the steps that are left, and finish it."""
    parts = run.parts
    run.begin(former)
    # After begin, which goes back to the checkpoint: only now it is known whether steps are left.
    compile_model(run, parts)
    if former is None and (own := list(own_parts(run.cfg))):
        _check_own(run, parts, names=[part.name for part in own])
    fit(Alone(parts.learner, parts.batches, lr_factor=parts.plan.lr_factor), [run], interrupted=stop)
    run.finish()


def _check_own(run: Run, parts: Parts, *, names: list[str]) -> None:
    """Say so, in the log too, if the user's own code makes a step that cannot be repeated."""
    factor = parts.plan.lr_factor
    try:
        repeats = step_repeats(parts.learner, parts.batches, step=run.step, lr_factor=factor)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        cause = "a detach(), .item(), torch.no_grad or torch.set_grad_enabled(False) on the way"
        message = f"the loss does not depend on the parameters by autograd with {', '.join(names)}: is there {cause}?"
        raise UserError(message) from error
    if not repeats:
        what = f"a step with {', '.join(names)} gives another result when repeated, so a resumed run may differ"
        run.note(about="not_repeatable", text=f"{what}; {CAUSES}", step=run.step)
    if not evaluation_repeats(parts.learner, parts.splits["train"], samples=run.cfg.train.eval_batch_size):
        what = f"an evaluation with {', '.join(names)} gives another result when repeated, so no result can be checked"
        run.note(about=EVALUATION_VARIES, text=f"{what}; {CAUSES}", step=run.step)


def assemble(
    cfg: RunConfig, device: torch.device, *, former: Former | None = None, cache: DataCache | None = None
) -> Parts:
    """Read the data and build everything that a run consists of; seeds every generator.

    Args:
        cfg: the run.
        device: where to compute; not used by `backend: numpy`.
        former: what earlier sessions left: the arithmetic that the run began with is kept, and with a checkpoint the
            preprocessing too, and initial weights are not fetched, since the checkpoint's will be loaded.
        cache: of the process; data that an earlier run has read and prepared alike is taken from there.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: data or pretrained weights cannot be read.
    """
    cache = cache or DataCache()
    began = time.perf_counter()
    dataset, preprocess = _read(cfg, former, cache)
    dataset, check = _checked(cfg, dataset, cache)
    in_shape = preprocess.apply(dataset.train.x[:0]).shape[1:]
    task = task_of(cfg.loss, dataset.train.y, in_shape=in_shape, classes=dataset.classes)
    order, plan = _durations(cfg, dataset, preprocess)
    read = time.perf_counter()
    # As late as possible: nothing may draw random numbers between here and the initial weights.
    seed_everything(cfg.seed)
    goes_on = former is not None and former.state is not None
    loaded = None
    learner: NumpyLearner | TorchLearner
    if cfg.backend == "numpy":
        learner = make_numpy_learner(cfg, task)
    else:
        learner, loaded = make_torch_learner(
            cfg,
            task,
            device=device,
            plan=plan,
            recorded=former and former.start.get("arithmetic"),
            # With a checkpoint the initial weights would be overwritten at once, and their source may be gone.
            samples=None if goes_on else partial(preprocess.apply, dataset.train.x[:SAMPLES]),
        )
    built = time.perf_counter()
    splits, batches = _place(cfg, learner, dataset, preprocess=preprocess, order=order, plan=plan, cache=cache)
    placed = time.perf_counter()
    return Parts(
        dataset=dataset,
        task=task,
        preprocess=preprocess,
        splits=splits,
        batches=batches,
        plan=plan,
        learner=learner,
        loaded=loaded,
        machine=describe_blas if cfg.backend == "numpy" else partial(describe_device, device),
        seconds={"data": read - began + placed - built, "build": built - read},
        leaks=check.leaks,
    )


def _read(cfg: RunConfig, former: Former | None, cache: DataCache) -> tuple[Dataset, Preprocess]:
    """Return the data set, and the preprocessing: that of the checkpoint, or measured on the training samples."""
    # With what is in memory, since the config does not tell one array from another.
    data_key = cfg.data.model_dump_json() + (cache.raw.sha256 if cache.raw else "")
    dataset = cache.get(
        "dataset", data_key, lambda: load_dataset(cfg.data, images=images_of(cfg.data, cache), raw=cache.raw)
    )
    if former is not None:
        dataset = data_of_run(cfg.data, dataset, former.start["data"])
    # Measuring anew gives the same numbers only as long as the library computes means in the same order.
    if former is not None and former.state is not None:
        fitted = Preprocess.from_state(to_numpy(former.state["preprocess"]))
        return dataset, fitted.with_code(cfg.data.preprocess or ())
    steps = steps_by_default(cfg.data, cfg.init)
    single = cfg.train.precision != "fp64"

    def fit_and_check() -> Preprocess:
        fitted = fit_steps(steps, dataset.train, data=cfg.data, init=cfg.init)
        return fitted.checked_in_float32(dataset.train.x) if single else fitted

    # The data has the digest of the user's own steps, which are no plain values.
    plain = [step for step in steps if "own" not in step]
    key = digest([data_key, cfg.init.model_dump(), plain, single])
    return dataset, cache.get("preprocess", key, fit_and_check)


def _checked(cfg: RunConfig, dataset: Dataset, cache: DataCache) -> tuple[Dataset, DataCheck]:
    """Return the data set with a note of each fault that makes results wrong, and all that was found."""
    images = images_of(cfg.data, cache)
    made = partial(check_at_load, dataset, by=cfg.data.split.by, folder=images.folder if images else None)
    check = cache.get("check", digest([cfg.data.model_dump_json(), dataset.sha256]), made)
    notes = notes_of_alarms(check, partial(names_of_run, cfg.data, dataset))
    return replace(dataset, notes=(*dataset.notes, *notes)), check


def _durations(cfg: RunConfig, dataset: Dataset, preprocess: Preprocess) -> tuple[Order, Plan]:
    """Return which samples each step sees, and every duration in steps."""
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    sizes["train"] = training_size(sizes["train"], preprocess.steps)  # with the copies that preprocessing appends
    copies = sizes["train"] // len(dataset.train)
    order = training_order(cfg, check_batches(cfg, sizes), dataset.train.y, copies=copies)
    return order, plan_of(cfg, order, n_train=sizes["train"])


def _place(
    cfg: RunConfig,
    learner: NumpyLearner | TorchLearner,
    dataset: Dataset,
    *,
    preprocess: Preprocess,
    order: Order,
    plan: Plan,
    cache: DataCache,
) -> tuple[dict[str, Any], Batches[Any]]:
    """Return every split as the learner takes it, from the cache where it lies there, and the training batches."""
    place: Callable[..., Split | TensorSplit]
    if isinstance(learner, NumpyLearner):
        layout, place = numpy_layout(cfg), partial(place_numpy, cfg, preprocess=preprocess)
    else:
        layout, place = torch_layout(cfg, learner), partial(place_torch, cfg, learner, preprocess=preprocess)
    key = digest([cfg.data.model_dump_json(), dataset.sha256, preprocess.state(), layout])
    splits: dict[str, Any] = cache.get(
        "splits", key, lambda: {name: place(split, train=name == "train") for name, split in dataset.splits.items()}
    )
    if isinstance(learner, NumpyLearner):
        return splits, numpy_batches(splits["train"], order)
    return splits, torch_training_batches(cfg, splits["train"], order, plan=plan)


def compile_model(run: Run, parts: Parts) -> None:
    """Compile the model before the clock of training starts, if that was asked for and steps are left."""
    learner = parts.learner
    if isinstance(learner, TorchLearner) and learner.arithmetic.compile and run.goes_on:
        # A real one: the program is compiled for its shape and layout.
        batch = next(parts.batches.between(run.step, run.step + 1))
        run.add_seconds("compile", learner.compile_for(*batch))


def over_meanwhile(paths: RunPaths) -> RunRecords | None:
    """Return the log of a run that is over, None of one that goes on; asked when its lock is held.

    Another process may have finished it after this one looked, and before it got the lock.
    """
    records = former_records(paths.log)
    return records if records is not None and records.is_over else None


def read_former(paths: RunPaths, say: Say) -> Former | None:
    """Return what earlier sessions left of a run, or None if the run has not begun.

    Raises:
        UserError: no checkpoint can be read, or it was copied here from another run and would mix two configs.
    """
    records = former_records(paths.log)
    if records is None:
        return None
    state, warnings = CheckpointStore(paths).load_newest()
    for warning in warnings:
        say(f"{warning}; going on from the checkpoint before it")
    # The folder's name holds the hash of config and data, so a checkpoint copied from elsewhere shows.
    if state is not None and state.get("run") != paths.root.name:
        message = f"the checkpoint in {paths.checkpoints} is that of another run, {state.get('run')}"
        raise UserError(f"{message}; remove it to train from the beginning, or use --again")
    if state is None:
        say("no checkpoint was written before it was stopped: it starts again at step 0")
    elif complete_torn(paths.log, state):
        say("the log lacked its last line, the record of the checkpoint, and has it again")
    return Former(records.start, state)


@contextmanager
def open_log(paths: RunPaths, on_record: Callable[[Record], None] | None) -> Iterator[MetricsWriter]:
    """Make the run folder, remove what killed processes left half-written, and hold the log open."""
    make_folder(paths.checkpoints)
    remove_leftovers(paths.root)
    remove_leftovers(paths.checkpoints)
    with closing(MetricsWriter(paths.log, on_record=on_record)) as log:
        yield log


def _threads(cfg: RunConfig, parts: Parts) -> AbstractContextManager[None]:
    """Return a context that limits the threads to what a step of an MLP is worth; convolutions get all of them."""
    if not isinstance(cfg.model, MLP):
        return nullcontext()
    return fitting_threads(parts.learner.n_params, parts.plan.samples_a_step)


@contextmanager
def only_writer(paths: RunPaths) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises:
        UserError: another process holds it, the folder cannot be written, or a file cannot be used meanwhile.
    """
    message = f"another process is training {paths.root}; wait for it, or choose another --out or --seed"
    with hold_lock(paths.lock, taken=message):
        try:
            yield
        except OSError as error:  # of the data or the log: a sweep goes on after a UserError of one trial
            raise UserError(f"{error.filename or paths.root}: {reason(error)}") from error
