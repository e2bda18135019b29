"""TorchLearner: a PyTorch model behind the Learner protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.data.augment import Mixed
from dlassign.data.torch_batches import TensorSplit
from dlassign.nets.freezing import Frozen, freeze, set_training, unfreeze
from dlassign.nets.objective import LossOf, predict
from dlassign.optim.averaging import Average
from dlassign.optim.own_optimizer import WrappedOptimizer
from dlassign.optim.torch_optim import TorchOptimizer
from dlassign.train.arithmetic import SINGLE_PRECISION, Arithmetic
from dlassign.train.device import repeatable_draws, restore_rng, rng_state
from dlassign.train.learner import EvalOptions, Evaluation, State, Statistics, Steps, StepStats
from dlassign.train.loss_scale import LossScale
from dlassign.train.statistics import at_rest, evenly, torch_statistics
from dlassign.train.views import Views


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a step does beside forward pass, backward pass and update.

    Attributes:
        accumulate: in how many parts a batch is computed.
        clip: called on the parameters between backward and update, or None.
        average: what is done with the weights after each step, or None.
        frozen: what of the model is not trained from `freeze_at` to `unfreeze_at`, or None.
        freeze_at: steps done when that is trained no longer, 0 at the start.
        unfreeze_at: steps done when it begins to be trained; None is never.
    """

    accumulate: int = 1
    clip: Callable[[list[nn.Parameter]], object] | None = None
    average: Average | None = None
    frozen: Frozen | None = None
    freeze_at: int = 0
    unfreeze_at: int | None = None

    def frozen_after(self, steps: int) -> Frozen | None:
        """Return what is not trained in the step that follows so many steps."""
        over = self.unfreeze_at is not None and steps >= self.unfreeze_at
        return self.frozen if steps >= self.freeze_at and not over else None


