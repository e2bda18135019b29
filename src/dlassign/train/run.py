"""Run: the one owner of what happens to a run, from its first log record to its last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from dlassign.config.data import has_validation
from dlassign.config.run import RunConfig
from dlassign.errors import Diverged, DlassignError, Interrupted
from dlassign.store.clock import WallClock, now
from dlassign.store.manifest import numeric_differences
from dlassign.store.records import SCHEMA, Record
from dlassign.train.checkpoint import check_weights, weights_sha256
from dlassign.train.folder import Folder, Log
from dlassign.train.learner import Evaluation, Learner, State, Steps
from dlassign.train.parts import Former, Parts, about, start_facts
from dlassign.train.progress import Progress
from dlassign.train.unseen import evaluate_final
from dlassign.train.watchers import NOTHING_CHOSEN, Best, KeepBest, OneClass, TrainStop, make_watchers

Say = Callable[[str], None]

CHECKPOINT_SECONDS = 60.0
"""K runs side by side each save K times less often than one alone, after this time (or the config's) at the latest."""


class Run:
    """A run: begin or resume, count steps, log, save, finish.

    It is told what was computed and knows neither what computes nor whether other runs train beside it.

    Args:
        cfg: what was asked for.
        folder: the run's own.
        parts: what the config and its data have become.
        log: where records go.
        say: called with one line about everything that a user should know beside the result.
        wall: the clock of the whole run.
        prune: asked at every evaluation, with its log record, whether to give the run up; None is never.

    Attributes:
        cfg, parts, log: as given.
        learner: the model's state and what computes with it; whoever trains runs side by side sets it before `begin`.
        error: what has ended the run, or None. Whoever trains several runs sets it, so that the others go on.
    """

    def __init__(
        self,
        cfg: RunConfig,
        folder: Folder,
        parts: Parts,
        *,
        log: Log,
        say: Say,
        wall: WallClock,
        prune: Callable[[Record], bool] | None = None,
    ) -> None:
        self.learner: Learner = parts.learner
        self.error: DlassignError | None = None
        self.cfg = cfg
        self._folder = folder
        self.parts = parts
        self._plan = parts.plan
        self.log = log
        self._say = say
        self._wall = wall
        self._prune = prune
        self._pruned = False
        self._progress = Progress()
        self._environment: dict[str, Any] = {}
        self._chained = True  # whether the first record has a chain, which a checkpoint remembers
        self._saved_at = time.monotonic()
        seconds = cfg.train.checkpoint_seconds
        # share is 1 for a run alone, which then saves as often as its config says.
        self._save_every = max(seconds, min(seconds / wall.share, CHECKPOINT_SECONDS))
        # Made in any case, since the last record and _finish ask it; where it is no watcher it has seen nothing.
        self._keep = KeepBest(Best(cfg.train.metric))
        self._one_class = OneClass(parts.dataset.classes, self.note)
        validates = has_validation(cfg.data) and "val" in self.evaluated
        self._watchers = make_watchers(cfg.train, parts.plan, self._keep, self._one_class, validates=validates)
        stop = self._watchers.get("train_stop")
        self._train_stop = stop if isinstance(stop, TrainStop) else None

    # Where it stands

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._progress.step

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self._plan.epoch(self._progress.step)

    @property
    def stopped(self) -> bool:
        """Whether a watcher has ended training early."""
        return self._progress.stopped

    @property
    def goes_on(self) -> bool:
        """Whether there are steps to take."""
        return self.step < self._plan.steps and not (self.stopped or self._pruned or self.error)

    @property
    def evaluated(self) -> dict[str, Any]:
        """The splits that are evaluated at intervals, by name."""
        chosen = ["val"] if self.cfg.train.evaluate is None else self.cfg.train.evaluate
        return {name: split for name, split in self.parts.splits.items() if name in chosen}

    @property
    def evaluates(self) -> bool:
        """Whether splits are evaluated after the present step."""
        return self._plan.evaluates_at(self.step) and bool(self.evaluated)

    def next_event(self) -> int:
        """Return the next step after which something is logged or evaluated."""
        return self._plan.next_event(self.step)

    # Begin

    def begin(self, former: Former | None) -> None:
        """Write what the run is, or go back to the newest checkpoint of earlier sessions."""
        parts = self.parts
        # Now, when it is settled how many threads there are.
        self._environment = self._folder.begin(parts.machine())
        # Before the first record: whoever finds a log finds what wrote it. On the disk is what its chain counts.
        self.log.sync()
        self._write_manifest("running")
        self._folder.point_latest()
        for note in parts.notes:
            self._say(note)
        self._progress.other_seconds = {"import": self._wall.import_seconds, **parts.seconds}
        self._chained = former is None or "chain" in former.start
        if former is None:
            # Once, when the run begins. A later session has the same config, or its folder would have another name.
            self._folder.write_config(self.cfg)
            facts = start_facts(self.cfg, parts, environment=self._environment)
            self.log.write("start", schema=SCHEMA, time=now(), **facts)
            return
        for difference in numeric_differences(former.start.get("environment", {}), self._environment):
            self._say(difference)
        if former.state is not None:
            self._folder.store.go_back(former.state, self._go_back, say=self._say)
            self._say(f"going on from step {self.step} of {self._plan.steps}")
        self.log.write("resume", from_step=self.step, time=now(), environment=self._environment)

    def _go_back(self, state: State) -> None:
        """Set learner, watchers and progress to a checkpoint; times of this session are added to those in it."""
        # Whatever can fail comes first: then all is set to the checkpoint before, and times must not count twice.
        progress = Progress(**state["progress"])
        self.learner.load_state_dict(state["learner"])
        for name, watcher in self._watchers.items():
            if name in state["hooks"]:  # a checkpoint of an earlier version may lack a watcher that came later
                watcher.load_state_dict(state["hooks"][name])
        if self._keep.weights is not None:  # they are not used before the end, when it is too late for another one
            check_weights(self._keep.weights, self.learner.weights())
        own_seconds, self._progress = self._progress.other_seconds, progress
        self._wall.add(progress.wall_seconds)
        for phase, seconds in own_seconds.items():
            self.add_seconds(phase, seconds)

    def add_seconds(self, phase: str, seconds: float) -> None:
        """Count time spent on a phase beside training and evaluation, such as compile."""
        spent = self._progress.other_seconds
        spent[phase] = spent.get(phase, 0.0) + seconds

    def _write_manifest(self, status: str) -> None:
        self._folder.write_manifest(
            schema=SCHEMA,
            status=status,
            time=now(),
            name=self.cfg.name,
            seed=self.cfg.seed,
            data={"label": self.parts.dataset.label, "sha256": self.parts.dataset.sha256},
            environment=self._environment,
            chain=self.log.chain,
        )

    # Train

    def take(self, steps: Steps, seconds: float) -> None:
        """Count steps that took so many seconds, and log their means where the plan says so.

        Raises:
            Diverged: a loss is not finite; the message names the step.
            UserError: the log cannot be written.
        """
        first = self.step + 1
        self._progress.take(steps, seconds)
        # Only now, a few steps late: looking at each loss when it is computed would wait for the device.
        for step, loss in enumerate(steps.losses, first):
            if not math.isfinite(loss):
                self._diverge(step, loss)
        if self._plan.logs_at(self.step):
            mean = self._log_means()
            if self._train_stop is not None and mean is not None:
                self._progress.stopped |= self._train_stop.on_record(mean, step=self.step)

    def _diverge(self, step: int, loss: float) -> None:
        lr = self.learner.base_lr * self._plan.lr_factor(step - 1)
        # What led there belongs in the log: the curve shows the loss rising.
        self._log_means()
        raise Diverged(
            f"the loss became {loss} at step {step} (epoch {self._plan.epoch(step):.2f}, learning rate {lr:g}); "
            "try a smaller optimizer.lr, train.clip: {norm: 1.0}, a schedule with warmup, or scaled inputs "
            "(data.preprocess)"
        )

    def _log_means(self) -> float | None:
        """Write the means over the samples since the last record, if there are any, and return that of the loss."""
        means = self._progress.pop_means()
        if not means:
            return None
        self.log.write(
            "train",
            step=self.step,
            epoch=self.epoch,
            **{key: means[key] for key in means if key != "n"},
            lr=self._plan.lr_factor(self.step - 1) * self.learner.base_lr,
            n=means["n"],
            seconds=self._progress.train_seconds,
            wall=self._wall_now(),
        )
        return means["loss"]

    def take_evaluations(self, evaluations: Mapping[str, Evaluation], seconds: float) -> None:
        """Log evaluations that took so many seconds, ask the watchers, and save if the last checkpoint is old.

        Raises:
            UserError: the log or the checkpoint cannot be written.
        """
        self._progress.eval_seconds += seconds
        for name, result in evaluations.items():
            record = self._log_evaluation(name, result, step=self.step)
            # Asked with the record that was written, so that a strategy sees what the log says.
            if self._prune is not None and self._prune(record):
                self._pruned = True
        for watcher in self._watchers.values():
            self._progress.stopped |= watcher.on_eval(self, evaluations)
        # Where training is over, close() saves.
        if self.step < self._plan.steps and not self.stopped and self._checkpoint_is_old():
            self.save()

    def _log_evaluation(self, split: str, result: Evaluation, *, step: int, **final: Any) -> Record:
        """Write the record of one evaluation, and return it; step: when the weights were as they are."""
        return self.log.write(
            "eval",
            step=step,
            epoch=self._plan.epoch(step),
            split=split,
            **result.logged(),
            seconds=self._progress.train_seconds,
            wall=self._wall_now(),
            **final,
        )

    def note(self, *, text: str, first: bool = True, about: str = "one_class", **values: Any) -> None:
        """Tell the log something beside the result, and the user if this is the first time."""
        self.log.write("note", about=about, text=text, **values)
        if first:
            self._say(text)

    # Save

    def _checkpoint_is_old(self) -> bool:
        return time.monotonic() - self._saved_at >= self._save_every

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            UserError: it cannot be written; the message names the last good one, which is untouched.
        """
        self._wall_now()
        state = {
            "learner": self.learner.state_dict(),
            "progress": asdict(self._progress),
            "run": self._folder.name,
            # The key that checkpoints have had from the beginning.
            "hooks": {name: watcher.state_dict() for name, watcher in self._watchers.items()},
            **about(self.parts),
        }
        # The weights that the next step starts from; those that are evaluated may be averages of them.
        self._log_checkpoint("last", state["learner"]["model"], step=self.step)
        self.log.sync()  # first, so that the log never says less than the checkpoint
        self._folder.store.save({**state, "chain": self.log.chain, "chained": self._chained}, step=self.step)
        self._saved_at = time.monotonic()

    def _log_checkpoint(self, file: str, weights: State, *, step: int) -> None:
        """Say in the log, which a later change would break, what a checkpoint is about to hold."""
        self.log.write("checkpoint", step=step, file=file, weights_sha256=weights_sha256(weights))

    def close(self) -> None:
        """Save where training has ended, or was interrupted.

        Steps since the last log record are in the checkpoint, so a resumed run logs the means that an unbroken one
        would. Only a run that has stopped early logs them now: no step follows.
        """
        if self.stopped:
            self._log_means()
        self.save()

    # Finish

    def finish(self) -> None:
        """Evaluate with the chosen weights and end, if training is over; else say why it is not.

        Raises:
            Diverged: the loss is not finite.
            Interrupted: training is not over, and nothing has asked to give it up; a checkpoint was written.
            UserError: something cannot be written.
        """
        try:
            if self.error is not None:
                raise self.error
            if self.stopped or self.step >= self._plan.steps:
                self._finish()
            elif self._pruned:
                self._end("pruned")
            else:
                self._end("interrupted")
                raise Interrupted(
                    f"interrupted at step {self.step} of {self._plan.steps}; a checkpoint was written, "
                    "and the same command goes on from there"
                )
        except Diverged:
            self._end("diverged")
            raise

    def _finish(self) -> None:
        """Evaluate val and test once with the chosen weights, and save these."""
        # Of the last weights, not the chosen ones: two runs are equal if they ended equal.
        digest = weights_sha256(self.learner.weights())
        step, chosen = self.step, "last"
        if self._keep.weights is not None:
            step, chosen = self._keep.best.step or 0, "best"
            self.learner.load_weights(self._keep.weights)
        elif "keep_best" in self._watchers:
            self.note(about="nothing_chosen", text=NOTHING_CHOSEN.format(self._keep.best.metric), step=step)
        best = {"weights": self.learner.weights(), "chosen": chosen, "chained": self._chained, **about(self.parts)}
        # Before the evaluation: if that fails, the weights are there and `evaluate` can be called.
        # Also where no validation chose: best.pt is then what was evaluated, and last.pt may be removed below.
        self._log_checkpoint("best", best["weights"], step=step)
        self._folder.store.save_best(best, step=step)
        started = time.perf_counter()
        for name in ("val", "test"):
            if name in self.parts.splits:
                self._evaluate_final(name, step)
                self._evaluate_views(name, step)
        self._progress.eval_seconds += time.perf_counter() - started
        keep = self.cfg.train.keep_checkpoints
        self._end("finished", chosen={"weights": chosen, "step": step}, weights_sha256=digest, keep_checkpoints=keep)
        if keep == "best":  # only now: until record and manifest are on the disk, a killed run goes on from them
            self._folder.drop_checkpoints()

    def _evaluate_final(self, split: str, step: int) -> None:
        result, more = evaluate_final(self.learner, self.parts, split)
        self._one_class.look(split, result, step=step, final=True)
        self._log_evaluation(split, result, step=step, final=True, confusion=result.confusion, **more)

    def _evaluate_views(self, split: str, step: int) -> None:
        """Evaluate with test-time augmentation, if the config asks for it."""
        if (views := self.learner.views) is None:
            return
        result = self.learner.evaluate(self.parts.splits[split], views=views)
        values = {"loss": result.loss, "accuracy": result.accuracy, "n": result.n}
        self.log.write("tta", step=step, split=split, **values, views=len(views), wall=self._wall_now())

    def _end(self, status: str, **values: Any) -> None:
        """Write the last record and the manifest."""
        progress = self._progress
        seconds = {**progress.other_seconds, "train": progress.train_seconds, "eval": progress.eval_seconds}
        total = self._wall_now()
        self.log.write(
            "end",
            status=status,
            steps=self.step,
            best=self._keep.best.record(),
            test_evaluations=len(self._folder.records().evaluations("test")),
            seconds={**seconds, "other": max(total - sum(seconds.values()), 0.0), "total": total},
            images_per_second=progress.images / progress.train_seconds if progress.train_seconds else None,
            time=now(),
            **values,
        )
        # The record first: a manifest that says "finished" beside a log that does not would be believed.
        self.log.sync()
        self._write_manifest(status)

    def _wall_now(self) -> float:
        """Return the wall-clock seconds so far, and remember them for a later session."""
        self._progress.wall_seconds = self._wall.seconds()
        return self._progress.wall_seconds
