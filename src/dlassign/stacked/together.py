"""run_together: several runs trained side by side in one stack, each with its own folder and log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import torch

from dlassign.config.run import RunConfig
from dlassign.data.torch_batches import TensorSplit
from dlassign.errors import DlassignError
from dlassign.nets.objective import make_stacked_penalty
from dlassign.optim.torch_optim import TorchOptimizer
from dlassign.stacked.chunk import Block
from dlassign.stacked.keys import model_key
from dlassign.stacked.member import StackMember
from dlassign.stacked.optimizer import StackedOptimizer
from dlassign.stacked.trainer import Shape, StackTrainer
from dlassign.store.clock import WallClock
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.train.cache import DataCache
from dlassign.train.device import keep_memory, one_thread, resolve_device
from dlassign.train.experiment import assemble, only_writer, open_log, over_meanwhile, read_former
from dlassign.train.folder import RunFolder
from dlassign.train.loop import fit
from dlassign.train.memory import naming_memory
from dlassign.train.plan import samples_a_step
from dlassign.train.run import Run
from dlassign.train.stopping import StopRequest
from dlassign.train.torch_learner import TorchLearner


def run_together(
    cfgs: Sequence[RunConfig],
    paths: Sequence[RunPaths],
    *,
    say: Callable[[int, str], None],
    on_record: Callable[[int, Record], None],
    cache: DataCache,
) -> Iterator[tuple[int, DlassignError | None]]:
    """Train runs side by side, from the beginning or from where they stopped, and yield how each ended.

    What ends one run, such as a loss that is not finite, leaves the others alone. A run that was interrupted yields
    Interrupted; its checkpoint was written.

    Args:
        cfgs: of the runs, which have one stack_key.
        paths: their folders.
        say: called with a run's place and one line about everything that a user should know beside the result.
        on_record: called with a run's place and every record of its log.
        cache: of the process.

    Yields:
        The place of a run that has ended, and its error, or None if it is finished.
    """
    # Held until the caller has taken the last result: locks, logs and signal handlers.
    with ExitStack() as held:
        wall = WallClock(share=1 / len(cfgs))
        threads = torch.get_num_threads()
        runs: dict[int, Run] = {}
        stop = held.enter_context(StopRequest())
        for place, (cfg, own_paths) in enumerate(zip(cfgs, paths, strict=True)):
            # An ExitStack for each run: one that cannot begin gives back its lock at once.
            own = held.enter_context(ExitStack())
            try:
                with naming_memory():
                    run = _begin(
                        own,
                        cfg,
                        own_paths,
                        say=partial(say, place),
                        on_record=partial(on_record, place),
                        wall=wall,
                        cache=cache,
                    )
            except DlassignError as error:
                own.close()
                yield place, error
                continue
            if run is not None:
                runs[place] = run
            else:
                own.close()
                yield place, None
        # Also while a stack has one lane, or one member: sums are added in another order by more threads.
        held.enter_context(one_thread())
        # After a kill the checkpoints of the runs may be of different steps; only equal steps go together.
        for group in _groups(list(runs.values())):
            if group[0].goes_on:
                _train(group, stop, threads)
            for place in [place for place, run in runs.items() if run in group]:
                yield place, _finish(runs[place])


def _begin(
    held: ExitStack,
    cfg: RunConfig,
    paths: RunPaths,
    *,
    say: Callable[[str], None],
    on_record: Callable[[Record], None],
    wall: WallClock,
    cache: DataCache,
) -> Run | None:
    """Begin a run, or go back to its newest checkpoint; `held` keeps the lock of its folder and its log open.

    None: another process has finished it meanwhile.
    """
    held.enter_context(only_writer(paths))
    keep_memory()
    former = read_former(paths, say)
    parts = assemble(cfg, resolve_device(cfg.device), former=former, cache=cache)
    if over_meanwhile(paths) is not None:
        return None
    assert isinstance(parts.learner, TorchLearner), "only PyTorch nets have a stack_key"
    # At once: the member's own generator starts in the state in which building the model has left torch's global one.
    member = StackMember(parts.learner, parts.batches.order, lr_factor=parts.plan.lr_factor)
    log = held.enter_context(open_log(paths, on_record))
    # Its own clock, for a resumed run adds the time of its earlier sessions.
    own_wall = WallClock(wall.seconds(), share=wall.share)
    run = Run(cfg, RunFolder(paths), parts, log=log, say=say, wall=own_wall)
    run.learner = member
    with one_thread():  # as it will compute: the first record says so
        run.begin(former)
    return run


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Return runs that can train together: those at the same step; those whose training is over come first."""
    groups: dict[tuple[bool, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.goes_on, run.step), []).append(run)
    return [groups[key] for key in sorted(groups)]


def _train(group: Sequence[Run], stop: StopRequest, threads: int) -> None:
    """Train runs that are at the same step; what ends all of them, such as lack of memory, is the error of each."""
    try:
        with naming_memory():
            trainer = _make_trainer(group, threads)
            try:
                fit(trainer, group, interrupted=stop)
            finally:
                trainer.close()
    except DlassignError as error:
        for run in group:
            run.error = run.error or error


def _make_trainer(group: Sequence[Run], threads: int) -> StackTrainer:
    """Put the learners of a group together, in a lane for each of so many threads of the CPU."""
    members = [run.learner for run in group if isinstance(run.learner, StackMember)]
    return make_stack_trainer(
        [run.cfg for run in group],
        members,
        group[0].parts.splits["train"],  # all members have equal data, or they would not share a stack_key
        # A GPU is one lane: its kernels run one after the other anyway.
        lanes=threads if members[0].learner.device.type == "cpu" else 1,
    )


def _finish(run: Run) -> DlassignError | None:
    """Evaluate a run with the chosen weights and end it; return what went wrong, if something did."""
    try:
        # The final evaluation may need memory that the steps did not.
        with naming_memory():
            run.finish()
    except DlassignError as error:
        return error
    return None


def make_stack_trainer(
    cfgs: Sequence[RunConfig], members: Sequence[StackMember], split: TensorSplit, *, lanes: int
) -> StackTrainer:
    """Put learners together; configs and learners are those of the same runs, in one order.

    Args:
        cfgs: what was asked for; they have one stack_key.
        members: the learners.
        split: placed training samples.
        lanes: threads to compute in.
    """
    # A block is told its members, not their places.
    cfg_of = {id(member): cfg for member, cfg in zip(members, cfgs, strict=True)}

    def penalty(block: Block) -> Callable[[], torch.Tensor] | None:
        own, tensors = [cfg_of[id(member)].loss.penalty for member in block.members], block.stack.tensors
        return make_stacked_penalty(own, params=list(tensors.params.values()), weights=tensors.weights)

    def optimizer(blocks: Sequence[Block]) -> StackedOptimizer | None:
        if any(member.learner.clips for block in blocks for member in block.members):
            return None
        return StackedOptimizer([(_optimizers(block), block.stack.tensors.trained) for block in blocks])

    return StackTrainer(
        members,
        [Shape(samples_a_step(cfg.train, len(split)), model_key(cfg)) for cfg in cfgs],
        split,
        loss=members[0].learner.loss,
        penalty=penalty,
        optimizer=optimizer,
        lanes=lanes,
    )


def _optimizers(block: Block) -> list[TorchOptimizer]:
    # Runs with an optimizer of the user's own are not stacked.
    return [one for member in block.members if isinstance(one := member.learner.optimizer, TorchOptimizer)]
