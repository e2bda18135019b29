"""run_experiment: the only place where the parts are put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from filelock import FileLock, Timeout

from dlassign.config.data import has_validation
from dlassign.config.load import dump_config
from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.data.prepare import Preprocess
from dlassign.errors import Diverged, Interrupted, UserError
from dlassign.runlog.clock import WallClock
from dlassign.runlog.files import make_folder, reason, remove_leftovers, write_text
from dlassign.runlog.manifest import environment, numeric_differences, write_manifest
from dlassign.runlog.paths import RunPaths, identity_of
from dlassign.runlog.records import SCHEMA, MetricsWriter, Record, RunRecords, read_records
from dlassign.runlog.result import has_start
from dlassign.train.assemble import Parts, assemble
from dlassign.train.checkpoint import CheckpointStore, to_numpy, to_tensors, weights_sha256
from dlassign.train.device import fitting_threads, keep_memory, resolve_device
from dlassign.train.hooks import Best, Checkpointer, EarlyStop, KeepBest, hook_states, restore_hooks
from dlassign.train.learner import State
from dlassign.train.loop import Hook, Progress, fit
from dlassign.train.stopping import StopRequest

Say = Callable[[str], None]


def run_experiment(
    cfg: RunConfig,
    paths: RunPaths,
    *,
    say: Say = lambda text: None,
    on_record: Callable[[Record], None] | None = None,
    import_seconds: float = 0.0,
    wall: WallClock | None = None,
) -> RunRecords:
    """Train what a config says, from the beginning or from where an earlier call stopped, and return its log.

    Args:
        cfg: the run.
        paths: its folder.
        say: told one line about everything that a user should know beside the result.
        on_record: called with every log record, for a progress display.
        import_seconds: time spent importing before this call, for the log.
        wall: the clock of the whole run; None is one that begins now.

    Raises:
        ConfigError: the config does not fit the data.
        UserError: the data cannot be read, the folder cannot be written, another process is writing it.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
        Diverged: the loss is not finite.
    """
    clock, wall = {"import": import_seconds}, wall or WallClock()
    with only_writer(paths), _naming_memory():
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
        )
        make_folder(paths.checkpoints)
        remove_leftovers(paths.root)
        remove_leftovers(paths.checkpoints)
        for note in (*parts.dataset.notes, *parts.preprocess.notes):
            say(note)
        log = MetricsWriter(paths.log, on_record=on_record)
        try:
            with StopRequest() as stop, _threads(cfg, parts):
                run = _Run(cfg, paths, parts, log=log, say=say, clock=clock, wall=wall)
                run.go(stop, start=start, state=state)
        finally:
            log.close()
    return read_records(paths.log)


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
def _naming_memory() -> Iterator[None]:
    """Say in plain words that memory has run out.

    Raises:
        UserError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
            message = "out of memory; use a smaller train.batch_size, train.eval_batch_size or model, then go on"
            raise UserError(f"{message} ({str(error).splitlines()[0]})") from error
        raise


