"""Does the NumPy net of a config compute what its PyTorch net does? Both take the same steps, compared layer by layer.

Both nets start from the same weights, in float64 on the CPU, and see the same batches; dropout drops the same values.
Where the values in a max-pool's window differ only by rounding, as those of equal patches of an image do, both take the
same one as the largest. The steps are those of `train`: its learners, with the config's preprocessing, batch order,
loss, penalty, clipping, optimizer and schedule. The nets part at the first of these comparisons that exceeds the bound:

    forward     the output of each layer in training mode, from input to output; the loss; the penalty
    backward    the gradient by the scores, then by the input of each layer, from output to input
    gradient    those of each layer's parameters after penalty and clipping, from output to input
    weights     each layer's parameters and running statistics after the update, from input to output; then how far
                the update moved them, by its own size and beyond rounding
    evaluation  after the last step: outputs in evaluation mode, loss and confusion counts on some training samples

The difference of a layer is max |a - b| over its tensors divided by the largest |value| among them. The tensors of a
layer are compared together, since the gradient of one may be only rounding error: that of a bias before batch norm.

Adam, AdamW and RMSprop divide a gradient by its own size, so they turn such a rounding error into a full step. With
them both nets take the step of the NumPy net's gradients, once the gradients are compared. With SGD each net uses its
own gradients from the first step to the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from dlassign.checks.differences import TINY
from dlassign.checks.random_data import random_dataset
from dlassign.checks.recording import (
    LOSS,
    Arrays,
    Grouped,
    NumpyRecorder,
    TorchRecorder,
    before,
    difference,
    grouped,
    share_choices,
)
from dlassign.checks.shapes import check_fit
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset, preprocess_steps
from dlassign.data.numpy_batches import numpy_batches
from dlassign.data.prepare import prepare
from dlassign.data.torch_batches import TensorSplit, to_device, torch_batches
from dlassign.errors import Diverged, UserError
from dlassign.train.device import fitting_threads, seed_everything
from dlassign.train.learner import State, StepStats
from dlassign.train.make_numpy import make_numpy_learner
from dlassign.train.make_torch import make_torch_learner
from dlassign.train.plan import check_batches, make_plan, training_order
from dlassign.train.task import task_of

STAGES = ("forward", "backward", "gradient", "weights", "evaluation")
PENALTY, CONFUSION = "penalty", "confusion"
CPU = torch.device("cpu")
N_EVALUATED = 256
"""Samples evaluated at the end."""
ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""How far two updates may be apart relative to the weight that they change: both are rounded when they are added."""
SUSPICIOUS = 1e-8
"""A difference of at least this is a mistake; a smaller one may be rounding, where large values nearly cancel."""


