"""run_together: equal models of several runs trained as one batched model, each with its own folder and log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from dlassign.config.run import RunConfig
from dlassign.data.torch_batches import TensorSplit
from dlassign.errors import DlassignError
from dlassign.nets.objective import make_stacked_loss, make_stacked_penalty
from dlassign.stacked.loop import Stack, fit_together
from dlassign.stacked.rules import StackedOptimizer, can_stack
from dlassign.stacked.stack import StackedLearner, StackMember
from dlassign.stacked.vmap import Stack as StackedModels
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.train.assemble import Parts
from dlassign.train.cache import DataCache
from dlassign.train.experiment import naming_memory, open_run
from dlassign.train.loop import Track
from dlassign.train.plan import Plan
from dlassign.train.run import Say, Session
from dlassign.train.stopping import StopRequest
from dlassign.train.torch_learner import TorchLearner

WORTH_STACKING = 4
"""Models of a chunk from which updating them at once is faster than a fused kernel for each."""
CHECKPOINT_SECONDS = 60.0
"""K runs together write K checkpoints at a time, so they do it K times as seldom, but not more seldom than this."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One of the runs.

    Attributes:
        cfg: the run.
        paths: its folder.
        say: told one line about everything that a user should know beside the result.
        on_record: called with every log record.
    """

    cfg: RunConfig
    paths: RunPaths
    say: Say
    on_record: Callable[[Record], None]


@dataclass(kw_only=True)
class _Open:
    """A run that has begun, and the error that has ended it, if one has."""

    job: Job
    parts: Parts
    member: StackMember
    session: Session
    track: Track
    error: DlassignError | None = None


def run_together(jobs: Sequence[Job], *, cache: DataCache) -> Iterator[tuple[Job, DlassignError | None]]:
    """Train runs side by side, from the beginning or from where they stopped, and yield how each ended.

    What ends one run, such as a loss that is not finite, leaves the others alone. A run that was interrupted yields
    Interrupted; its checkpoint was written.

    Args:
        jobs: runs whose configs have one stack_key, with one seed each or more.
        cache: of the process.
    """
    with ExitStack() as held:
        wall, entries = WallClock(share=1 / len(jobs)), []
        stop = held.enter_context(StopRequest())
        for job in jobs:
            own = held.enter_context(ExitStack())
            try:
                entries.append(_open(job, own, cache=cache, wall=wall))
            except DlassignError as error:
                own.close()
                yield job, error
        for group in _groups(entries):
            if group[0].track.goes_on:
                _train_or_say(group, stop)
            for entry in group:
                yield entry.job, _conclude(entry)


def _groups(entries: Sequence[_Open]) -> list[list[_Open]]:
    """Return runs that can train together: those at the same step; those whose training is over come first."""
    groups: dict[tuple[bool, int], list[_Open]] = {}
    for entry in entries:
        groups.setdefault((entry.track.goes_on, entry.track.progress.step), []).append(entry)
    return [groups[key] for key in sorted(groups)]


def _train_or_say(group: list[_Open], stop: StopRequest) -> None:
    """Train a group; what ends all of it, such as want of memory, becomes the error of each."""
    try:
        with naming_memory():
            _train(group, stop)
    except DlassignError as error:
        for entry in group:
            entry.error = entry.error or error


def _open(job: Job, held: ExitStack, *, cache: DataCache, wall: WallClock) -> _Open:
    """Begin a run, or go back to its newest checkpoint; the lock of its folder and its log stay open."""
    seconds = job.cfg.train.checkpoint_seconds
    with naming_memory():
        parts, session = held.enter_context(
            open_run(
                job.cfg,
                job.paths,
                say=job.say,
                on_record=job.on_record,
                clock={},
                wall=WallClock(wall.seconds(), share=wall.share),
                cache=cache,
                as_member=_as_member,
                checkpoint_seconds=max(seconds, min(seconds / wall.share, CHECKPOINT_SECONDS)),
            )
        )
        session.begin()
    assert isinstance(parts.learner, StackMember), "_as_member"
    return _Open(job=job, parts=parts, member=parts.learner, session=session, track=session.track())


def _as_member(parts: Parts) -> Parts:
    """Return the parts with a learner that trains in a stack."""
    return replace(parts, learner=_member(parts))


def _member(parts: Parts) -> StackMember:
    """Return a learner that trains in a stack."""
    learner, order = parts.learner, parts.batches.order
    assert isinstance(learner, TorchLearner), "only PyTorch nets train in a stack: stack_key"
    return StackMember(learner, order)


def _train(group: list[_Open], stop: StopRequest) -> None:
    """Train runs that stand at the same step to their ends."""
    by_track = {id(entry.track): entry for entry in group}

    def failed(track: Track, error: DlassignError) -> None:
        by_track[id(track)].error = error

    stack = _stack(group)
    try:
        fit_together(stack, [entry.track for entry in group], interrupted=stop, failed=failed)
    finally:
        stack.close()


def _stack(group: list[_Open]) -> Stack:
    """Put the learners of a group together, in a lane for each thread of the CPU."""
    first = group[0].parts
    cfgs, plans = [entry.job.cfg for entry in group], [entry.parts.plan for entry in group]
    device, _, threads = first.machine()
    lanes, split = threads if device == "cpu" else 1, first.splits["train"]
    return build_stack(cfgs, [entry.member for entry in group], split, plans=plans, lanes=lanes)


def _conclude(entry: _Open) -> DlassignError | None:
    """Evaluate a run with the chosen weights and end it; return what went wrong, if something did."""
    try:
        with entry.session.ending_diverged():
            if entry.error is not None:
                raise entry.error
            entry.session.conclude()
    except DlassignError as error:
        return error
    return None


def build_stack(
    cfgs: Sequence[RunConfig],
    members: Sequence[StackMember],
    split: TensorSplit,
    *,
    plans: Sequence[Plan],
    lanes: int,
) -> StackedLearner:
    """Put learners of equal models together; configs, learners and plans are those of the same runs, in one order.

    Args:
        cfgs: what was asked for; they differ only where members of a stack may.
        members: the learners.
        split: placed training samples.
        plans: durations in steps.
        lanes: threads to compute in.
    """
    cfg_of = {id(member): cfg for member, cfg in zip(members, cfgs, strict=True)}

    def penalty(of: Sequence[StackMember], stack: StackedModels) -> Callable[[], torch.Tensor] | None:
        own = [cfg_of[id(member)].loss.penalty for member in of]
        return make_stacked_penalty(own, params=list(stack.tensors.params.values()), weights=stack.tensors.weights)

    def optimizer(of: Sequence[StackMember], stack: StackedModels) -> StackedOptimizer | None:
        own = [cfg_of[id(member)].optimizer for member in of]
        if len(of) < WORTH_STACKING or not can_stack(own) or any(member.learner.clips for member in of):
            return None
        return StackedOptimizer(
            [member.learner.optimizer for member in of],
            [p for p in stack.tensors.params.values() if p.requires_grad],
            cfgs=own,
            batch_size=plans[0].samples_a_step,
        )

    return StackedLearner(
        members,
        split,
        loss=make_stacked_loss(cfgs[0].loss),
        penalty=penalty,
        optimizer=optimizer,
        lr_factors=[plan.lr_factor for plan in plans],
        batch_size=plans[0].samples_a_step,
        lanes=lanes,
    )
