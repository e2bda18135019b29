"""RunConfig: everything that decides what a run computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, broken_rule
from dlassign.config.data import Data, ImageFolder, has_test, has_validation
from dlassign.config.model import TORCH_ONLY_NORMS, CrossEntropy, Init, LossFunction, Model, PytorchInit
from dlassign.config.optim import Constant, LRSchedule, Optimizer
from dlassign.config.train import Train

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN, max_length=100),
    Field(
        examples=["my_run"],
        json_schema_extra={
            "patternErrorMessage": "expected a name of letters a-z, digits, `.`, `_` and `-`, "
            "at most 100, first a letter or digit"
        },
    ),
]
Device = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$"),
    Field(json_schema_extra={"patternErrorMessage": "expected auto, cpu, cuda or cuda:N, such as cuda:0"}),
]


class RunConfig(Config):
    """One run: what is trained, on what, how, with which seed."""

    name: Name
    """Name of the experiment and of its folder under out/: letters, digits, `.`, `_` and `-`."""
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
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of initial weights, batches and dropout."""
    device: Device = "auto"
    """Where to compute: auto (CUDA if there is one), cpu, cuda or cuda:N."""

    @model_validator(mode="after")
    def _rules_between_sections(self) -> RunConfig:
        for rule in broken_rules({name: getattr(self, name) for name in type(self).model_fields}):
            raise rule
        return self


def broken_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield every broken rule between the sections of a config.

    Args:
        sections: those that are valid by themselves, by name.
    """
    if "data" in sections and "train" in sections:
        yield from _evaluation_rules(sections["data"], sections["train"])
        yield from _order_rules(sections["data"], sections["train"])
    if sections.get("backend") == "numpy":
        yield from _numpy_rules(sections)


def _order_rules(data: Data, train: Train) -> Iterator[PydanticCustomError]:
    if isinstance(data, ImageFolder) and data.shuffle_seed is None and train.order in ("uva", "window"):
        message = f"{train.order} takes images as they lie, and a folder is sorted by class; give data.shuffle_seed: 0"
        yield broken_rule("train.order", message)


def _evaluation_rules(data: Data, train: Train) -> Iterator[PydanticCustomError]:
    evaluate = train.evaluate
    by_validation = [key for key in ("early_stop", "keep") if getattr(train, key) not in (None, "last")]
    if not has_validation(data):
        cure = "give data.split.val, such as `val: 0.1`"
        if train.early_stop is not None:
            yield broken_rule("train.early_stop", f"early stopping needs a validation split; {cure}")
        if train.keep == "best":
            yield broken_rule("train.keep", f"`best` needs a validation split; {cure}, or use `keep: last`")
        if "val" in (evaluate or ()):
            yield broken_rule("train.evaluate", f"there is no validation split to evaluate; {cure}")
    elif evaluate is not None and "val" not in evaluate and by_validation:
        yield broken_rule("train.evaluate", f"train.{by_validation[0]} goes by validation; add val to this list")
    if "test" in (evaluate or ()) and not has_test(data):
        yield broken_rule(
            "train.evaluate", "there is no test split to evaluate; give data.split.test, such as `test: 0.2`"
        )


def _numpy_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    device, norm = sections.get("device", "cpu"), getattr(sections.get("model"), "norm", "none")
    if device.startswith("cuda"):
        yield broken_rule("device", f"`backend: numpy` computes on the CPU, not on {device}; use cpu or auto")
    if norm in TORCH_ONLY_NORMS:
        cure = "batch_without_running" if norm.startswith("batch") else "layer"
        message = f"{norm} is written in PyTorch only; use {cure}, the same in NumPy, or `backend: torch`"
        yield broken_rule("model.norm", message)