class TorchLearner:
    """Trains and evaluates one PyTorch model on one device.

    Args:
        model: on the device, in training mode.
        optimizer: of the model's parameters.
        loss: (scores, labels) -> mean loss.
        penalty: () -> penalty on the present parameters, or None.
        evaluation: how it evaluates.
        options: what a step does beside forward pass, backward pass and update.
        arithmetic: number types and memory layout.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: TorchOptimizer | WrappedOptimizer,
        *,
        loss: LossOf,
        penalty: Callable[[], Tensor] | None = None,
        evaluation: EvalOptions,
        options: StepOptions = StepOptions(),
        arithmetic: Arithmetic = SINGLE_PRECISION,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.arithmetic = arithmetic
        self.views = evaluation.views
        self.loss = loss
        self.n_classes = evaluation.n_classes
        self.eval_batch_size = evaluation.batch_size
        self._metric = evaluation.metric
        self.penalty = penalty
        self._options = options
        self._clip = options.clip
        self._accumulate = options.accumulate
        self._average = options.average
        self._frozen: Frozen | None = None
        self._params = optimizer.params
        self._steps = 0
        self._swaps = True  # evaluate with the average's weights; not after load_weights, whose weights are final
        self.n_params = sum(p.numel() for p in model.parameters())
        self.base_lr = optimizer.lr
        self.device = self._params[0].device
        self._loss_scale = LossScale(self.device) if arithmetic.precision == "fp16" else None
        self._forward: Callable[[Tensor], Tensor] = _compiled(model) if arithmetic.compile else model
        self._freeze_after(0)

    @property
    def clips(self) -> bool:
        """Whether gradients are limited before the step."""
        return self._clip is not None

    @property
    def averages(self) -> bool:
        """Whether other weights are evaluated than those that are trained."""
        return self._average is not None

    def step(self, x: Tensor, y: Tensor | Mixed, lr_factor: float) -> StepStats:
        """Update the model on one batch. x: (B, ...) prepared, y: (B,) int64 or two of each, all on the device."""
        # At the step, not at an evaluation, so that a resume between the two freezes and unfreezes at the same place.
        self._freeze_after(self._steps)
        # None rather than 0: the first backward then writes instead of adding, one pass over memory less.
        for p in self._params:
            p.grad = None
        # Before the forward pass, on the weights that the loss is computed with; its graph joins the first part's.
        penalty = self.penalty() if self.penalty is not None else None
        loss, correct = self._gradients(x, y, penalty)
        self.update(lr_factor)
        return StepStats(loss, None if penalty is None else penalty.detach(), correct, len(x))

    def update(self, lr_factor: float) -> None:
        """Take the step that the gradients on the parameters ask for, at lr_factor times the initial learning rate."""
        if self._loss_scale is not None:
            self._loss_scale.unscale(self._params)
        # After unscaling: a limit on gradients that are 2^14 times too large would mean nothing.
        if self._clip is not None:
            self._clip(self._params)
        self.optimizer.lr = self.base_lr * lr_factor
        self.optimizer.step()
        self.count_step()

    def count_step(self) -> None:
        """Count a step; update the average."""
        self._steps += 1
        if self._average is not None:
            self._average.after_step(self._steps)

    def _gradients(self, x: Tensor, y: Tensor | Mixed, penalty: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add up the gradients of a batch, part by part; return its loss with penalty and its right predictions."""
        if self._accumulate == 1:
            return self._forward_backward(x, y, batch_labels=None, penalty=penalty)
        losses, corrects = [], []
        parts = min(self._accumulate, len(x))  # a short last batch may have fewer samples than parts
        for part_x, part_y in zip(x.tensor_split(parts), _split(y, parts), strict=True):
            loss, correct = self._forward_backward(part_x, part_y, batch_labels=y, penalty=penalty)
            losses.append(loss)
            corrects.append(correct)
            penalty = None  # counted with the first part
        return torch.stack(losses).sum(), torch.stack(corrects).sum()

    def _forward_backward(
        self, x: Tensor, y: Tensor | Mixed, *, batch_labels: Tensor | Mixed | None, penalty: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a batch, or of a part of it, to the parameters. batch_labels: of all its parts."""
        scores = self._scores(x)
        loss = self._loss_of(scores, y, batch_labels)
        if penalty is not None:
            loss = loss + penalty
        (loss if self._loss_scale is None else self._loss_scale.scaled(loss)).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), _right(scores.detach(), y)

    def _loss_of(self, scores: Tensor, y: Tensor | Mixed, batch_labels: Tensor | Mixed | None) -> Tensor:
        """Return the mean loss of a batch; of a part of one, what it adds to that. batch_labels: of all its parts."""
        if not isinstance(y, Mixed):
            assert not isinstance(batch_labels, Mixed), "a part has labels as its batch has"
            return self._share(self.loss(scores, y), y, batch_labels)
        own, other = self.loss(scores, y.y), self.loss(scores, y.other)
        of_batch = (batch_labels.y, batch_labels.other) if isinstance(batch_labels, Mixed) else (None, None)
        if self.loss.class_weights is None:
            return self._share(y.weight * own + (1 - y.weight) * other, y.y, of_batch[0])
        # The two labels of an image may count differently, and so do the parts that they add.
        own, other = self._share(own, y.y, of_batch[0]), self._share(other, y.other, of_batch[1])
        return y.weight * own + (1 - y.weight) * other

    def _share(self, loss: Tensor, y: Tensor, batch_labels: Tensor | None) -> Tensor:
        # Means of the parts, weighted by what their samples count, add up to the mean of the batch.
        if batch_labels is None or len(batch_labels) == len(y):
            return loss
        return loss * (self.loss.mass(y) / self.loss.mass(batch_labels))

    def _scores(self, x: Tensor) -> Tensor:
        """Return the model's scores in the type of its weights; x: (B, ...)."""
        # A batch comes in the layout of the whole set, which may be another.
        if self.arithmetic.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        forward = self._forward if self.model.training else self.model  # not worth compiling for evaluation
        if self.arithmetic.autocast is None:
            return forward(x)
        with torch.autocast(self.device.type, self.arithmetic.autocast):
            scores = forward(x)
        # Losses and their sums stay in fp32: 8 bits of bf16 would round small differences away.
        return scores.to(self.arithmetic.weights)

    def _freeze_after(self, steps: int) -> None:
        """Freeze and unfreeze so that the model is as the step that follows so many steps needs it."""
        now = self._options.frozen_after(steps)
        if now is self._frozen:
            return
        if self._frozen is not None:
            unfreeze(self.model, self._frozen)
        if now is not None:
            freeze(self.model, now)
            if self._average is not None:
                self._average.stop([name for name in self.model.state_dict() if now.holds(name)])
        self._frozen = now

    def compile_for(self, x: Tensor, y: Tensor | Mixed) -> float:
        """Compile for batches like this one, and return the seconds that took; no state changes.

        Without `compile` nothing happens.
        """
        if not self.arithmetic.compile:
            return 0.0
        started = time.perf_counter()
        # The pass that compiles updates batch norm and draws dropout masks; both are put back.
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        before = rng_state(self.device)
        self._gradients(x, y, None)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])
        restore_rng(before, self.device)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def read(self, taken: Sequence[StepStats]) -> Steps:
        """Bring what steps gave to the host, in one transfer."""
        columns = [[stats.loss for stats in taken], [stats.correct for stats in taken]]
        # Every step has a penalty, or none has.
        if taken and taken[0].penalty is not None:
            columns.append([stats.penalty for stats in taken])
        rows = torch.stack([torch.stack(column).double() for column in columns]).tolist() if taken else [[], []]
        return Steps(rows[0], rows[2] if len(rows) > 2 else [], rows[1], [stats.n for stats in taken])

    def evaluate(self, split: TensorSplit, *, views: Views | None = None) -> Evaluation:
        """Return loss, accuracy and confusion counts.

        Args:
            split: on the device.
            views: score these views of each image and average, instead of the image alone.
        """
        if self._metric is not None:  # which needs all scores on the host
            return self.evaluate_scores(split, views=views)[0]
        with self._evaluating():
            counts = self._count(self._scored(split, views))
        return self._evaluation(*counts, len(split))

    def evaluate_scores(self, split: TensorSplit, *, views: Views | None = None) -> tuple[Evaluation, NDArray[Any]]:
        """Evaluate, and return the scores too, (N, K) or (N, 1), on the host."""
        with self._evaluating():
            parts = list(self._scored(split, views))
            counts = self._count(parts)
        found = self._evaluation(*counts, len(split))
        every = torch.cat([scores for scores, _ in parts]).cpu().numpy()
        if self._metric is not None:
            found = replace(found, metric=self._metric(every, split.y.cpu().numpy()))
        return found, every

    def _evaluation(self, loss: Tensor, mass: Tensor | int, cells: Tensor, n: int) -> Evaluation:
        k = self.n_classes
        confusion = tuple(tuple(row) for row in cells.reshape(k, k).tolist())
        correct = sum(confusion[i][i] for i in range(k))
        return Evaluation(loss=loss.item() / float(mass), accuracy=correct / n, n=n, confusion=confusion)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.model.eval()
        # A user's own model may draw here, too: the same weights then still reach the same result each time.
        try:
            with self._evaluated_weights(), torch.inference_mode(), repeatable_draws(self.device):
                yield
        finally:
            set_training(self.model, self._frozen)

    def _count(self, scored: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor | int, Tensor]:
        """Return the summed loss, what the samples count in it, and the confusion counts, (K * K,).

        It does not wait for the device.
        """
        k = self.n_classes
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        cells = torch.zeros(k * k, dtype=torch.int64, device=self.device)
        mass: Tensor | int = 0
        for scores, y in scored:
            counted = self.loss.mass(y)
            loss += self.loss(scores, y).double() * counted
            mass = mass + counted
            # index_add_ is exact on whole numbers; bincount would wait for the device to learn its length
            cells.index_add_(0, y * k + predict(scores), torch.ones_like(y))
        return loss, mass, cells

    def _scored(self, split: TensorSplit, views: Views | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the scores and labels of batch after batch."""
        # One cut for losses and for predictions: the last bits of a score may depend on the batch that it is in.
        for start in range(0, len(split), self.eval_batch_size):
            x, y = split.prepared(start, start + self.eval_batch_size), split.y[start : start + self.eval_batch_size]
            yield (self._scores(x) if views is None else views.scores(self._scores, x)), y

    def _evaluated_weights(self) -> AbstractContextManager[None]:
        return self._average.swapped() if self._average is not None and self._swaps else nullcontext()

    def statistics(self, split: TensorSplit, n: int) -> Statistics | None:
        """Measure the net on at most n samples; None of a compiled one, or where its memory does not suffice."""
        if self.arithmetic.compile:
            return None
        rows = evenly(len(split), n)
        part = TensorSplit(split.x[rows], split.y[rows], split.prepare)
        try:
            with at_rest(self.model, self.device):
                loss = self.loss(self._scores(part.prepared(0, len(part))), part.y)
                # As in a step, or small gradients of fp16 would be 0.
                scale = None if self._loss_scale is None else self._loss_scale.scaled(torch.ones_like(loss))
                return torch_statistics(self.model, loss, scale=scale, n=len(part))
        except torch.OutOfMemoryError:  # the gradients of the last step are still there
            return None

    def weights(self) -> State:
        """Return the weights that are evaluated, and the buffers, by name."""
        return self._average.weights() if self._average is not None and self._swaps else self._own()

    def _own(self) -> State:
        return dict(self.model.state_dict())

    def load_weights(self, weights: State) -> None:
        """Set the model's parameters and buffers, to be evaluated as they are."""
        self.model.load_state_dict(weights)
        self._swaps = False

    def state_dict(self) -> State:
        """Return weights, optimizer state, averages, random state and the number of steps."""
        state = {
            "model": self._own(),
            "optimizer": self.optimizer.state_dict(),
            "rng": rng_state(self.device),
            "steps": self._steps,
        }
        if self._average is not None:
            state |= {"average": self._average.state_dict(), "evaluated": self._average.weights()}
        if self._loss_scale is not None:
            state["loss_scale"] = self._loss_scale.state_dict()
        return state

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave, in place."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_rng(state["rng"], self.device)
        self._steps = state["steps"]
        self._swaps = True
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._loss_scale is not None:
            self._loss_scale.load_state_dict(state["loss_scale"])
        # As the last step left the model: what changes now, the next `step` does.
        self._freeze_after(max(self._steps - 1, 0))


def _compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a model's forward pass compiled so that a resumed run gets the same program."""
    # One program for each batch size: a dynamic one would depend on which size came first, and so on resumes.
    # Deterministic: kernels are chosen by rules, not by timing them.
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False, options={"deterministic": True})
    return compiled


def _right(scores: Tensor, y: Tensor | Mixed) -> Tensor:
    """Return the number of right predictions; of a mixed image each label counts by its share."""
    predicted = predict(scores)
    if not isinstance(y, Mixed):
        return (predicted == y).sum()
    own, other = (predicted == y.y).sum().double(), (predicted == y.other).sum().double()
    # lerp, not two products: they could add up to more than there are samples. Doubles: parts add up to the whole.
    return torch.lerp(other, own, y.weight.double())


def _split(y: Tensor | Mixed, parts: int) -> Iterator[Tensor | Mixed]:
    """Yield the labels of each part, as tensor_split deals the samples: sizes differ by 1 at most."""
    if isinstance(y, Mixed):
        for own, other in zip(y.y.tensor_split(parts), y.other.tensor_split(parts), strict=True):
            yield Mixed(own, other, y.weight)
    else:
        yield from y.tensor_split(parts)