class Difference(NamedTuple):
    """How far the nets are apart in one place.

    Attributes:
        layer: its name; or loss, penalty or confusion.
        stage: one of STAGES.
        step: counted from 1.
        size: largest absolute difference by largest absolute value; infinite if only one of them is finite.
    """

    layer: str
    stage: str
    step: int
    size: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What a cross-check found.

    Attributes:
        steps: how many were taken; if the nets part, they do so at the last one.
        batch_size: samples in the first of them.
        bound: differences up to this count as equal.
        parted: the first difference that exceeds the bound, or None.
        hint: where to look then.
        largest: the largest difference of each layer and stage.
    """

    steps: int
    batch_size: int
    bound: float
    parted: Difference | None
    hint: str
    largest: tuple[Difference, ...]

    @property
    def worst(self) -> Difference:
        """The largest difference of all."""
        return max(self.largest, key=lambda found: found.size)


def crosscheck(cfg: RunConfig, *, steps: int = 20, bound: float = 1e-10, random_data: bool = False) -> Agreement:
    """Train the NumPy and the PyTorch net of a config side by side and compare them.

    Args:
        cfg: the run; its backend, device and precision are ignored.
        steps: how many to take at most; training may be shorter.
        bound: differences up to this count as equal.
        random_data: random samples of the data's shape and classes instead of the data.

    Raises:
        ConfigError: the config does not fit its data.
        DataError: the data cannot be read.
        Diverged: the loss of both nets stopped being finite.
        UserError: the nets do not have the same layers and parameters, or a NumPy layer does not fit its input.
    """
    cfg = cfg.model_copy(update={"train": cfg.train.model_copy(update={"precision": "fp64"})})
    check_fit(cfg)
    raw = random_dataset(cfg) if random_data else load_dataset(cfg.data)
    dataset, _ = prepare(raw, preprocess_steps(cfg.data), dtype="float64")
    twins = _Twins(cfg, dataset)
    batch_size = len(dataset.train) // twins.steps_per_epoch
    with fitting_threads(twins.numpy.n_params, batch_size):
        return twins.compare(steps, bound)


class _Twins:
    """A NumPy and a PyTorch learner of one config in double precision, with the same weights, recorded."""

    def __init__(self, cfg: RunConfig, dataset: Dataset) -> None:
        task = task_of(cfg.loss, dataset.train.y, in_shape=dataset.train.x.shape[1:], classes=dataset.classes)
        order = training_order(cfg, check_batches(cfg, {"train": len(dataset.train)}), dataset.train.y)
        self._cfg = cfg
        self._train = dataset.train
        self._tensors = to_device(dataset.train, CPU, dtype=torch.float64)
        self._batches = numpy_batches(self._train, order), torch_batches(self._tensors, order)
        self._plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order.steps_per_epoch)
        self.steps_per_epoch = order.steps_per_epoch
        seed_everything(cfg.seed)
        self.torch, _ = make_torch_learner(cfg, task, device=CPU)
        self.numpy = make_numpy_learner(cfg, task)
        self._check_names()
        self.numpy.load_weights({name: torch.from_numpy(p) for name, p in _arrays(self.torch.weights()).items()})
        self._down = list(self.numpy.network.layers)
        self._up = self._down[::-1]
        share_choices(self.numpy.network, self.torch.model)
        self._recorders = NumpyRecorder(self.numpy.network), TorchRecorder(self.torch.model)
        self._torch_grads: Arrays = {}
        before(self.torch.optimizer, "step", self._take_gradients)
        self._before = [
            {name: p.copy() for name, p in _arrays(own.weights()).items()} for own in (self.numpy, self.torch)
        ]
        self._largest: dict[tuple[str, str], Difference] = {}

    def compare(self, steps: int, bound: float) -> Agreement:
        """Take steps until the nets part, and evaluate at the end."""
        steps = min(steps, self._plan.steps)
        numpy_steps, torch_steps = (batches.between(0, steps) for batches in self._batches)
        parted, step, batch_size = None, 0, 0
        for step, ((x, y), (x_torch, y_torch)) in enumerate(zip(numpy_steps, torch_steps, strict=True), 1):
            ours, theirs = self._step(step, (x, y), (x_torch, y_torch))
            batch_size = batch_size or len(y)
            if (parted := self._first(self._after_step(ours, theirs), step, bound)) is not None:
                break
        parted = parted or self._first(self._evaluation(), step, bound)
        return Agreement(
            steps=step,
            batch_size=batch_size,
            bound=bound,
            parted=parted,
            hint=self._hint(parted) if parted else "",
            largest=tuple(self._largest.values()),
        )

    def _step(self, step: int, batch: tuple[Any, Any], torch_batch: tuple[Any, Any]) -> tuple[StepStats, StepStats]:
        """Update both nets, NumPy's first, since PyTorch's takes its dropout masks."""
        factor = self._plan.lr_factor(step - 1)
        with _blaming(f"at step {step}"):
            ours = self.numpy.step(*batch, factor)
        theirs = self.torch.step(*torch_batch, factor)
        if not math.isfinite(ours.loss) and not math.isfinite(theirs.loss):
            raise Diverged(f"the loss of both nets became {ours.loss} at step {step}; try a smaller optimizer.lr")
        return ours, theirs

    def _first(self, found: Iterable[tuple[str, str, float]], step: int, bound: float) -> Difference | None:
        """Keep what was found at a step if it is the largest so far; return the first that exceeds the bound."""
        differences = [Difference(layer, stage, step, size) for layer, stage, size in found]
        for new in differences:
            key = new.layer, new.stage
            if key not in self._largest or new.size > self._largest[key].size:
                self._largest[key] = new
        return next((new for new in differences if not new.size <= bound), None)

    def _after_step(self, ours: StepStats, theirs: StepStats) -> Iterator[tuple[str, str, float]]:
        """Yield layer, stage and difference of everything in a step, in the order in which it was computed."""
        numpy, pytorch = self._recorders
        yield from _by_layer("forward", grouped(numpy.outputs), grouped(pytorch.outputs), self._down)
        yield from _losses(ours, theirs)
        from_loss = [LOSS, *self._up]
        yield from _by_layer("backward", grouped(numpy.input_grads), grouped(pytorch.input_grads), from_loss)
        yield from _by_layer("gradient", grouped(self.numpy.network.grads), grouped(self._torch_grads), self._up)
        weights = [_arrays(learner.weights()) for learner in (self.numpy, self.torch)]
        yield from _by_layer("weights", grouped(weights[0]), grouped(weights[1]), self._down)
        yield from self._updates(weights)

    def _updates(self, weights: list[Arrays]) -> Iterator[tuple[str, str, float]]:
        """Yield how far the changes of each layer's weights are apart, by their own size and beyond rounding.

        A rate so small that an update is lost in the weights' own size would hide any mistake of the rule.
        """
        old_weights, self._before = self._before, [{name: p.copy() for name, p in own.items()} for own in weights]
        for layer in self._down:
            size = apart = 0.0
            names = [name for name in weights[0] if name.split(".")[0] == layer]
            for name in names:
                # Weights of a training that diverges may be infinite, and their difference is NaN: left out here, since
                # they are compared as weights.
                with np.errstate(invalid="ignore", over="ignore"):
                    ours, theirs = (own[name] - old[name] for own, old in zip(weights, old_weights, strict=True))
                    off = np.abs(ours - theirs) - ROUNDING * np.abs(weights[0][name])
                apart = max(apart, float(off[np.isfinite(off)].max(initial=0.0)))
                size = max(size, float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)))
            if names:
                yield layer, "weights", apart / max(size, TINY)

    def _evaluation(self) -> Iterator[tuple[str, str, float]]:
        """Yield layer, stage and difference of everything in an evaluation of some training samples."""
        n = min(len(self._train), N_EVALUATED)
        # No last batch of one sample: batch norm on the batch's own statistics refuses it.
        rows = slice(n - 1 if n > 1 and n % self._cfg.train.eval_batch_size == 1 else n)
        with _blaming("in evaluation"):
            ours = self.numpy.evaluate(Split(self._train.x[rows], self._train.y[rows]))
        theirs = self.torch.evaluate(TensorSplit(self._tensors.x[rows], self._tensors.y[rows]))
        numpy, pytorch = self._recorders
        yield from _by_layer("evaluation", grouped(numpy.outputs), grouped(pytorch.outputs), self._down)
        yield LOSS, "evaluation", difference([np.asarray(ours.loss)], [np.asarray(theirs.loss)])
        yield CONFUSION, "evaluation", difference([np.asarray(ours.confusion)], [np.asarray(theirs.confusion)])

    def _take_gradients(self) -> None:
        """Keep torch's gradients before its step; replace them by NumPy's if the rule would magnify rounding errors."""
        for name, p in self.torch.model.named_parameters():
            if p.grad is not None:
                self._torch_grads[name] = p.grad.numpy().copy()
                if self._cfg.optimizer.name != "sgd":
                    p.grad.copy_(torch.from_numpy(self.numpy.network.grads[name]))

    def _check_names(self) -> None:
        """Check that both nets have the same layers in the same order, and in them the same parameters and buffers."""
        layers = list(self.numpy.network.layers), [name for name, _ in self.torch.model.named_children()]
        weights = sorted(self.numpy.weights()), sorted(_arrays(self.torch.weights()))
        for what, (ours, theirs) in (("layers", layers), ("parameters", weights)):
            if ours != theirs:
                raise UserError(f"the {what} are not the same: {', '.join(ours)} (NumPy); {', '.join(theirs)} (torch)")

    def _hint(self, parted: Difference) -> str:
        """Return where to look for the cause, one hint a line."""
        lines = [f"see {self._suspect(parted)}"]
        if parted.stage in ("backward", "gradient") and parted.layer != LOSS:
            lines.append(f"try: dlassign gradcheck --layer {type(self.numpy.network.layers[parted.layer]).__name__}")
        if parted.stage == "gradient" and (self._cfg.train.clip or self._cfg.loss.penalty):
            lines.append("rule out penalty and clipping with: --set train.clip=null --set loss.penalty=[]")
        if parted.size < SUSPICIOUS:
            lines.append("so small a difference may be rounding where large values cancel: try another --seed")
        return "\n".join(lines)

    def _suspect(self, parted: Difference) -> str:
        """Return what computes the place where the nets part."""
        of_all = {
            LOSS: f"{self._cfg.loss.name} in dlassign.numpy_nets.losses and make_numpy_loss that calls it",
            PENALTY: "make_numpy_penalty in dlassign.numpy_nets.objective",
            CONFUSION: "numpy_predict in dlassign.numpy_nets.objective",
        }
        if parted.layer in of_all:
            return of_all[parted.layer]
        layer = self.numpy.network.layers[parted.layer]
        name, module = type(layer).__name__, type(layer).__module__
        if parted.stage == "weights":
            statistics = f", or the running statistics of {name} in {module}" if layer.buffers else ""
            return f"{self._cfg.optimizer.name} in dlassign.optim.numpy_rules{statistics}; the gradients agree"
        methods = {"forward": "forward", "evaluation": "forward with train=False"}
        return f"{name}.{methods.get(parted.stage, 'backward')} in {module}"


@contextmanager
def _blaming(when: str) -> Iterator[None]:
    """Turn a ValueError, which arrays of shapes that do not fit raise, into a message about the NumPy net."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"the NumPy net fails {when}: {error}; --traceback shows where") from error


def _by_layer(stage: str, ours: Grouped, theirs: Grouped, layers: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    """Yield the difference of each layer that both nets recorded; neither computes the gradient by the data."""
    for name in layers:
        if name in ours and name in theirs:
            yield name, stage, difference(ours[name], theirs[name])


def _losses(ours: StepStats, theirs: StepStats) -> Iterator[tuple[str, str, float]]:
    """Yield the differences of the loss without its penalty, and of the penalty."""
    # The total is among the values: a small loss beside a large penalty keeps only the digits that the total has.
    total, penalty = (float(value or 0) for value in ours[:2])
    their_total, their_penalty = (float(value or 0) for value in theirs[:2])
    off = difference([np.array([total - penalty, total])], [np.array([their_total - their_penalty, total])])
    yield LOSS, "forward", off
    if ours.penalty is not None:
        yield PENALTY, "forward", difference([np.asarray(penalty)], [np.asarray(their_penalty)])


def _arrays(weights: State) -> Arrays:
    """Return parameters and buffers, without torch's count of the batches that batch norm has seen: nothing uses it."""
    return {name: p.numpy() for name, p in weights.items() if not name.endswith(".num_batches_tracked")}
