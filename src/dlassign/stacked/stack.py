"""StackedLearner: learners of equal models that train as one batched model, in as many lanes as there are threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dlassign.data.batches import Order, SideBySide
from dlassign.data.torch_batches import TensorSplit, torch_batches
from dlassign.nets.objective import LossOf, predict
from dlassign.stacked.rules import StackedOptimizer
from dlassign.stacked.vmap import Stack, make_stack
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.learner import Evaluation, State, StepStats
from dlassign.train.torch_learner import TorchLearner
from dlassign.train.views import Views

CACHE_BYTES = 24 * 2**20
"""What the models of a chunk may have in parameters, gradients, slots and samples: about what a large cache holds."""


class StackMember:
    """A TorchLearner that trains in a stack: its model's weights are part of the stack's, its dropout has a generator.

    Args:
        learner: just built, so that torch's global generator is in the state from which the run goes on.
        order: which rows its steps see.
    """

    def __init__(self, learner: TorchLearner, order: Order) -> None:
        self.learner, self.order = learner, order
        self.n_params, self.lr, self.arithmetic, self.views = (
            learner.n_params,
            learner.lr,
            learner.arithmetic,
            learner.views,
        )
        cuda = learner.device.type == "cuda"
        self.generator = torch.Generator(learner.device)
        self.generator.set_state(torch.cuda.get_rng_state(learner.device) if cuda else torch.get_rng_state())

    def step(self, x: Tensor, y: Tensor, lr_factor: float) -> StepStats:
        """Refuse: a member takes its steps in the stack.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a member of a stack is trained by the stack")

    def read(self, values: list[Any]) -> list[float]:
        """Bring scalars to the host."""
        return self.learner.read(values)

    def warm_up(self, x: Tensor, y: Tensor) -> float:
        """Do nothing: stacks are not compiled."""
        return 0.0

    def evaluate(self, split: TensorSplit, *, views: Views | None = None) -> Evaluation:
        """Evaluate the one model."""
        return self.learner.evaluate(split, views=views)

    def weights(self) -> State:
        """Return a copy of the weights that are evaluated; the originals are views of larger tensors."""
        weights: State = _copies(self.learner.weights())
        return weights

    def load_weights(self, weights: State) -> None:
        """Set the model's parameters and buffers."""
        self.learner.load_weights(weights)

    def state_dict(self) -> State:
        """Return what TorchLearner.state_dict returns, with the state of the member's own generator."""
        state = self.learner.state_dict()
        key = self.learner.device.type
        rng = {**state["rng"], key: self.generator.get_state()}
        return {**_copies(state), "rng": rng}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state of a member or of a TorchLearner."""
        self.learner.load_state_dict(state)
        self.generator.set_state(state["rng"][self.learner.device.type].cpu())


def _copies(value: Any) -> Any:
    """Return plain values with a copy of every tensor in them; a saved view would take its whole stack along."""
    match value:
        case Tensor():
            return value.clone()
        case dict():
            return {key: _copies(item) for key, item in value.items()}
        case list():
            return [_copies(item) for item in value]
        case _:
            return value


MakePenalty = Callable[[Sequence[StackMember], Stack], Callable[[], Tensor] | None]
MakeOptimizer = Callable[[Sequence[StackMember], Stack], StackedOptimizer | None]


@dataclass(frozen=True)
class StackStats:
    """What one member's steps gave, one value a step."""

    losses: list[float]
    penalties: list[float]
    corrects: list[float]
    counts: list[int]


