"""StackTrainer: the trainer of K runs whose equal models train as one batched model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

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

T = TypeVar("T")

SEGMENT = 100
"""Steps after which `interrupted` is asked."""
CACHE_BYTES = 24 * 2**20
"""What the models of a chunk may have in parameters, gradients, slots and samples: about what a large cache holds."""


MakePenalty = Callable[[Sequence[StackMember], Stack], Callable[[], Tensor] | None]
MakeOptimizer = Callable[[Sequence[StackMember], Stack], StackedOptimizer | None]


class StackTrainer:
    """Trains members together.

    Members are dealt to lanes, one for each CPU thread, and the members of a lane to chunks that fit into its cache.
    Within a chunk all models compute at once; a lane takes all steps between two events with one chunk, then with the
    next.

    Args:
        members: of equal models, arithmetic and batch sizes.
        split: training samples on the device.
        loss: of stacked scores.
        penalty: (members, stack) -> () -> the penalty of each, or None.
        optimizer: (members, stack) -> the optimizer of all at once, or None where each member's own takes its steps.
        batch_size: samples that a member sees in a step.
        lanes: threads.
    """

    def __init__(
        self,
        members: Sequence[StackMember],
        split: TensorSplit,
        *,
        loss: LossOf,
        penalty: MakePenalty,
        optimizer: MakeOptimizer,
        batch_size: int,
        lanes: int,
    ) -> None:
        self._members = list(members)
        self._split = _in_compute_type(split, members[0].learner.arithmetic)
        self._loss = loss
        self._lanes_wanted = max(lanes, 1)
        self._penalty = penalty
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._pool: ThreadPoolExecutor | None = None
        self._deal()

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some members only; the stack becomes smaller."""
        self._members = [self._members[place] for place in places]
        self._deal()

    def _deal(self) -> None:
        """Deal members to lanes and chunks, and stack each chunk."""
        k = len(self._members)
        lanes = min(self._lanes_wanted, k)
        # Lanes of nearly equal sizes: the slowest decides when all are done.
        bounds = [lane * k // lanes for lane in range(lanes + 1)] if k else [0]
        self._lanes = [self._chunks(list(range(first, last))) for first, last in pairwise(bounds)]

    def _chunks(self, places: list[int]) -> list[_Chunk]:
        """Cut the members of a lane into chunks."""
        size = self._chunk_size(places)
        return [self._chunk(places[i : i + size]) for i in range(0, len(places), size)]

    def _chunk_size(self, places: list[int]) -> int:
        """Return how many models fit into the cache of a core."""
        learner = self._members[0].learner
        # A GPU has no cache per core to fit into, and is faster the more it is given at once.
        if learner.device.type != "cpu":
            return len(places)
        # Parameters, gradients, and up to two slots of the optimizer.
        weights = 4 * learner.n_params
        # With one order all models see the same batch, which then lies in memory once.
        samples = 0 if self._shared(places) else self._split.x[0].numel() * self._batch_size
        return max(CACHE_BYTES // (learner.arithmetic.weights.itemsize * (weights + samples)), 1)

    def _shared(self, places: Sequence[int]) -> bool:
        """Return whether all these members see the same samples at every step, such as those of one seed."""
        return all(self._members[k].order == self._members[places[0]].order for k in places)

    def _chunk(self, places: list[int]) -> _Chunk:
        members = [self._members[k] for k in places]
        orders = [member.order for member in members]
        # Where orders differ each model has its own rows, and the batch K times as many samples.
        order = orders[0] if self._shared(places) else SideBySide(tuple(orders))
        return _Chunk(
            places,
            members,
            split=self._split,
            order=order,
            loss=self._loss,
            penalty=self._penalty,
            optimizer=self._optimizer,
        )

    def advance(self, start: int, stop: int, interrupted: Callable[[], bool]) -> list[Steps]:
        """Take steps in segments, between which `interrupted` is asked: all members must stop at the same step."""
        taken = [Steps([], [], [], []) for _ in self._members]
        while start < stop:
            # A lane takes many steps with one chunk before the next, so that the chunk stays in the cache.
            end = min(start + SEGMENT, stop)
            for place, steps in self._each_chunk(partial(_Chunk.train, start=start, stop=end)).items():
                taken[place].extend(steps)
            start = end
            if interrupted():
                break
        return taken

    def evaluate(self, split: TensorSplit) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts of every member."""
        # An average gives its model other weights for the evaluation, so each model is evaluated alone.
        if any(member.learner.averages for member in self._members):
            return [member.evaluate(split) for member in self._members]
        found = self._each_chunk(lambda chunk: chunk.evaluate(split))
        return [found[place] for place in range(len(self._members))]

    def _each_chunk(self, work: Callable[[_Chunk], dict[int, T]]) -> dict[int, T]:
        """Do something with every chunk, each lane in a thread of its own; return the results by member."""

        def one_lane(chunks: list[_Chunk]) -> dict[int, T]:
            return {place: value for chunk in chunks for place, value in work(chunk).items()}

        if len(self._lanes) == 1:
            return one_lane(self._lanes[0])
        if self._pool is None:
            # One thread for each operation: the lanes fill the cores already.
            self._pool = ThreadPoolExecutor(self._lanes_wanted, initializer=torch.set_num_threads, initargs=(1,))
        # map gives results in the order of the lanes, whichever thread is done first.
        return {place: value for lane in self._pool.map(one_lane, self._lanes) for place, value in lane.items()}

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class _Chunk:
    """Members that compute at once."""

    def __init__(
        self,
        places: list[int],
        members: list[StackMember],
        *,
        split: TensorSplit,
        order: Order,
        loss: LossOf,
        penalty: MakePenalty,
        optimizer: MakeOptimizer,
    ) -> None:
        self._places = places
        self._members = members
        self._learner = members[0].learner
        self._arithmetic: Arithmetic = self._learner.arithmetic
        models = [member.learner.model for member in members]
        generators = [member.generator for member in members]
        self._stack = make_stack(models, generators=generators, dtype=self._arithmetic.autocast)
        self._batches = torch_batches(split, order)
        self._own_rows = isinstance(order, SideBySide)
        self._loss = loss
        self._penalty = penalty(members, self._stack)
        self._optimizer = optimizer(members, self._stack)

    def train(self, start: int, stop: int) -> dict[int, Steps]:
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
            for place, loss, penalty, correct in zip(self._places, *rows, strict=True)
        }

    def _step(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Update all models; return their losses, penalties and right predictions, (K,) each."""
        k = len(self._members)
        if self._own_rows:
            x, y = x.view(k, -1, *x.shape[1:]), y.view(k, -1)
        # First, as in a run alone: gradients are added in the order in which backward comes to them.
        penalties = None if self._penalty is None else self._penalty()
        scores = self._scores(x, training=True)
        losses = self._loss(scores, y)
        total = losses if penalties is None else losses + penalties
        # The models share no parameter, so the gradient of the sum is that of each model's own loss.
        total.sum().backward()  # type: ignore[no-untyped-call]
        self._update([member.lr_factor(step) for member in self._members])
        # Of the scores before the update, as in a run alone.
        correct = (self._predict(scores.detach()) == y).sum(1)
        return total.detach(), None if penalties is None else penalties.detach(), correct

    def _update(self, factors: list[float]) -> None:
        """Take the step that the stack's gradients ask for."""
        if self._optimizer is None:
            # Clipping looks at all gradients of a model: each takes its own step.
            self._stack.tensors.hand_out_gradients()
            for member, factor in zip(self._members, factors, strict=True):
                member.learner.update(factor)
            return
        self._optimizer.step([member.base_lr * factor for member, factor in zip(self._members, factors, strict=True)])
        # The models are updated; what is left is to count the step, and to update averages.
        for member in self._members:
            member.learner.count_step()

    def _scores(self, x: Tensor, *, training: bool) -> Tensor:
        return self._stack.scores(x, training=training).to(self._arithmetic.weights)

    def _predict(self, scores: Tensor) -> Tensor:
        k, b, n = scores.shape
        return predict(scores.reshape(k * b, n)).view(k, b)

    @torch.inference_mode()
    def evaluate(self, split: TensorSplit) -> dict[int, Evaluation]:
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
            loss += self._loss(scores, y).double() * counted
            mass = mass + counted
            place = (first + y * classes + self._predict(scores)).view(-1)
            # index_add_ is exact on whole numbers, and does not wait for the device as bincount does.
            cells.index_add_(0, place, torch.ones_like(place))
        n, whole = len(split), float(mass)
        counts, losses = cells.view(k, classes, classes).tolist(), loss.tolist()
        return {
            place: Evaluation(
                loss=losses[i] / whole,
                accuracy=sum(counts[i][c][c] for c in range(classes)) / n,
                n=n,
                confusion=tuple(tuple(row) for row in counts[i]),
            )
            for i, place in enumerate(self._places)
        }


def _in_compute_type(split: TensorSplit, arithmetic: Arithmetic) -> TensorSplit:
    """Return samples in the type of matrix products: what each batch would be turned into, turned once."""
    if arithmetic.autocast is None or split.prepare is not None:
        return split
    return replace(split, x=split.x.to(arithmetic.autocast))


def _columns(values: list[Tensor], n: int) -> list[list[float]]:
    """Return the values of each of n members; values: (n,) for each step."""
    if not values:
        return [[] for _ in range(n)]
    columns: list[list[float]] = torch.stack(values).double().T.tolist()
    return columns
