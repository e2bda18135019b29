"""Stacks on a GPU, or a pretended one: nothing waits, resume is exact, and a run changes its device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer
from dlassign.stacked.trainer import StackTrainer
from dlassign.train.parts import Parts
from helpers.gpu import waiting_is_an_error
from helpers.gpu_cases import PREACT, QUICK, SGD, VGG, parts_of, plain, same, small_config
from helpers.pretended_gpu import pretended_gpu

PLAIN = "model.dropout=0"
SEEDS = ("seed=1", "seed=2", "seed=3", "seed=4")
STACKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    # name: config, changes, those of each member
    "adam": (QUICK, (PLAIN,), ("optimizer.lr=1e-3", "optimizer.lr=3e-3", "optimizer.lr=1e-2", "seed=5")),
    "adamw": (
        QUICK,
        (PLAIN, "optimizer={name: adamw, lr: 1e-3}"),
        ("optimizer.weight_decay=0.1", "optimizer.betas=[0.5, 0.9]", "seed=3", "seed=4"),
    ),
    "sgd alike": (QUICK, (PLAIN, f"optimizer={SGD}"), SEEDS),
    "sgd": (QUICK, (PLAIN, f"optimizer={SGD}"), ("optimizer.lr=0.1", "optimizer.momentum=0.5", "seed=3", "seed=4")),
    "rmsprop": (
        QUICK,
        (PLAIN, "optimizer={name: rmsprop, lr: 1e-3, momentum: 0.5}"),
        ("optimizer.lr=1e-2", "optimizer.lr=2e-3", "seed=3", "seed=4"),
    ),
    "three, clipped": (QUICK, (PLAIN, "train.clip={norm: 1.0}"), SEEDS[:3]),
    "ema": (QUICK, (PLAIN, "train.average={name: ema, decay: 0.9}"), SEEDS[:3]),
    "penalties": (QUICK, (PLAIN, "loss.penalty=[{name: l2, coefficient: 1e-3}]"), SEEDS),
    "vgg, adam, bf16": (VGG, ("model.stages=[[8], [16]]",), ("optimizer.lr=1e-3", "optimizer.lr=1e-2", *SEEDS[2:])),
    # Four or more of one SGD are updated by one fused kernel, which takes gradients in one layout only.
    "vgg, sgd alike": (VGG, ("model.stages=[[8], [16]]", f"optimizer={SGD}"), SEEDS),
    "preact, fp32": (
        PREACT,
        ("model.widths=[8, 16]", "model.blocks=[1, 1]", "train.precision=fp32"),
        ("optimizer.lr=1e-3", *SEEDS[1:]),
    ),
}


class Stack:
    """A stack of one of STACKS, gone on with from the states of its members if there are any."""

    def __init__(self, case: str, device: str, states: Sequence[Any] = ()) -> None:
        file, common, own = STACKS[case]
        cfgs = [small_config(file, *common, change) for change in own]
        self.every: list[Parts] = [parts_of(cfg, device) for cfg in cfgs]
        self.members = [
            StackMember(parts.learner, parts.batches.order, lr_factor=parts.plan.lr_factor) for parts in self.every
        ]
        for member, state in zip(self.members, states, strict=False):
            member.load_state_dict(state)  # before they are stacked, as run_together does
        self.trainer: StackTrainer = make_stack_trainer(cfgs, self.members, self.every[0].splits["train"], lanes=1)

    def states(self) -> list[Any]:
        return [plain(member.state_dict()) for member in self.members]


SLOW = {"sgd", "three, clipped", "penalties", "preact, fp32"}  # plain pytest has their parts in other cases


@pytest.mark.gpu
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in STACKS]
)
def test_a_stack_stays_there_never_waits_and_resumes_exactly(case: str) -> None:
    stack = Stack(case, "cuda:0")
    stack.trainer.advance(0, 1, lambda: False)
    [[chunk]] = stack.trainer._lanes
    with waiting_is_an_error():
        for step, (x, y) in enumerate(chunk._batches.between(1, 4), 1):
            chunk._step(x, y, step)
    states = stack.states()
    evaluations = stack.trainer.evaluate(stack.every[0].splits["test"], range(len(stack.members)))
    steps = stack.trainer.advance(4, 6, lambda: False)
    again = Stack(case, "cuda:0", states)
    again.trainer.advance(4, 6, lambda: False)
    for k, (one, other) in enumerate(zip(again.states(), stack.states(), strict=True)):
        same(one, other, f"member {k}")
    assert all(math.isfinite(loss) for one in steps for loss in one.losses)
    assert all(one.n == len(stack.every[0].splits["test"]) for one in evaluations)
    assert all(value.is_cuda for member in stack.members for value in member.weights().values())


@pytest.mark.parametrize("case", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_step_uploads_nothing(case: str) -> None:
    """D5 of the faults: once thirty tiny tensors a step."""
    with pretended_gpu() as machine:
        stack = Stack(case, "cuda:0")
        stack.trainer.advance(0, 1, lambda: False)
        [[chunk]] = stack.trainer._lanes
        batches = list(chunk._batches.between(1, 3))
        machine.reset()
        for step, (x, y) in enumerate(batches, 1):
            chunk._step(x, y, step)
        assert machine.uploads == 0


@pytest.mark.gpu
@pytest.mark.parametrize(("here", "there"), [("cpu", "cuda:0"), ("cuda:0", "cpu")])
@pytest.mark.parametrize("case", ["adam", "ema"])
def test_a_stack_goes_on_on_another_device(case: str, here: str, there: str) -> None:
    stack = Stack(case, here)
    stack.trainer.advance(0, 3, lambda: False)
    again = Stack(case, there, stack.states())
    before = [plain(member.weights()) for member in stack.members]
    same([plain(member.weights()) for member in again.members], before)
    steps = again.trainer.advance(3, 6, lambda: False)
    assert all(math.isfinite(loss) for one in steps for loss in one.losses)


@pytest.mark.gpu
def test_a_member_of_a_stack_goes_on_alone_on_another_device() -> None:
    stack = Stack("adam", "cuda:0")
    stack.trainer.advance(0, 3, lambda: False)
    alone = Stack("adam", "cpu").every[0]
    alone.learner.load_state_dict(stack.states()[0])
    same(plain(alone.learner.weights()), plain(stack.members[0].weights()))


def test_a_stack_takes_the_steps_of_the_cpu() -> None:
    expected = [steps.losses for steps in Stack("adam", "cpu").trainer.advance(0, 4, lambda: False)]
    with pretended_gpu():
        found = [steps.losses for steps in Stack("adam", "cuda:0").trainer.advance(0, 4, lambda: False)]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_stacks_are_on_the_second_gpu_if_that_is_asked_for() -> None:
    with pretended_gpu((8, 0), (8, 0)) as machine:
        Stack("sgd alike", "cuda:1").trainer.advance(0, 2, lambda: False)
        assert machine.used == {torch.device("cuda:1")}
