"""Members of a stack that compute side by side: models of one shape as one batched model, shape after shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from dlassign.data.batches import Order, SideBySide
from dlassign.data.torch_batches import TensorSplit, torch_batches
from dlassign.nets.objective import LossOf, predict
from dlassign.stacked.member import StackMember
from dlassign.stacked.optimizer import StackedOptimizer
from dlassign.stacked.vmap import Stack, make_stack
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.learner import Evaluation, Steps


class Block(NamedTuple):
    """Members whose models are of one shape, and the stack that they compute as."""

    members: list[StackMember]
    stack: Stack


MakePenalty = Callable[[Block], Callable[[], Tensor] | None]
MakeOptimizer = Callable[[Sequence[Block]], StackedOptimizer | None]


class Chunk:
    """Members that take their steps side by side, on batches of one size.

    What is done for all blocks at once: the batch is cut, the backward pass goes through all, the kernels of the update
    rule are called on all parameters, and results are counted.

    Args:
        places: of the members in their stack.
        blocks: the members, those of one shape together.
        split: training samples on the device.
        order: what all members see; SideBySide where each has rows of its own.
        loss: of stacked scores.
        penalty: block -> () -> the penalty of each of its members, or None.
        optimizer: blocks -> the optimizer of all at once, or None where each member's own takes its steps.
    """

    def __init__(
        self,
        places: Sequence[int],
        blocks: Sequence[list[StackMember]],
        *,
        split: TensorSplit,
        order: Order,
        loss: LossOf,
        penalty: MakePenalty,
        optimizer: MakeOptimizer,
    ) -> None:
        self.places = list(places)
        self._members = [member for block in blocks for member in block]
        self._learner = self._members[0].learner
        self._arithmetic: Arithmetic = self._learner.arithmetic
        self._blocks = [Block(block, self._stack(block)) for block in blocks]
        # Which of the members each block has.
        bounds = list(accumulate(map(len, blocks), initial=0))
        self._own = [slice(*bounds[b : b + 2]) for b in range(len(blocks))]
        self._batches = torch_batches(split, order)
        self._own_rows = isinstance(order, SideBySide)
        self._loss = loss
        self._penalties = [of_block for block in self._blocks if (of_block := penalty(block)) is not None]
        self._optimizer = optimizer(self._blocks)

    def _stack(self, members: Sequence[StackMember]) -> Stack:
        models = [member.learner.model for member in members]
        generators = [member.generator for member in members]
        return make_stack(models, generators=generators, dtype=self._arithmetic.autocast)

    def train(self, start: int, stop: int) -> dict[int, Steps]:
        """Take the steps start, ..., stop - 1; return what they gave, by place."""
        losses, penalties, corrects, counts = [], [], [], []
        for step, (x, y) in enumerate(self._batches.between(start, stop), start):
            loss, penalty, correct = self._step(x, y, step)
            losses.append(loss)
            corrects.append(correct)
            counts.append(len(y) // len(self._members) if self._own_rows else len(y))
            if penalty is not None:
                penalties.append(penalty)
        # Only now are values read, for all models and all steps of the segment.
        rows = [_columns(values, len(self._members)) for values in (losses, penalties, corrects)]
        return {
            place: Steps(loss, penalty, correct, counts)
            for place, loss, penalty, correct in zip(self.places, *rows, strict=True)
        }

    def _step(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Update all models; return their losses, penalties and right predictions, (K,) each."""
        k = len(self._members)
        if self._own_rows:
            x, y = x.view(k, -1, *x.shape[1:]), y.view(k, -1)
        # First, as in a run alone: gradients are added in the order in which backward comes to them.
        penalties = torch.cat([of_block() for of_block in self._penalties]) if self._penalties else None
        scores = self._scores(x, training=True)
        losses = self._losses(scores, y)
        total = losses if penalties is None else losses + penalties
        # The models share no parameter, so the gradient of the sum is that of each model's own loss.
        total.sum().backward()  # type: ignore[no-untyped-call]
        self._update([member.lr_factor(step) for member in self._members])
        # Of the scores before the update, as in a run alone.
        correct = (_predict([own.detach() for own in scores]) == y).sum(1)
        return total.detach(), None if penalties is None else penalties.detach(), correct

    def _update(self, factors: list[float]) -> None:
        """Take the step that the stacks' gradients ask for."""
        if self._optimizer is None:
            # Clipping looks at all gradients of a model: each takes its own step.
            for block in self._blocks:
                block.stack.tensors.hand_out_gradients()
            for member, factor in zip(self._members, factors, strict=True):
                member.learner.update(factor)
            return
        self._optimizer.step([member.base_lr * factor for member, factor in zip(self._members, factors, strict=True)])
        # The models are updated; what is left is to count the step, and to update averages.
        for member in self._members:
            member.learner.count_step()

    def _scores(self, x: Tensor, *, training: bool) -> list[Tensor]:
        """Return the scores of each block's models, (its models, B, n); x: (B, ...) for all, or (K, B, ...)."""
        shared = not (training and self._own_rows)
        return [
            block.stack.scores(x if shared else x[own], training=training).to(self._arithmetic.weights)
            for block, own in zip(self._blocks, self._own, strict=True)
        ]

    def _losses(self, scores: list[Tensor], y: Tensor) -> Tensor:
        """Return the loss of each model, (K,); y: (B,) for all, or (K, B)."""
        labels = [y if y.ndim == 1 else y[own] for own in self._own]
        return torch.cat([self._loss(*of_block) for of_block in zip(scores, labels, strict=True)])

    @torch.inference_mode()
    def evaluate(self, split: TensorSplit) -> dict[int, Evaluation]:
        """Return loss, accuracy and confusion counts of each member on a split, by place."""
        k, classes, size = len(self._members), self._learner.n_classes, self._learner.eval_batch_size
        loss = torch.zeros(k, dtype=torch.float64, device=split.y.device)
        cells = torch.zeros(k * classes * classes, dtype=torch.int64, device=split.y.device)
        mass: Tensor | int = 0
        # Model, true and predicted class in one number: one pass counts all K confusion matrices.
        first = torch.arange(k, device=split.y.device)[:, None] * classes * classes
        for start in range(0, len(split), size):
            x, y = split.prepared(start, start + size), split.y[start : start + size]
            scores = self._scores(x, training=False)
            counted = self._loss.mass(y)
            loss += self._losses(scores, y).double() * counted
            mass = mass + counted
            place = (first + y * classes + _predict(scores)).view(-1)
            # index_add_ is exact on whole numbers, and does not wait for the device as bincount does.
            cells.index_add_(0, place, torch.ones_like(place))
        n, total_mass = len(split), float(mass)
        counts, losses = cells.view(k, classes, classes).tolist(), loss.tolist()
        return {
            place: Evaluation(
                loss=losses[i] / total_mass,
                accuracy=sum(counts[i][c][c] for c in range(classes)) / n,
                n=n,
                confusion=tuple(tuple(row) for row in counts[i]),
            )
            for i, place in enumerate(self.places)
        }


def _predict(scores: list[Tensor]) -> Tensor:
    """Return the predicted classes of all models, (K, B)."""
    joined = torch.cat(scores)
    return predict(joined.flatten(0, 1)).view(joined.shape[:2])


def _columns(values: list[Tensor], n: int) -> list[list[float]]:
    """Return the values of each of n members; values: (n,) for each step."""
    if not values:
        return [[] for _ in range(n)]
    columns: list[list[float]] = torch.stack(values).double().T.tolist()
    return columns
