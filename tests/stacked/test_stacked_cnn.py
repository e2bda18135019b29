"""Stacks of convolutional networks: trained together, each run gives what it gives alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlassign.config.run import RunConfig
from dlassign.data.batches import Order, make_order
from dlassign.data.bundle import Split
from dlassign.data.prepare import Preprocess
from dlassign.data.torch_batches import TensorSplit
from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer
from dlassign.stacked.trainer import StackTrainer
from dlassign.train.device import seed_everything
from dlassign.train.learner import Evaluation
from dlassign.train.make_torch import make_torch_learner, place_torch, torch_training_batches
from dlassign.train.plan import Plan, make_plan
from dlassign.train.task import Task
from dlassign.train.torch_learner import TorchLearner

CPU = torch.device("cpu")
CLASSES, N, BATCH, STEPS = 4, 90, 20, 30
PREPROCESS = Preprocess.from_state([{"name": "scale", "divisor": 255.0}])
EECS: dict[str, Any] = {"name": "eecs_convnet", "filters": 4, "kernel_size": 3, "hidden": 6}
VGG: dict[str, Any] = {"name": "vgg", "stages": [[4], [5]], "global_pool": "avg"}
PREACT: dict[str, Any] = {"name": "preact_resnet", "widths": [4, 5], "blocks": [1, 1]}
SGD: dict[str, Any] = {"name": "sgd", "momentum": 0.9}


@dataclass
class Run:
    """A run that has been built, and what it trains on."""

    cfg: RunConfig
    learner: TorchLearner
    order: Order
    plan: Plan
    split: TensorSplit
    batches: Any

    def alone(self, start: int, stop: int) -> Iterator[tuple[float, float]]:
        """Take steps, and yield loss and right predictions of each."""
        for step, (x, y) in enumerate(self.batches.between(start, stop), start):
            stats = self.learner.step(x, y, self.plan.lr_factor(step))
            yield float(stats.loss), float(stats.correct)


def config(model: dict[str, Any], optimizer: dict[str, Any], *, seed: int, lr: float, **train: Any) -> RunConfig:
    data = {
        "name": "cnn",
        "seed": seed,
        "data": {"name": "digits"},
        "model": model,
        "optimizer": {**optimizer, "lr": lr},
        "loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 1e-3 * (1 + seed)}]},
        "train": {"steps": STEPS, "batch_size": BATCH, "precision": "fp64", **train},
        "device": "cpu",
    }
    return RunConfig.model_validate(data)


def never() -> bool:
    return False


def samples(channels: int = 3) -> Split:
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, N)
    x = rng.integers(0, 128, (N, channels, 8, 8)) + 30 * y[:, None, None, None]
    return Split(x.astype(np.uint8), y)


def build(cfg: RunConfig, *, order_seed: int, channels: int = 3) -> Run:
    """Build a run as assemble does: everything random is drawn from the run's seed."""
    order = make_order("shuffled", N, batch_size=BATCH, seed=order_seed)
    plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch, samples_a_step=BATCH)
    seed_everything(cfg.seed)
    learner, _ = make_torch_learner(cfg, Task((channels, 8, 8), CLASSES), device=CPU, plan=plan)
    split = place_torch(cfg, learner, samples(channels), preprocess=PREPROCESS)
    assert split.x.dtype == torch.uint8
    return Run(cfg, learner, order, plan, split, torch_training_batches(cfg, split, order, plan=plan))


def stack_of(runs: Sequence[Run], members: Sequence[StackMember], *, lanes: int = 1) -> StackTrainer:
    return make_stack_trainer([run.cfg for run in runs], members, runs[0].split, lanes=lanes)