class _Run:
    """One session of a run: begin or resume, train, evaluate with the chosen weights, end."""

    def __init__(
        self,
        cfg: RunConfig,
        paths: RunPaths,
        parts: Parts,
        *,
        log: MetricsWriter,
        say: Say,
        clock: dict[str, float],
        wall: WallClock,
    ) -> None:
        self._cfg, self._paths, self._parts, self._log, self._say = cfg, paths, parts, log, say
        self._clock, self._wall = clock, wall
        self._store = CheckpointStore(paths)
        self._progress = Progress(other_seconds=clock)
        self._environment = environment(*parts.machine())
        self._keep = KeepBest(Best(cfg.train.metric), parts.learner.weights)
        self._hooks = self._make_hooks()

    def _make_hooks(self) -> dict[str, Hook]:
        train = self._cfg.train
        hooks: dict[str, Hook] = {}
        validates = has_validation(self._cfg.data) and "val" in self._evaluated()
        if validates and train.keep != "last":
            hooks["keep_best"] = self._keep
        if train.early_stop is not None:
            best = Best(train.metric, train.early_stop.min_delta)
            hooks["early_stop"] = EarlyStop(best, train.early_stop.patience)
        hooks["checkpoint"] = Checkpointer(
            self._store, extra=self._extra_state, before=self._log.sync, seconds=train.checkpoint_seconds
        )
        return hooks

    def _evaluated(self) -> list[str]:
        chosen = self._cfg.train.evaluate
        return [name for name in self._parts.splits if name in (("val",) if chosen is None else chosen)]

    def _extra_state(self) -> State:
        return {"run": self._paths.root.name, "hooks": hook_states(self._hooks), **self._about()}

    def _about(self) -> State:
        """Return what is needed to use the weights: preprocessing and class names."""
        return {
            "preprocess": to_tensors(self._parts.preprocess.state()),
            "classes": list(self._parts.dataset.classes),
        }

    def go(self, stop: StopRequest, *, start: Record | None, state: State | None) -> None:
        self._begin(start, state)
        try:
            self._train(stop)
            if stop.requested and not self._complete():
                self._interrupt()
            self._finish()
        except Diverged:
            self._end("diverged")
            raise

    def _complete(self) -> bool:
        return self._progress.stopped or self._progress.step >= self._parts.plan.steps

    def _begin(self, start: Record | None, state: State | None) -> None:
        """Write what the run is, and go back to its newest checkpoint if there is one."""
        self._write_manifest("running")
        self._paths.point_latest()
        if self._parts.loaded is not None:
            self._say(str(self._parts.loaded))
        if start is None:
            self._log.write("start", **self._start_record())
            return
        for difference in numeric_differences(start["environment"], self._environment):
            self._say(f"{difference}: the result may differ in its last bits from that of an unbroken run")
        if state is not None:
            self._progress = Progress(**state["progress"])
            self._wall.add(self._progress.wall_seconds)
            self._add_phases()
            self._parts.learner.load_state_dict(state["learner"])
            restore_hooks(self._hooks, state["hooks"])
            self._say(f"going on from step {self._progress.step} of {self._parts.plan.steps}")
        self._log.write("resume", from_step=self._progress.step, time=now(), environment=self._environment)

    def _add_phases(self) -> None:
        """Count the phases of earlier sessions too, and give all of them to the next checkpoint."""
        for phase, seconds in self._progress.other_seconds.items():
            self._clock[phase] = self._clock.get(phase, 0.0) + seconds
        self._progress.other_seconds = self._clock

    def _start_record(self) -> Record:
        dataset, parts = self._parts.dataset, self._parts
        config = self._cfg.model_dump(mode="json")
        write_text(self._paths.config, dump_config(self._cfg))
        return {
            "schema": SCHEMA,
            "time": now(),
            "name": self._cfg.name,
            "seed": self._cfg.seed,
            "config": config,
            "environment": self._environment,
            "arithmetic": parts.learner.arithmetic.record(),
            "data": {
                "label": dataset.label,
                "sha256": dataset.sha256,
                "raw_shape": list(dataset.train.x.shape[1:]),
                "shape": list(parts.in_shape),
                "classes": list(dataset.classes),
                **{f"n_{name}": len(split) for name, split in parts.splits.items()},
                "notes": [*dataset.notes, *parts.preprocess.notes],
            },
            "pretrained": parts.loaded and {**asdict(parts.loaded), **identity_of(config["init"])},
            "n_params": parts.learner.n_params,
            "steps": parts.plan.steps,
            "steps_per_epoch": parts.plan.steps_per_epoch,
        }

    def _write_manifest(self, status: str) -> None:
        write_manifest(
            self._paths.manifest,
            schema=SCHEMA,
            status=status,
            time=now(),
            name=self._cfg.name,
            seed=self._cfg.seed,
            data={"label": self._parts.dataset.label, "sha256": self._parts.dataset.sha256},
            environment=self._environment,
        )

    def _train(self, stop: StopRequest) -> None:
        parts, step = self._parts, self._progress.step
        if parts.learner.arithmetic.compile and step < parts.plan.steps:
            compiled = parts.learner.warm_up(*next(parts.batches.between(step, step + 1)))
            self._clock["compile"] = self._clock.get("compile", 0.0) + compiled
        fit(
            parts.learner,
            parts.batches,
            evals={name: parts.splits[name] for name in self._evaluated()},
            plan=parts.plan,
            log=self._log,
            hooks=list(self._hooks.values()),
            progress=self._progress,
            interrupted=stop,
            wall=self._wall.seconds,
        )

    def _interrupt(self) -> None:
        self._end("interrupted")
        raise Interrupted(
            f"interrupted at step {self._progress.step} of {self._parts.plan.steps}; a checkpoint was written, "
            "and the same command goes on from there"
        )

    def _finish(self) -> None:
        """Evaluate val and test once with the chosen weights, and save these."""
        learner, best = self._parts.learner, self._keep
        last = learner.weights()
        digest = weights_sha256(last)
        step, chosen = self._progress.step, "last"
        if best.weights is not None:
            step, chosen = best.best.step or 0, "best"
            learner.load_weights(best.weights)
        self._store.save_best({"weights": learner.weights(), "chosen": chosen, **self._about()}, step=step)
        started = time.perf_counter()
        for name in ("val", "test"):
            if name in self._parts.splits:
                self._evaluate_final(name, step)
                self._evaluate_views(name, step)
        self._progress.eval_seconds += time.perf_counter() - started
        self._end("finished", chosen={"weights": chosen, "step": step}, weights_sha256=digest)

    def _evaluate_final(self, name: str, step: int) -> None:
        result = self._parts.learner.evaluate(self._parts.splits[name])
        self._log.write(
            "eval",
            step=step,
            epoch=self._parts.plan.epoch(step),
            split=name,
            loss=result.loss,
            accuracy=result.accuracy,
            n=result.n,
            seconds=self._progress.train_seconds,
            wall=self._wall.seconds(),
            final=True,
            confusion=result.confusion,
        )

    def _evaluate_views(self, name: str, step: int) -> None:
        """Evaluate with test-time augmentation, if the config asks for it."""
        learner = self._parts.learner
        if learner.views is None:
            return
        result = learner.evaluate(self._parts.splits[name], views=learner.views)
        values = {"loss": result.loss, "accuracy": result.accuracy, "n": result.n, "views": len(learner.views)}
        self._log.write("tta", step=step, split=name, **values, wall=self._wall.seconds())

    def _end(self, status: str, **values: Any) -> None:
        progress = self._progress
        seconds = {**self._clock, "train": progress.train_seconds, "eval": progress.eval_seconds}
        total = self._wall.seconds()
        self._log.write(
            "end",
            status=status,
            steps=progress.step,
            best=self._keep.best.record(),
            test_evaluations=self._test_evaluations(),
            seconds={**seconds, "other": max(total - sum(seconds.values()), 0.0), "total": total},
            images_per_second=progress.images / progress.train_seconds if progress.train_seconds else None,
            time=now(),
            **values,
        )
        self._log.sync()
        self._write_manifest(status)

    def _test_evaluations(self) -> int:
        return len(read_records(self._paths.log).evaluations("test"))


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
