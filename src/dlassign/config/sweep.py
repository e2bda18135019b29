"""SweepConfig: which runs a sweep makes of a base config, what picks the best, and where they are trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count, islice
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Count, Many, NonNegative, PathText, Positive, Seed, Several, broken_rule
from dlassign.config.run import Name
from dlassign.config.space import Condition, Space
from dlassign.config.sweep_rules import broken_sweep_rules

Factor = Annotated[int, Field(ge=2, le=1000)]


class Grid(Config):
    """Every combination of the values, in the file's order, the last key fastest."""

    name: Literal["grid"]


class Random(Config):
    """Points drawn at random."""

    name: Literal["random"]
    trials: Annotated[Count, Field(examples=[50])]
    """Number of points. More of them later keep those that are there."""


class NoPruning(Config):
    """Every run goes to its end."""

    name: Literal["none"]


class SuccessiveHalving(Config):
    """Give a run up at 1, 3, 9, ... times `min_evaluations` unless it is among the best third that got there."""

    name: Literal["successive_halving"]
    min_evaluations: Count = 1
    """Evaluations of the objective's split before a run may be given up."""
    factor: Factor = 3
    """One in so many goes on, to so many times the evaluations."""


class Hyperband(Config):
    """Successive halving in several brackets, some of which give runs more time before they may be given up."""

    name: Literal["hyperband"]
    min_evaluations: Count = 1
    """Evaluations of the objective's split before a run may be given up, in the strictest bracket."""
    max_evaluations: Count | None = None
    """Evaluations of a whole run. null: as many as the first finished run had; none is given up before that."""
    factor: Factor = 3
    """One in so many goes on, to so many times the evaluations."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.max_evaluations is not None and self.max_evaluations < self.min_evaluations * self.factor:
            message = (
                f"{self.max_evaluations} evaluations leave nothing to give up; give at least min_evaluations * factor, "
                f"{self.min_evaluations * self.factor}"
            )
            yield broken_rule("max_evaluations", message)


Pruning = Annotated[NoPruning | SuccessiveHalving | Hyperband, Field(discriminator="name")]


class TPE(Config):
    """Points where earlier ones did well: the tree-structured Parzen estimator of Optuna."""

    name: Literal["tpe"]
    trials: Annotated[Count, Field(examples=[50])]
    """Number of points."""
    startup: Annotated[int, Field(ge=0, lt=2**31)] = 10
    """Points drawn at random before the estimator is asked."""
    pruning: Pruning = NoPruning(name="none")
    """When a run that does badly is given up."""


StrategyConfig = Annotated[Grid | Random | TPE, Field(discriminator="name")]


class Objective(Config):
    """The figure that the best are picked by."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"split": "val", "metric": "accuracy"}]})

    split: Literal["val", "test"] = "val"
    """val; test looks at the test set to choose, and every table and picture says so."""
    metric: Literal["accuracy", "loss"] = "accuracy"
    """accuracy (the higher the better) or loss (the lower the better)."""
    of: Literal["final", "maximum"] = "final"
    """final: with the chosen weights, after training. maximum: the best accuracy of all evaluations in training."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.of == "maximum" and self.metric == "loss":
            yield broken_rule("of", "a maximum is of the accuracy; use `metric: accuracy`, or `of: final`")

    @property
    def marked(self) -> bool:
        """Whether results must be marked: the test set chose."""
        return self.split == "test"

    @property
    def higher_is_better(self) -> bool:
        """Whether the best is the largest."""
        return self.metric == "accuracy"


class AutoExecutor(Config):
    """What suits the runs and the machine; the sweep says which it took and why."""

    name: Literal["auto"]


class SerialExecutor(Config):
    """One run after the other in this process."""

    name: Literal["serial"]


class ProcessesExecutor(Config):
    """Several runs at a time, each in a process of its own that goes on with the next."""

    name: Literal["processes"]
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of processes. null: as the CPU cores and GPUs allow."""
    trials_per_gpu: Annotated[int, Field(ge=1, le=1024)] = 1
    """Runs at a time on one GPU."""


class StackedExecutor(Config):
    """Small runs trained side by side in one process, those of equal shape as one batched model."""

    name: Literal["stacked"]
    at_once: Count | None = None
    """Runs trained together at most. null: as fits the caches or the GPU."""


class RayExecutor(Config):
    """Runs spread over a Ray cluster."""

    name: Literal["ray"]
    address: Annotated[
        str,
        StringConstraints(pattern=r"^(auto|local|(ray://)?[^\s:/]+:[0-9]{1,5})$"),
        Field(json_schema_extra={"patternErrorMessage": "expected auto, local or host:port, such as 10.0.0.1:6379"}),
    ] = "local"
    """auto: the cluster that this machine belongs to; local: one that is started here for the sweep; or host:port."""
    cpus_per_trial: Positive = 1.0
    """CPU cores of a run."""
    gpus_per_trial: NonNegative = 0.0
    """GPUs of a run; 0.25 puts four on one."""
    retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """Times that a run is started again after its machine or process was lost."""


ExecutorConfig = Annotated[
    AutoExecutor | SerialExecutor | ProcessesExecutor | StackedExecutor | RayExecutor, Field(discriminator="name")
]


class Confirm(Config):
    """Train the best points again on fresh seeds, since the best of many is partly luck."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"top": 3, "seeds": 5}]})

    top: Count = 3
    """Points that are confirmed, best first."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Fresh seeds of each."""


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    for index, seed in enumerate(seeds):
        if seed in seeds[:index]:
            raise broken_rule(str(index), f"seed {seed} stands twice; a repeat needs another seed: remove one")
    return seeds


class SweepConfig(Config):
    """A sweep: many runs of one base config."""

    name: Name
    """Name of the sweep and of its folder under out/. Default: the file's name without .yaml."""
    notes: str = ""
    """What should be known of this sweep beside its settings."""
    base: Annotated[PathText, Field(min_length=1, examples=["base.yaml"])]
    """The config that all runs start from, relative to this file."""
    set: Annotated[dict[str, Any], Field(default_factory=dict, examples=[{"train.epochs": 10}])]
    """Changes to the base for all runs: dotted key and value, as after --set."""
    space: Space
    """What is searched: dotted key of the base and a list of values or a range. A whole section is a value too, and
    replaces that of the base."""
    when: Many[Condition] = ()
    """Keys that are searched only where others have certain values."""
    strategy: StrategyConfig = Grid(name="grid")
    """How points of the space are chosen."""
    seeds: Annotated[Several[Seed], AfterValidator(_different), Field(examples=[[0, 1, 2]])] | None = None
    """Seeds that every point is trained with. null: that of the base alone."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the search itself, of random and tpe."""
    objective: Objective = Objective()
    """The figure that the best are picked by."""
    executor: ExecutorConfig = AutoExecutor(name="auto")
    """What trains the runs."""
    confirm: Confirm | None = None
    """Train the best again on fresh seeds. null: no."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from broken_sweep_rules(dict(self))

    def fresh_seeds(self, used: Collection[int]) -> tuple[int, ...]:
        """Return the seeds of the confirming runs: the smallest that were not used."""
        free = (seed for seed in count() if seed not in used)
        return tuple(islice(free, self.confirm.seeds if self.confirm else 0))
