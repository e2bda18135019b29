"""How the weights change: the optimizer and the schedule of its learning rate."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from dlassign.config.base import Config, Duration, NonNegative, Pair, Positive, Several, broken_rule

Beta = Annotated[float, Field(ge=0, lt=1)]


class SGD(Config):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    lr: Annotated[Positive, Field(examples=[0.01])]
    """Learning rate."""
    momentum: Beta = 0.0
    """Share of the last update that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise broken_rule("nesterov", "needs momentum above 0; give `momentum: 0.9`, or remove nesterov")
        return self


class Adam(Config):
    """Adam."""

    name: Literal["adam"]
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Pair[Beta] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""


class AdamW(Config):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"]
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Pair[Beta] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegative = 0.01
    """Decoupled decay: every step multiplies all parameters by 1 - lr * weight_decay."""


class RMSprop(Config):
    """RMSprop."""

    name: Literal["rmsprop"]
    lr: Positive = 1e-2
    """Learning rate."""
    alpha: Beta = 0.99
    """Decay rate of the running mean of the squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    momentum: Beta = 0.0
    """Share of the last update that is kept."""
    weight_decay: NonNegative = 0.0
    """Coupled L2 decay of all parameters: weight_decay * p is added to the gradient."""


Optimizer = Annotated[SGD | Adam | AdamW | RMSprop, Field(discriminator="name")]


class Schedule(Config):
    """Keys that every schedule has. A schedule is a factor on the optimizer's learning rate."""

    warmup: Duration | None = None
    """Linear rise from 0 to the full rate over this long, before the schedule begins."""


class Constant(Schedule):
    """The factor stays 1."""

    name: Literal["constant"]


class StepDecay(Schedule):
    """Multiply by gamma every so often."""

    name: Literal["step"]
    every: Duration
    """Time between two decays."""
    gamma: Positive = 0.1
    """Factor of one decay."""


class MultiStep(Schedule):
    """Multiply by gamma at each milestone."""

    name: Literal["multistep"]
    milestones: Several[Duration]
    """Times of the decays, counted from the start of training (after warm-up), in rising order."""
    gamma: Positive = 0.1
    """Factor of one decay."""

    @model_validator(mode="after")
    def _rising(self) -> MultiStep:
        for unit in ("steps", "epochs"):
            times = [getattr(milestone, unit) for milestone in self.milestones]
            if None not in times and any(b <= a for a, b in pairwise(times)):
                shown = ", ".join(f"{time:.10g}" for time in times)
                raise broken_rule("milestones", f"{unit} {shown} do not rise; give them in rising order")
        return self


class Exponential(Schedule):
    """Multiply by gamma after every epoch."""

    name: Literal["exponential"]
    gamma: Annotated[Positive, Field(examples=[0.95])]
    """Factor of one decay."""
    after_first_step: bool = False
    """Decay once more right after the very first step, as the HLCV exercise does."""


class Cosine(Schedule):
    """Fall along half a cosine to the end of training."""

    name: Literal["cosine"]
    final: NonNegative = 0.0
    """Factor at the end."""


class OneCycle(Schedule):
    """Rise along a cosine to the full rate, then fall along a cosine; the optimizer's lr is the peak."""

    name: Literal["one_cycle"]
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the steps spent rising."""
    initial: Annotated[float, Field(gt=0, le=1)] = 0.04
    """Factor at the start."""
    final: NonNegative = 4e-6
    """Factor at the end."""


LRSchedule = Annotated[Constant | StepDecay | MultiStep | Exponential | Cosine | OneCycle, Field(discriminator="name")]
