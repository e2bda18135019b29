"""Session: what one process does for a run, from the first record to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dlassign.config.data import has_validation
from dlassign.config.load import dump_config
from dlassign.config.run import RunConfig
from dlassign.errors import Diverged, Interrupted
from dlassign.store.clock import WallClock
from dlassign.store.files import write_text
from dlassign.store.manifest import environment, numeric_differences, write_manifest
from dlassign.store.paths import RunPaths, identity_of
from dlassign.store.records import SCHEMA, MetricsWriter, Record, read_records
from dlassign.train.assemble import Parts
from dlassign.train.checkpoint import CheckpointStore, to_tensors, weights_sha256
from dlassign.train.learner import State
from dlassign.train.loop import Hook, Progress, Track, fit
from dlassign.train.stopping import StopRequest
from dlassign.train.watchers import (
    Best,
    Checkpointer,
    EarlyStop,
    KeepBest,
    OneClass,
    Prune,
    hook_states,
    restore_hooks,
)

Say = Callable[[str], None]


class Session:
    """One session of a run: begin or resume, train, evaluate with the chosen weights, end.

    Args:
        cfg: the run.
        paths: its folder.
        parts: what the config became.
        log: where records go.
        say: told one line about everything that a user should know beside the result.
        clock: seconds of each phase so far, by name; changed in place.
        wall: the clock of the whole run.
        start: the log's first record if the run has begun before, or None.
        state: its newest checkpoint, or None.
        prune: asked at every evaluation whether the run is to be given up, or None.
        checkpoint_seconds: least age of a checkpoint for a new one; None is what the config says.
    """

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
        start: Record | None = None,
        state: State | None = None,
        prune: Prune | None = None,
        checkpoint_seconds: float | None = None,
    ) -> None:
        self._cfg, self._paths, self._parts, self._log, self._say = cfg, paths, parts, log, say
        self._clock, self._wall, self._prune = clock, wall, prune
        self._start, self._state = start, state
        self._store = CheckpointStore(paths)
        own = cfg.train.checkpoint_seconds
        self._checkpoint_seconds = own if checkpoint_seconds is None else checkpoint_seconds
        self._progress = Progress(other_seconds=clock)
        self._environment: dict[str, Any] = {}
        self._keep = KeepBest(Best(cfg.train.metric), parts.learner.weights)
        self._one_class = OneClass(parts.dataset.classes, self._note)
        self._hooks = self._make_hooks()

    def _make_hooks(self) -> dict[str, Hook]:
        train = self._cfg.train
        hooks: dict[str, Hook] = {"one_class": self._one_class}
        validates = has_validation(self._cfg.data) and "val" in self._evaluated()
        if validates and train.keep != "last":
            hooks["keep_best"] = self._keep
        if train.early_stop is not None:
            best = Best(train.metric, train.early_stop.min_delta)
            hooks["early_stop"] = EarlyStop(best, train.early_stop.patience)
        hooks["checkpoint"] = Checkpointer(
            self._store, extra=self._extra_state, before=self._log.sync, seconds=self._checkpoint_seconds
        )
        return hooks

    def _note(self, *, text: str, first: bool, **values: Any) -> None:
        """Tell the log, and the user if this is the first time, that the net predicts one class."""
        self._log.write("note", about="one_class", text=text, **values)
        if first:
            self._say(text)

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

    def go(self, stop: StopRequest) -> None:
        """Do everything.

        Raises:
            Interrupted: a signal came; a checkpoint was written.
            Diverged: the loss is not finite.
        """
        self.begin()
        with self.ending_diverged():
            self._train(stop)
            self.conclude()

    @contextmanager
    def ending_diverged(self) -> Iterator[None]:
        """Say in the log that the run has diverged if it does.

        Raises:
            Diverged: it has.
        """
        try:
            yield
        except Diverged:
            self._end("diverged")
            raise

    def conclude(self) -> None:
        """Evaluate and end if training is over; else say that it was given up or interrupted.

        Raises:
            Interrupted: training is not over, and nothing has asked to give it up.
        """
        if self._complete():
            self._finish()
        elif self._prune is not None and self._prune.requested:
            self._end("pruned")
        else:
            self._interrupt()

    def _complete(self) -> bool:
        return self._progress.stopped or self._progress.step >= self._parts.plan.steps

    def begin(self) -> None:
        """Write what the run is, and go back to its newest checkpoint if there is one."""
        start, state = self._start, self._state
        self._state = None  # its tensors are not needed twice
        self._environment = environment(*self._parts.machine())  # now, when it is settled how many threads there are
        self._write_manifest("running")
        self._paths.point_latest()
        for note in (*self._parts.dataset.notes, *self._parts.preprocess.notes):
            self._say(note)
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

    def track(self) -> Track:
        """Return the run as a loop takes it that trains several at once."""
        return Track(self._parts.learner, self._parts.plan, self._log, progress=self._progress, **self._events())

    def _events(self) -> dict[str, Any]:
        return {
            "evals": {name: self._parts.splits[name] for name in self._evaluated()},
            "hooks": list(self._hooks.values()),
            "wall": self._wall.seconds,
        }

    def _train(self, stop: StopRequest) -> None:
        parts, step = self._parts, self._progress.step
        if parts.learner.arithmetic.compile and step < parts.plan.steps:
            compiled = parts.learner.warm_up(*next(parts.batches.between(step, step + 1)))
            self._clock["compile"] = self._clock.get("compile", 0.0) + compiled
        prune = self._prune
        fit(
            parts.learner,
            parts.batches,
            plan=parts.plan,
            log=self._log,
            progress=self._progress,
            interrupted=stop if prune is None else lambda: stop() or prune.requested,
            **self._events(),
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
        self._one_class.look(name, result, step=step, final=True)
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
