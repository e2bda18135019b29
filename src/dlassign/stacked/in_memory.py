"""train_together: several runs trained side by side in one stack, on samples in memory and without files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from dlassign.config.data import has_validation
from dlassign.config.run import RunConfig
from dlassign.data.batches import Order, Rows
from dlassign.data.bundle import Raw
from dlassign.data.torch_batches import TensorSplit
from dlassign.errors import DlassignError, Interrupted
from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer
from dlassign.store.clock import WallClock
from dlassign.store.records import RunRecords
from dlassign.train.cache import DataCache
from dlassign.train.device import keep_memory, one_thread, resolve_device
from dlassign.train.experiment import assemble
from dlassign.train.folder import InMemory
from dlassign.train.loop import fit
from dlassign.train.memory import naming_memory
from dlassign.train.parts import Parts
from dlassign.train.run import Run
from dlassign.train.stopping import StopRequest
from dlassign.train.torch_learner import TorchLearner

Ended = tuple[RunRecords, Parts]
"""Log and parts of a run that has finished; its learner has the chosen weights."""


@dataclass(frozen=True)
class _Later:
    """The rows of an order, counted from another row of a longer training split."""

    order: Order
    first: int

    @property
    def steps_per_epoch(self) -> int:
        """The steps of the order."""
        return self.order.steps_per_epoch

    def epoch(self, number: int) -> list[Rows]:
        """Return the rows of each step as index arrays."""
        return [np.r_[rows] + self.first for rows in self.order.epoch(number)]


def train_together(cfgs: Sequence[RunConfig], raws: Sequence[Raw]) -> list[Ended | DlassignError]:
    """Train runs side by side, each on its own samples, with the same result as `train_in_memory` of each.

    Args:
        cfgs: of the runs, which have one stack_key.
        raws: the samples of each. Runs on the same object share them; all have equal numbers of samples to train on.

    Returns:
        What became of each: its log and parts, or what ended it.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the trainings are lost.
    """
    with ExitStack() as held:
        wall = WallClock(share=1 / len(cfgs))
        threads = torch.get_num_threads()
        stop = held.enter_context(StopRequest())
        held.enter_context(naming_memory())
        keep_memory()
        caches = {id(raw): DataCache(raw) for raw in raws}
        held.enter_context(one_thread())  # as in a stack with folders
        logs = [InMemory() for _ in cfgs]
        runs = [_begin(cfg, caches[id(raw)], log, wall=wall) for cfg, raw, log in zip(cfgs, raws, logs, strict=True)]
        groups: dict[int, list[Run]] = {}
        for run, raw in zip(runs, raws, strict=True):
            # A stack is evaluated on one split, and prepares pixels in one way.
            alone = has_validation(run.cfg.data) or run.parts.splits["train"].prepare is not None
            groups.setdefault(id(raw) if alone else 0, []).append(run)
        for group in groups.values():
            trainer = make_stack_trainer(
                [run.cfg for run in group],
                [run.learner for run in group if isinstance(run.learner, StackMember)],
                _joined(group),
                lanes=threads if resolve_device(group[0].cfg.device).type == "cpu" else 1,
            )
            try:
                fit(trainer, group, interrupted=stop)
            finally:
                trainer.close()
        return [_ended(run, log) for run, log in zip(runs, logs, strict=True)]


def _begin(cfg: RunConfig, cache: DataCache, log: InMemory, *, wall: WallClock) -> Run:
    parts = assemble(cfg, resolve_device(cfg.device), cache=cache)
    assert isinstance(parts.learner, TorchLearner), "only PyTorch nets have a stack_key"
    # At once: the member's own generator starts in the state in which building the model has left torch's global one.
    member = StackMember(parts.learner, parts.batches.order, lr_factor=parts.plan.lr_factor)
    run = Run(cfg, log, parts, log=log, say=lambda text: None, wall=WallClock(wall.seconds(), share=wall.share))
    run.learner = member
    run.begin(None)
    return run


def _joined(group: Sequence[Run]) -> TensorSplit:
    """Return the training splits of all runs one after the other, each once; orders then count from their place."""
    splits: dict[int, TensorSplit] = {id(run.parts.splits["train"]): run.parts.splits["train"] for run in group}
    first, places = 0, {}
    for key, split in splits.items():
        places[key] = first
        first += len(split)
    for run in group:
        assert isinstance(run.learner, StackMember), "made in _begin"
        if place := places[id(run.parts.splits["train"])]:
            run.learner.order = _Later(run.learner.order, place)
    every = list(splits.values())
    if len(every) == 1:
        return every[0]
    return TensorSplit(torch.cat([split.x for split in every]), torch.cat([split.y for split in every]))


def _ended(run: Run, log: InMemory) -> Ended | DlassignError:
    try:
        run.finish()
    except Interrupted:
        raise
    except DlassignError as error:
        return error
    return log.records(), run.parts
