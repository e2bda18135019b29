"""StackedNumpyLearner: NumpyLearners of equal MLPs that train as one stack, in as many lanes as there are threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from dlassign.config.run import RunConfig
from dlassign.data.batches import Order, SideBySide
from dlassign.data.bundle import Split
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.stacked import StackedNetwork
from dlassign.optim.stacked_numpy_rules import StackedNumpyOptimizer, kind
from dlassign.train.learner import Evaluation, State, StepStats
from dlassign.train.numpy_learner import NumpyLearner, numpy_batches
from dlassign.train.numpy_objective import Labels
from dlassign.train.plan import Plan
from dlassign.train.stacked_learner import StackStats
from dlassign.train.stacked_numpy_objective import (
    make_stacked_numpy_clip,
    make_stacked_numpy_loss,
    make_stacked_numpy_penalty,
    stacked_predict,
)
from dlassign.train.views import Views

CACHE_BYTES = 6 * 2**20
"""What the models of a chunk may have in parameters, gradients, slots and samples."""


class NumpyMember:
    """A NumpyLearner that trains in a stack. The learner is brought up to date whenever something is asked of it.

    Args:
        learner: as it was built or loaded.
        order: which rows its steps see.
    """

    def __init__(self, learner: NumpyLearner, order: Order) -> None:
        self.learner, self.order = learner, order
        self.n_params, self.lr, self.arithmetic = learner.n_params, learner.lr, learner.arithmetic
        self.views: Views | None = learner.views
        self._chunk: _Chunk | None = None
        self._k = 0

    def join(self, chunk: _Chunk, k: int) -> None:
        """Train as number k of a chunk from now on."""
        self.leave()
        self._chunk, self._k = chunk, k

    def leave(self) -> None:
        """Take everything out of the stack; the learner is on its own again."""
        if self._chunk is not None:
            self._chunk.pull(self._k)
        self._chunk = None

    def step(self, x: Array, y: Labels, lr_factor: float) -> StepStats:
        """Refuse: a member takes its steps in the stack.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a member of a stack is trained by the stack")

    def read(self, values: list[Any]) -> list[float]:
        """Return the values as they are."""
        return self.learner.read(values)

    def warm_up(self, x: Array, y: Labels) -> float:
        """Do nothing: NumPy compiles nothing."""
        return 0.0

    def evaluate(self, split: Split, *, views: Views | None = None) -> Evaluation:
        """Evaluate the one model."""
        self._pull_weights()
        return self.learner.evaluate(split, views=views)

    def weights(self) -> State:
        """Return a copy of parameters and buffers."""
        self._pull_weights()
        return _copies(self.learner.weights())

    def load_weights(self, weights: State) -> None:
        """Set parameters and buffers.

        Raises:
            RuntimeError: names or shapes are others.
        """
        self.learner.load_weights(weights)
        if self._chunk is not None:
            self._chunk.network.push(self._k)

    def state_dict(self) -> State:
        """Return what NumpyLearner.state_dict returns, of copies."""
        if self._chunk is not None:
            self._chunk.pull(self._k)
        state = self.learner.state_dict()
        return {**state, "model": _copies(state["model"])}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state of a member or of a NumpyLearner."""
        self.learner.load_state_dict(state)
        if self._chunk is not None:
            self._chunk.push(self._k)

    def _pull_weights(self) -> None:
        if self._chunk is not None:
            self._chunk.network.pull(self._k)


def _copies(weights: State) -> State:
    return {name: tensor.clone() for name, tensor in weights.items()}


class StackedNumpyLearner:
    """Trains members together, as StackedLearner does with PyTorch: the same methods, lanes and chunks.

    Members with one order of samples stand side by side in a chunk, where they share each batch.

    Args:
        members: of equal networks and batch sizes.
        split: prepared training samples.
        cfgs: of the members; they differ only where members of a stack may.
        lr_factors: for each member, step counted from 0 -> factor on its learning rate.
        batch_size: samples that a member sees in a step.
        lanes: threads; with more than one, BLAS computes with one thread in each while the stack works.

    Raises:
        ValueError: networks cannot be stacked.
    """

    def __init__(
        self,
        members: Sequence[NumpyMember],
        split: Split,
        *,
        cfgs: Sequence[RunConfig],
        lr_factors: Sequence[Callable[[int], float]],
        batch_size: int,
        lanes: int,
    ) -> None:
        self._members, self._cfgs, self._factors = list(members), list(cfgs), list(lr_factors)
        self._split, self._batch_size, self._lanes_wanted = split, batch_size, max(lanes, 1)
        self._pool: ThreadPoolExecutor | None = None
        self._blas = ThreadpoolController() if lanes > 1 else None
        self._deal()

    def train(self, start: int, stop: int) -> list[StackStats]:
        """Take the steps start, ..., stop - 1, counted from 0; return what they gave, by member."""
        found = self._each_chunk(lambda chunk: chunk.train(start, stop))
        return [found[k] for k in range(len(self._members))]

    def evaluate(self, split: Split) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts of every member."""
        found = self._each_chunk(lambda chunk: chunk.evaluate(split))
        return [found[k] for k in range(len(self._members))]

    def keep(self, staying: Sequence[int]) -> None:
        """Go on with some members only, given by their places; the stack becomes smaller."""
        for member in self._members:
            member.leave()
        self._members = [self._members[k] for k in staying]
        self._cfgs = [self._cfgs[k] for k in staying]
        self._factors = [self._factors[k] for k in staying]
        self._deal()

    def close(self) -> None:
        """Give the members their parts back and end the threads."""
        for member in self._members:
            member.leave()
        if self._pool is not None:
            self._pool.shutdown()

    def _deal(self) -> None:
        """Deal members to lanes and chunks, and stack each chunk."""
        places = sorted(range(len(self._members)), key=self._neighbours())
        k = len(places)
        lanes = min(self._lanes_wanted, k)
        bounds = [lane * k // lanes for lane in range(lanes + 1)] if k else [0]
        self._lanes = [self._chunks(places[i:j]) for i, j in pairwise(bounds)]

    def _neighbours(self) -> Callable[[int], tuple[int, int]]:
        """Return a key that brings members with one kind of optimizer together, and among them those with one order."""
        kinds = {kind(cfg.optimizer): None for cfg in self._cfgs}
        orders = {member.order: None for member in self._members}
        kind_at, order_at = ({key: n for n, key in enumerate(found)} for found in (kinds, orders))
        return lambda k: (kind_at[kind(self._cfgs[k].optimizer)], order_at[self._members[k].order])

    def _chunks(self, places: list[int]) -> list[_Chunk]:
        chunks = []
        for _, run in groupby(places, key=lambda k: kind(self._cfgs[k].optimizer)):
            alike = list(run)
            size = self._chunk_size(alike)
            # Equal sizes: a small last chunk would be slow for its size.
            count = -(-len(alike) // size)
            cuts = [n * len(alike) // count for n in range(count + 1)]
            chunks += [self._chunk(alike[i:j]) for i, j in pairwise(cuts)]
        return chunks

    def _chunk_size(self, places: Sequence[int]) -> int:
        learner = self._members[0].learner
        samples = 0 if self._shared(places) else self._split.x[0].size * self._batch_size
        width = self._split.x.itemsize
        return max(CACHE_BYTES // (width * (4 * learner.n_params + samples)), 1)

    def _shared(self, places: Sequence[int]) -> bool:
        return all(self._members[k].order == self._members[places[0]].order for k in places)

    def _chunk(self, places: list[int]) -> _Chunk:
        return _Chunk(
            places,
            [self._members[k] for k in places],
            split=self._split,
            cfgs=[self._cfgs[k] for k in places],
            factors=[self._factors[k] for k in places],
        )

    def _each_chunk(self, work: Callable[[_Chunk], dict[int, Any]]) -> dict[int, Any]:
        """Do something with every chunk, each lane in a thread of its own; return the results by member."""

        def one_lane(chunks: list[_Chunk]) -> dict[int, Any]:
            with np.errstate(all="ignore"):  # a loss that is not finite ends its run with a message of its own
                return {place: value for chunk in chunks for place, value in work(chunk).items()}

        if len(self._lanes) < 2:
            return one_lane(self._lanes[0]) if self._lanes else {}
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._lanes_wanted)
        with self._one_blas_thread():
            lanes = list(self._pool.map(one_lane, self._lanes))
        return {place: value for lane in lanes for place, value in lane.items()}

    def _one_blas_thread(self) -> AbstractContextManager[Any]:
        """Return what keeps BLAS from starting threads of its own beside those of the lanes."""
        if self._blas is None:
            return nullcontext()
        limit: AbstractContextManager[Any] = self._blas.limit(limits=1, user_api="blas")
        return limit


class _Chunk:
    """Members that compute at once.

    Attributes:
        network: the stack of their networks.
    """

    def __init__(
        self,
        places: list[int],
        members: list[NumpyMember],
        *,
        split: Split,
        cfgs: list[RunConfig],
        factors: list[Callable[[int], float]],
    ) -> None:
        self._places, self._factors = places, factors
        self._lrs = [member.lr for member in members]
        self._eval_batch_size = cfgs[0].train.eval_batch_size
        self.network = StackedNetwork([member.learner.network for member in members])
        orders = [member.order for member in members]
        self._shared = all(order == orders[0] for order in orders)
        self._batches = numpy_batches(split, orders[0] if self._shared else SideBySide(tuple(orders)))
        self._loss = make_stacked_numpy_loss(cfgs[0].loss)
        self._penalty = make_stacked_numpy_penalty([cfg.loss.penalty for cfg in cfgs], self.network)
        self._clip = make_stacked_numpy_clip([cfg.train.clip for cfg in cfgs], self.network.grads)
        self._optimizer = StackedNumpyOptimizer(
            [member.learner.optimizer for member in members],
            self.network.params,
            self.network.grads,
            cfgs=[cfg.optimizer for cfg in cfgs],
        )
        for k, member in enumerate(members):
            member.join(self, k)

    def pull(self, k: int) -> None:
        """Bring the learner of member k up to date."""
        self.network.pull(k)
        self._optimizer.pull(k)

    def push(self, k: int) -> None:
        """Take over what the learner of member k has."""
        self.network.push(k)
        self._optimizer.push(k)

    def train(self, start: int, stop: int) -> dict[int, StackStats]:
        """Take steps; return what they gave, by the members' places."""
        k, counts = len(self._places), []
        losses, penalties, corrects = [], [], []
        for step, (x, y) in enumerate(self._batches.between(start, stop), start):
            if not self._shared:
                x, y = x.reshape(k, -1, *x.shape[1:]), y.reshape(k, -1)
            loss, penalty, correct = self._step(x, y, [factor(step) for factor in self._factors])
            losses.append(loss)
            corrects.append(correct)
            counts.append(y.shape[-1])
            if penalty is not None:
                penalties.append(penalty)
        rows = [_columns(values, k) for values in (losses, penalties, corrects)]
        return {
            place: StackStats(loss, penalty, correct, counts)
            for place, loss, penalty, correct in zip(self._places, *rows, strict=True)
        }

    def _step(self, x: Array, y: Labels, factors: Sequence[float]) -> tuple[Array, Array | None, Labels]:
        """Update all models; return their losses, penalties and right predictions, (K,) each."""
        scores = self.network.forward(x, train=True, shared=self._shared)
        loss, dscores = self._loss(scores, y)
        self.network.backward(dscores)
        penalty = None if self._penalty is None else self._penalty()
        if self._clip is not None:
            self._clip()
        self._optimizer.step([lr * factor for lr, factor in zip(self._lrs, factors, strict=True)])
        correct = np.count_nonzero(stacked_predict(scores) == y, axis=1)
        return loss if penalty is None else loss + penalty, penalty, correct

    def evaluate(self, split: Split) -> dict[int, Evaluation]:
        """Return how each model does, by the members' places."""
        k, size, n = len(self._places), self._eval_batch_size, len(split)
        loss, cells, c = np.zeros(k), np.zeros(0, dtype=np.int64), 0
        for start in range(0, n, size):
            x, y = split.x[start : start + size], split.y[start : start + size]
            scores = self.network.forward(x, train=False, shared=True)
            loss += self._loss(scores, y)[0] * len(y)
            c = max(scores.shape[1], 2)  # one score tells two classes apart
            place = (c * np.arange(k)[:, None] + y) * c + stacked_predict(scores)
            found = np.bincount(place.reshape(-1), minlength=k * c * c)
            cells = cells + found if len(cells) else found
        counts = cells.reshape(k, c, c)
        return {
            place: Evaluation(
                loss=float(loss[i]) / n,
                accuracy=int(counts[i].trace()) / n,
                n=n,
                confusion=tuple(tuple(row) for row in counts[i].tolist()),
            )
            for i, place in enumerate(self._places)
        }


def build_numpy_stack(
    cfgs: Sequence[RunConfig], members: Sequence[NumpyMember], split: Split, *, plans: Sequence[Plan], lanes: int
) -> StackedNumpyLearner:
    """Put learners of equal networks together; configs, members and plans are those of the same runs, in one order.

    Args:
        cfgs: what was asked for; they differ only where members of a stack may.
        members: the learners.
        split: prepared training samples.
        plans: durations in steps.
        lanes: threads to compute in.
    """
    return StackedNumpyLearner(
        members,
        split,
        cfgs=cfgs,
        lr_factors=[plan.lr_factor for plan in plans],
        batch_size=plans[0].samples_a_step,
        lanes=lanes,
    )


def _columns(values: list[Any], n: int) -> list[list[float]]:
    """Return the values of each of n members; values: (n,) for each step."""
    if not values:
        return [[] for _ in range(n)]
    columns: list[list[float]] = np.stack(values, axis=1).astype(np.float64).tolist()
    return columns