def train_both_ways(
    cfgs: Sequence[RunConfig], *, same_order: bool, channels: int = 3, lanes: int = 1
) -> tuple[list[Run], StackTrainer, list[StackMember]]:
    """Train alone and in a stack, and compare losses and right predictions of every step; return both."""
    peers, members = join(cfgs, same_order=same_order, channels=channels)
    stack = stack_of(peers, members, lanes=lanes)
    found = [stack.advance(0, 13, never), stack.advance(13, STEPS, never)]
    runs = []
    for k, cfg in enumerate(cfgs):
        alone = build(cfg, order_seed=0 if same_order else cfg.seed, channels=channels)
        losses, corrects = zip(*alone.alone(0, STEPS), strict=True)
        assert [*found[0][k].losses, *found[1][k].losses] == pytest.approx(losses, rel=1e-9)
        assert [*found[0][k].corrects, *found[1][k].corrects] == list(corrects)
        assert min(losses[STEPS // 2 :]) < losses[0]
        runs.append(alone)
    return runs, stack, members


def join(
    cfgs: Sequence[RunConfig], *, same_order: bool = False, channels: int = 3
) -> tuple[list[Run], list[StackMember]]:
    """Build runs and make each a member as soon as it is built, while torch's generator is as its seed set it."""
    runs, members = [], []
    for cfg in cfgs:
        run = build(cfg, order_seed=0 if same_order else cfg.seed, channels=channels)
        runs.append(run)
        members.append(StackMember(run.learner, run.order, lr_factor=run.plan.lr_factor))
    return runs, members


def assert_same(found: Evaluation, expected: Evaluation) -> None:
    assert found.loss == pytest.approx(expected.loss, rel=1e-9)
    assert (found.accuracy, found.confusion) == (expected.accuracy, expected.confusion)


CASES = {
    "plain": (EECS, SGD),
    "batch norm": ({**EECS, "norm": "batch"}, SGD),
    "batch norm from zero": ({**EECS, "norm": "batch_from_zero"}, {"name": "sgd"}),
    # With a bias before batch norm, whose gradient is rounding alone, Adam would walk at random.
    "vgg with adam": ({**VGG, "bias": False}, {"name": "adam"}),
    "vgg": (VGG, SGD),
    "residual": (PREACT, {"name": "sgd"}),
}


ONE_ORDER = {"batch norm", "vgg"}  # and the others with own orders: each way and each net once in plain pytest


@pytest.mark.parametrize(
    ("case", "same_order"),
    [
        pytest.param(
            case,
            same_order,
            marks=() if same_order == (case in ONE_ORDER) else pytest.mark.slow,
            id=f"{case}-{'one order' if same_order else 'own orders'}",
        )
        for case in CASES
        for same_order in (True, False)
    ],
)
def test_a_stack_takes_the_steps_of_its_members(case: str, *, same_order: bool) -> None:
    model, optimizer = CASES[case]
    lrs = [1e-3, 2e-3, 3e-3, 5e-3] if optimizer["name"] == "adam" else [0.005, 0.01, 0.02, 0.05]
    cfgs = [config(model, optimizer, seed=seed, lr=lr) for seed, lr in enumerate(lrs)]
    runs, stack, members = train_both_ways(cfgs, same_order=same_order)
    together = stack.evaluate(runs[0].split, range(len(runs)))
    for run, member, found in zip(runs, members, together, strict=True):
        expected = run.learner.evaluate(run.split)
        assert_same(found, expected)
        assert_same(member.evaluate(run.split), expected)
        for name, buffer in run.learner.model.named_buffers():
            torch.testing.assert_close(member.learner.model.get_buffer(name), buffer, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("case", ["vgg", "plain"])
def test_seeds_of_one_rule_train_as_alone_whatever_their_layout(case: str) -> None:
    """One rate for all: torch's fused kernel updates the stack, and it must find gradients as the filters lie."""
    model, optimizer = CASES[case]
    cfgs = [config(model, optimizer, seed=seed, lr=0.02) for seed in range(4)]
    _, _, members = train_both_ways(cfgs, same_order=False)
    filters = [p for p in members[0].learner.model.parameters() if p.ndim == 4]
    assert any(not p.is_contiguous() for p in filters), "no filter lies as channels_last"


def test_the_models_have_batch_norm_with_running_statistics() -> None:
    """What the test above compares is there, and has moved."""
    model, optimizer = CASES["batch norm"]
    [run], _, [member] = train_both_ways([config(model, optimizer, seed=0, lr=0.01)], same_order=True)
    for own in (run.learner.model, member.learner.model):
        norm = own.get_submodule("norm1")
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.num_batches_tracked == STEPS
        assert norm.running_mean is not None
        assert norm.running_mean.abs().min() > 0


def test_lanes_change_nothing() -> None:
    cfgs = [config(EECS, SGD, seed=seed, lr=0.01 * (seed + 1)) for seed in range(4)]
    _, stack, _ = train_both_ways(cfgs, same_order=False, channels=1, lanes=2)
    stack.close()


@pytest.mark.parametrize("optimizer", [SGD, {"name": "adam"}], ids=["sgd", "adam"])
@pytest.mark.parametrize("channels_last", ["auto", "off"])
def test_a_state_goes_on_alone_and_members_leave(optimizer: dict[str, Any], channels_last: str) -> None:
    """Half in a stack of six, then one alone from its state, and three in a smaller stack: the same as never stacked.

    Filters of 3x3x3 are channels_last in memory, and stacks of fewer than four are updated one by one.
    """
    model = {**EECS, "norm": "batch"}
    cfgs = [
        config(model, optimizer, seed=seed, lr=0.002 * (seed + 1), channels_last=channels_last) for seed in range(6)
    ]
    expected = [list(build(cfg, order_seed=cfg.seed).alone(0, STEPS)) for cfg in cfgs]
    runs, members = join(cfgs)
    stack, half = stack_of(runs, members), STEPS // 2
    stack.advance(0, half, never)
    state = members[1].state_dict()
    staying = [0, 2, 5]
    stack.keep(staying)
    rest = stack.advance(half, STEPS, never)
    for k, stats in zip(staying, rest, strict=True):
        assert stats.losses == pytest.approx([loss for loss, _ in expected[k][half:]], rel=1e-9)
    single = build(cfgs[1], order_seed=1)
    single.learner.load_state_dict(state)
    went_on = [loss for loss, _ in single.alone(half, STEPS)]
    assert went_on == pytest.approx([loss for loss, _ in expected[1][half:]], rel=1e-9)
