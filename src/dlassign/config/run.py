"""RunConfig: everything that decides what a run computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Seed
from dlassign.config.data import Data
from dlassign.config.model import CrossEntropy, Init, LossFunction, Model, PytorchInit
from dlassign.config.optim import Constant, LRSchedule, Optimizer
from dlassign.config.rules import broken_rules
from dlassign.config.train import Train

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        max_length=100,
        examples=["my_run"],
        json_schema_extra={
            "patternErrorMessage": "expected a name of letters a-z, digits, `.`, `_` and `-`, "
            "at most 100, first a letter or digit"
        },
    ),
]
Device = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|cuda(:(0|[1-9][0-9]?))?)$",
        json_schema_extra={"patternErrorMessage": "expected auto, cpu, cuda or cuda:N, such as cuda:0"},
    ),
]


class RunConfig(Config):
    """One run: what is trained, on what, how, with which seed."""

    name: Name
    """Name of the experiment and of its folder under out/: letters, digits, `.`, `_` and `-`."""
    notes: str = ""
    """What should be known of this run beside its settings. It changes no result, and is no part of the run's hash."""
    backend: Literal["torch", "numpy"] = "torch"
    """What computes: PyTorch, or NumPy with hand-written backward passes, on the CPU."""
    data: Data
    """The data set, its split and its preprocessing."""
    model: Model
    """The network."""
    init: Init = PytorchInit(name="pytorch")
    """Initial weights."""
    loss: LossFunction = CrossEntropy(name="cross_entropy")
    """The loss and its penalties."""
    optimizer: Optimizer
    """The update rule."""
    schedule: LRSchedule = Constant(name="constant")
    """The learning rate over time."""
    train: Train
    """Batches, length, evaluation, early stopping, checkpoints."""
    seed: Seed = 0
    """Seed of initial weights, batches and dropout."""
    device: Device = "auto"
    """Where to compute: auto (CUDA if there is one), cpu, cuda or cuda:N."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from broken_rules(dict(self))
