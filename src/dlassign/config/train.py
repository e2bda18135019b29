"""How training goes: batches, length, evaluation, early stopping, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Count, Duration, Many, NonNegative, Pixels, Positive, broken_rule
from dlassign.config.optim import Average, Pattern
from dlassign.config.own_part import OrOwn, OwnPart

SplitName = Literal["train", "val", "test"]
Order = Literal["shuffled", "uva", "with_replacement", "window", "full"]

Limit = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]


class OwnMetric(OwnPart):
    """A metric of the user's own: (scores, y) -> value. It is logged at every evaluation, and chooses."""

    own_kind = "metric"

    better: Literal["higher", "lower"] = "higher"
    """Which of two values is the better one."""


class EarlyStop(Config):
    """Stop when the validation metric, or the training loss, has not improved for a while."""

    on: Literal["val", "train"] = "val"
    """val: `train.metric` of the evaluations of val. train: the loss of the training records, which `log_every` makes:
    means over the batches between, with penalty; for training without a validation split."""
    patience: Annotated[Count, Field(examples=[10])]
    """Evaluations in a row without improvement after which training stops, or training records with `on: train`; they
    are counted, not epochs or steps. With `resize` in `data.augment` they count from its `until` on."""
    min_delta: NonNegative = 0.0
    """An evaluation must be better than the best one by more than this to count. `keep: best` keeps the best whatever
    this is."""


class Clip(Config):
    """Limit the gradient before each step; one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"norm": 1.0}]})

    norm: Limit | None = None
    """Largest Euclidean norm of the gradient of all parameters together."""
    value: Limit | None = None
    """Largest absolute value of any one component."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if (self.norm is None) == (self.value is None):
            given = "norm and value are both" if self.norm is not None else "neither norm nor value is"
            yield broken_rule("", f"{given} given; give one: {{norm: 1.0}} or {{value: 0.5}}")


class TestTimeAugmentation(Config):
    """Views of an image whose scores are averaged; beside the plain result, never in its place."""

    flip: bool = True
    """Each view also mirrored left to right."""
    shift: Pixels = 1
    """Views moved by this many pixels towards the upper left and the lower right, each with half the weight of the
    image itself; the border shows the image mirrored. 0: none."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if not self.flip and not self.shift:
            yield broken_rule("shift", "is 0 and flip is false, so the image itself would be the only view; use null")


class Train(Config):
    """Batches, length, evaluation, early stopping, checkpoints."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"epochs": 10}]})

    batch_size: Count = 64
    """Samples a step. Not used with `order: full`."""
    order: Order = "shuffled"
    """How batches are drawn: shuffled epochs; as the UvA starter code does (first epoch in file order, tail
    dropped); uniformly with replacement; a contiguous window at a random place; the full split every step."""
    drop_last: bool = False
    """With `order: shuffled`, leave out a short last batch."""
    steps: Count | None = None
    """Length of training in optimizer steps; give this or `epochs`."""
    epochs: Positive | None = None
    """Length of training in passes over the training split; give this or `steps`."""
    evaluate: Many[SplitName] | None = None
    """Splits evaluated at intervals. null: val if there is one. `[test]` looks at the test set during
    training, and the result is marked so."""
    eval_every: Duration = Duration(epochs=1.0)
    """Time between two evaluations; there is always one after the last step."""
    eval_offset: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Evaluate this many steps later: with 1 and `eval_every: {steps: 100}` after steps 1, 101, 201, ..."""
    log_every: Duration = Duration(steps=50)
    """Time between two log records of training loss and accuracy. The default is less where an epoch has fewer
    steps, but never makes more than 1,000 records for that."""
    eval_batch_size: Count = 2048
    """Samples evaluated at once; changes memory, not results beyond rounding, unless a norm without running statistics
    uses those of the evaluated batch."""
    metric: Annotated[Literal["accuracy", "loss"] | OwnMetric, OrOwn(OwnMetric)] = "accuracy"
    """The validation value that `keep` and `early_stop` use."""
    keep: Literal["best", "last"] | None = None
    """Weights used for the final evaluation. null: best by validation, or last without a validation split."""
    early_stop: EarlyStop | None = None
    """Stop when validation no longer improves. null: train to the end."""
    clip: Clip | None = None
    """Limit the gradient. null: no limit."""
    accumulate: Count = 1
    """Parts that each batch is computed in, one after the other, before the step: less memory and the same gradient,
    except that batch normalisation sees each part by itself."""
    average: Average | None = None
    """Average of the weights over the steps. null: none."""
    freeze: Literal["body"] | Many[Pattern] = ()
    """What is not trained: `body` is all but the head; or a list of parameters, where `layer1` is all of layer1 and `*`
    stands for any text. Batch normalisation whose parameters are all frozen keeps its running statistics too."""
    freeze_at: Duration | None = None
    """How long the parameters of `freeze` are trained before they stop. null: not at all. From then on the backward
    pass ends where all that comes before is frozen, which saves time. Source: Brock et al. 2017, FreezeOut."""
    unfreeze_at: Duration | None = None
    """When the frozen parameters begin to be trained. null: never."""
    test_time_augmentation: TestTimeAugmentation | None = None
    """Evaluate val and test at the end on several views of each image too. null: no."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16", "fp64"] = "auto"
    """Arithmetic. bf16 and fp16 are mixed precision: convolutions and matrix products in 16 bits, in training and
    in evaluation, weights in 32. tf32: fp32 on a GPU that rounds the factors of products to 10 bits, which fp32 itself
    does not. auto: bf16 for models with convolutions, on GPUs and CPUs that compute it fast, else fp32; the log says
    which."""
    channels_last: Literal["auto", "on", "off"] = "auto"
    """Keep images as (N, H, W, C) in memory. auto: for models with convolutions."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the model with torch.compile. auto: no, since a stack of runs cannot be compiled."""
    checkpoint_seconds: NonNegative = 10.0
    """At evaluations, write a checkpoint if the last one is at least this old; 0 writes one every time. A run
    that was interrupted or killed ends with the same result, whatever this is."""
    keep_checkpoints: Literal["best", "all"] = "best"
    """What a finished run keeps. best: the weights of its result, without what only training needs. all: also the
    newest two checkpoints, for `evaluate --weights last` and to look at the optimizer's state."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.steps is not None and self.epochs is not None:
            message = "steps and epochs are both given; remove one (on the command line: --set train.epochs=null)"
            yield broken_rule("epochs", message)
        if self.steps is None and self.epochs is None:
            yield broken_rule("", "the length of training is missing; give `steps: 1000` or `epochs: 10`")
        for key in ("freeze_at", "unfreeze_at"):
            if getattr(self, key) is not None and not self.freeze:
                yield broken_rule(key, "nothing is frozen; give freeze, such as `freeze: body`, or remove this")
        if self.freeze_at is not None and self.unfreeze_at is not None:
            message = "freeze_at ends the training of parameters, and unfreeze_at begins it; give one of the two"
            yield broken_rule("unfreeze_at", message)
        if self.order != "full" and self.accumulate > self.batch_size:
            message = f"{self.accumulate} parts of a batch of {self.batch_size}; use at most one a sample"
            yield broken_rule("accumulate", message)
