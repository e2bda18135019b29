"""How the weights change: the optimizer and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import (
    Config,
    Count,
    Duration,
    Fraction,
    Many,
    NonNegative,
    Pair,
    Positive,
    Rate,
    Several,
    Share,
    broken_rule,
)
from dlassign.config.own_part import OrOwn, OwnPart

Pattern = Annotated[str, Field(min_length=1)]


class Group(Config):
    """Parameters that are trained with a learning rate or a weight decay of their own."""

    params: Annotated[Several[Pattern], Field(examples=[["head.*"]])]
    """Names of parameters, with `*` for any text, such as `head.*` or `*.bias`; the first group that fits counts."""
    lr_factor: Positive = 1.0
    """Their learning rate, as a multiple of the optimizer's."""
    weight_decay: NonNegative | None = None
    """Their weight decay, in place of the optimizer's; null keeps the optimizer's."""


class SGD(Config):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Annotated[Positive, Field(examples=[0.01])]
    """Learning rate."""
    momentum: Rate = 0.0
    """Share of the last update that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""
    parametrization: Literal["plain", "decoupled"] = "plain"
    """`decoupled` gives lr and weight_decay per 1024 samples of a summed loss, so that they need not change with
    batch size, momentum or each other: a step runs at lr * batch_size / (1024 * (1 + 1 / (1 - momentum))) and shrinks
    the weights by weight_decay in place of lr in the same formula, whatever the lr_factor of a group."""
    groups: Many[Group] = ()
    """Parameters with a learning rate or a weight decay of their own."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.nesterov and self.momentum == 0:
            yield broken_rule("nesterov", "needs momentum above 0; give `momentum: 0.9`, or remove nesterov")


class Adam(Config):
    """Adam."""

    name: Literal["adam"]
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Pair[Rate] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""
    groups: Many[Group] = ()
    """Parameters with a learning rate or a weight decay of their own."""


class AdamW(Config):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Pair[Rate] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegative = 0.01
    """Decoupled decay: every step multiplies all parameters by 1 - lr * weight_decay."""
    groups: Many[Group] = ()
    """Parameters with a learning rate or a weight decay of their own."""


class RMSprop(Config):
    """RMSprop."""

    name: Literal["rmsprop"]
    lr: Positive = 1e-2
    """Learning rate."""
    alpha: Rate = 0.99
    """Decay rate of the running mean of the squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    momentum: Rate = 0.0
    """Share of the last update that is kept."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""
    groups: Many[Group] = ()
    """Parameters with a learning rate or a weight decay of their own."""


class Muon(Config):
    """Muon: the momentum of every filter made orthogonal; all other parameters go to another optimizer."""

    name: Literal["muon"]
    lr: Positive = 0.24
    """Learning rate of the filters. An update's size does not depend on the gradient's."""
    momentum: Rate = 0.6
    """Share of the last momentum that is kept."""
    nesterov: bool = True
    """Look ahead along the momentum."""
    ns_steps: Annotated[int, Field(ge=1, le=100)] = 3
    """Newton-Schulz steps that make the momentum orthogonal."""
    ns_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of these steps; auto takes bf16 on hardware that multiplies matrices in it. Weights in fp64 stay so
    with auto."""
    renormalize: bool = True
    """Set the norm of every filter bank to the root of its number of filters before each step."""
    weight_decay: NonNegative = 0.0
    """Decoupled decay: every step multiplies the filters by 1 - lr * weight_decay; no use with renormalize."""
    params: Many[Pattern] = ()
    """Names of the weights that Muon trains, with `*` for any text, among those with two or more dimensions; empty is
    all convolution filters but those named `head*`."""
    rest: Annotated[SGD | AdamW, Field(discriminator="name", examples=[{"name": "sgd", "lr": 0.1, "momentum": 0.9}])]
    """The optimizer of all other parameters, with its own lr and groups; the schedule is the same."""
    groups: Many[Group] = ()
    """Filters with a learning rate or a weight decay of their own."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.nesterov and self.momentum == 0:
            yield broken_rule("nesterov", "needs momentum above 0; give `momentum: 0.6`, or `nesterov: false`")