class StackedLearner:
    """Trains members together.

    Members are dealt to lanes, one for each CPU thread, and the members of a lane to chunks that fit into its cache.
    Within a chunk all models compute at once; a lane takes all steps between two events with one chunk, then with the
    next.

    Args:
        members: of equal models, arithmetic and batch sizes.
        split: training samples on the device.
        loss: of stacked scores.
        penalty: (members, stack) -> () -> the penalty of each, or None.
        optimizer: (members, stack) -> the optimizer of all at once; None: each member's own takes its steps.
        lr_factors: for each member, step counted from 0 -> factor on its learning rate.
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
        lr_factors: Sequence[Callable[[int], float]],
        batch_size: int,
        lanes: int,
    ) -> None:
        self._members, self._factors = list(members), list(lr_factors)
        self._split = _in_compute_type(split, members[0].learner.arithmetic)
        self._loss, self._lanes_wanted = loss, max(lanes, 1)
        self._penalty, self._optimizer = penalty, optimizer
        self._batch_size = batch_size
        self._pool: ThreadPoolExecutor | None = None
        self._deal()

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some members only, given by their places; the stack becomes smaller."""
        self._members = [self._members[k] for k in staying]
        self._factors = [self._factors[k] for k in staying]
        self._deal()

    def _deal(self) -> None:
        """Deal members to lanes and chunks, and stack each chunk."""
        k = len(self._members)
        lanes = min(self._lanes_wanted, k)
        bounds = [lane * k // lanes for lane in range(lanes + 1)] if k else [0]
        self._lanes = [self._chunks(list(range(first, last))) for first, last in pairwise(bounds)]

    def _chunks(self, places: list[int]) -> list[_Chunk]:
        size = self._chunk_size(places)
        return [self._chunk(places[i : i + size]) for i in range(0, len(places), size)]

    def _chunk_size(self, places: list[int]) -> int:
        learner = self._members[0].learner
        if learner.device.type != "cpu":
            return len(places)
        weights = 4 * learner.n_params
        samples = 0 if self._shared(places) else self._split.x[0].numel() * self._batch_size
        return max(CACHE_BYTES // (learner.arithmetic.weights.itemsize * (weights + samples)), 1)

    def _shared(self, places: Sequence[int]) -> bool:
        return all(self._members[k].order == self._members[places[0]].order for k in places)

    def _chunk(self, places: list[int]) -> _Chunk:
        members = [self._members[k] for k in places]
        orders = [member.order for member in members]
        order = orders[0] if self._shared(places) else SideBySide(tuple(orders))
        return _Chunk(
            places,
            members,
            split=self._split,
            order=order,
            loss=self._loss,
            penalty=self._penalty,
            optimizer=self._optimizer,
            factors=[self._factors[k] for k in places],
        )

    def train(self, start: int, stop: int) -> list[StackStats]:
        """Take the steps start, ..., stop - 1, counted from 0; return what they gave, by member."""
        found: dict[int, StackStats] = {}
        for lane in self._each_lane(lambda chunk: chunk.train(start, stop)):
            found |= lane
        return [found[k] for k in range(len(self._members))]

    def evaluate(self, split: TensorSplit) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts of every member."""
        if any(member.learner.averages for member in self._members):
            return [member.evaluate(split) for member in self._members]
        found: dict[int, Evaluation] = {}
        for lane in self._each_lane(lambda chunk: chunk.evaluate(split)):
            found |= lane
        return [found[k] for k in range(len(self._members))]

    def _each_lane(self, work: Callable[[_Chunk], dict[int, Any]]) -> list[dict[int, Any]]:
        """Do something with every chunk, each lane in a thread of its own; return the results of each lane."""

        def one_lane(chunks: list[_Chunk]) -> dict[int, Any]:
            return {place: value for chunk in chunks for place, value in work(chunk).items()}

        if len(self._lanes) == 1:
            return [one_lane(self._lanes[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._lanes_wanted, initializer=torch.set_num_threads, initargs=(1,))
        return list(self._pool.map(one_lane, self._lanes))

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
        factors: list[Callable[[int], float]],
    ) -> None:
        self._places, self._members, self._factors = places, members, factors
        self._learner = members[0].learner
        self._arithmetic: Arithmetic = self._learner.arithmetic
        models = [member.learner.model for member in members]
        generators = [member.generator for member in members]
        self._stack = make_stack(models, generators=generators, dtype=self._arithmetic.autocast)
        self._batches = torch_batches(split, order)
        self._together = isinstance(order, SideBySide)
        self._loss, self._penalty = loss, penalty(members, self._stack)
        self._optimizer = optimizer(members, self._stack)

    def train(self, start: int, stop: int) -> dict[int, StackStats]:
        losses, penalties, corrects, counts = [], [], [], []
        for step, (x, y) in enumerate(self._batches.between(start, stop), start):
            loss, penalty, correct = self._step(x, y, step)
            losses.append(loss)
            corrects.append(correct)
            counts.append(len(y) // len(self._members) if self._together else len(y))
            if penalty is not None:
                penalties.append(penalty)
        rows = [_columns(values, len(self._members)) for values in (losses, penalties, corrects)]
        return {
            place: StackStats(loss, penalty, correct, counts)
            for place, loss, penalty, correct in zip(self._places, *rows, strict=True)
        }

    def _step(self, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Update all models; return their losses, penalties and right predictions, (K,) each."""
        k = len(self._members)
        if self._together:
            x, y = x.view(k, -1, *x.shape[1:]), y.view(k, -1)
        scores = self._scores(x, training=True)
        losses = self._loss(scores, y)
        penalties = None if self._penalty is None else self._penalty()
        total = losses if penalties is None else losses + penalties
        total.sum().backward()  # type: ignore[no-untyped-call]
        self._update([factor(step) for factor in self._factors])
        correct = (self._predict(scores.detach()) == y).sum(1)
        return total.detach(), None if penalties is None else penalties.detach(), correct

    def _update(self, factors: list[float]) -> None:
        """Take the step that the stack's gradients ask for."""
        if self._optimizer is None:
            self._stack.tensors.hand_out_gradients()
            for member, factor in zip(self._members, factors, strict=True):
                member.learner.update(factor)
            return
        self._optimizer.step([member.lr * factor for member, factor in zip(self._members, factors, strict=True)])
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
        first = torch.arange(k, device=split.y.device)[:, None] * classes * classes
        for start in range(0, len(split), size):
            x, y = split.prepared(start, start + size), split.y[start : start + size]
            scores = self._scores(x, training=False)
            loss += self._loss(scores, y).double() * len(y)
            place = (first + y * classes + self._predict(scores)).view(-1)
            cells.index_add_(0, place, torch.ones_like(place))
        n = len(split)
        counts, losses = cells.view(k, classes, classes).tolist(), loss.tolist()
        return {
            place: Evaluation(
                loss=losses[i] / n,
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