class OwnOptimizer(OwnPart):
    """An optimizer of the user's own: a class (params, lr), derived from torch.optim.Optimizer."""

    own_kind = "optimizer"

    lr: Annotated[Positive, Field(examples=[0.01])]
    """Learning rate."""
    groups: Many[Group] = ()
    """Parameters with a learning rate of their own, or a weight decay, if the class takes `weight_decay`."""


Optimizer = Annotated[SGD | Adam | AdamW | RMSprop | Muon | OwnOptimizer, OrOwn(OwnOptimizer)]


class EMA(Config):
    """Evaluate with an exponential moving average of the weights; training does not see it."""

    name: Literal["ema"]
    decay: Fraction = 0.999
    """Share of the average that one update keeps."""
    every: Count = 1
    """Steps between two updates of the average."""
    ramp: bool = True
    """Begin with smaller decays, (1 + n) / (10 + n) at update n, so that the first weights are soon forgotten."""


class Lookahead(Config):
    """Every few steps, average the weights with slow ones and go on from the average."""

    name: Literal["lookahead"]
    every: Count = 5
    """Steps between two averages."""
    decay: Fraction = 0.95**5
    """Share of the slow weights that an average keeps at the end of training."""
    power: NonNegative = 3.0
    """The share rises with (step / steps)^power; 0 keeps it constant."""


Average = Annotated[EMA | Lookahead, Field(discriminator="name")]


class Schedule(Config):
    """Keys that every schedule has. A schedule is a factor on the optimizer's learning rate."""

    warmup: Duration | None = None
    """Linear rise from 0 to the full rate over this long, before the schedule begins."""


class Constant(Schedule):
    """The factor stays 1."""

    name: Literal["constant"]


class StepDecay(Schedule):
    """Multiply by gamma at equal intervals."""

    name: Literal["step"]
    every: Duration
    """Time between two decays."""
    gamma: Positive = 0.1
    """Factor of one decay."""


class MultiStep(Schedule):
    """Multiply by gamma at each milestone."""

    name: Literal["multistep"]
    milestones: Several[Duration]
    """When to decay, counted from the start of training (after warm-up), in rising order."""
    gamma: Positive = 0.1
    """Factor of one decay."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        for unit in ("steps", "epochs"):
            times = [getattr(milestone, unit) for milestone in self.milestones]
            if None not in times and any(b <= a for a, b in pairwise(times)):
                shown = ", ".join(f"{time:.10g}" for time in times)
                yield broken_rule("milestones", f"{unit} {shown} do not rise; give them in rising order")


class Exponential(Schedule):
    """Multiply by gamma after every epoch, or at another interval."""

    name: Literal["exponential"]
    gamma: Annotated[Positive, Field(examples=[0.95])]
    """Factor of one decay."""
    every: Duration | None = None
    """Time between two decays. null: an epoch, which has more steps with more samples or smaller batches."""
    after_first_step: bool = False
    """Decay once more right after the very first step, as the HLCV exercise does."""


class Cosine(Schedule):
    """Fall along half a cosine to the end of training."""

    name: Literal["cosine"]
    final: NonNegative = 0.0
    """Factor at the end."""


class Linear(Schedule):
    """Fall on a straight line to the end of training."""

    name: Literal["linear"]
    final: NonNegative = 0.0
    """Factor at the end."""


class OneCycle(Schedule):
    """Rise along a cosine to the full rate, then fall along a cosine; the optimizer's lr is the peak."""

    name: Literal["one_cycle"]
    rise: Fraction = 0.3
    """Share of the steps spent rising."""
    initial: Share = 0.04
    """Factor at the start."""
    final: NonNegative = 4e-6
    """Factor at the end."""


class Triangle(Schedule):
    """Rise on a line to the full rate, then fall on a line; the optimizer's lr is the peak."""

    name: Literal["triangle"]
    start: Share = 0.2
    """Factor at the first step."""
    peak: Fraction = 0.23
    """Share of the steps spent rising."""
    end: NonNegative = 0.07
    """Factor at the last step."""


class OwnSchedule(OwnPart, Schedule):
    """A schedule of the user's own: (step, total) -> factor."""

    own_kind = "schedule"


LRSchedule = Annotated[
    Constant | StepDecay | MultiStep | Exponential | Cosine | Linear | OneCycle | Triangle | OwnSchedule,
    OrOwn(OwnSchedule),
]
