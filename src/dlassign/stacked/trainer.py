"""StackTrainer: the trainer of K runs whose models train side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

import torch

from dlassign.data.batches import SideBySide
from dlassign.data.torch_batches import TensorSplit
from dlassign.nets.objective import LossOf
from dlassign.stacked.chunk import Chunk, MakeOptimizer, MakePenalty
from dlassign.stacked.member import StackMember
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.learner import Evaluation, Steps

T = TypeVar("T")

SEGMENT = 100
"""Steps after which `interrupted` is asked."""
CACHE_BYTES = 24 * 2**20
"""What the models of a chunk may have in parameters, gradients, slots and samples: about what a large cache holds."""
STEP_OVERHEAD = 10**6
"""Parameters times batch size of a net whose computation takes about as long as all else that a step does for it."""


@dataclass(frozen=True, order=True)
class Shape:
    """What neighbouring members of a stack have in common, and so compute as one batched model.

    Attributes:
        batch_size: samples that a member sees in a step; those of a chunk see equally many.
        model: of `stacked/keys.py: model_key`.
    """

    batch_size: int
    model: str


class StackTrainer:
    """Trains members together.

    Members are dealt to lanes, one for each CPU thread, and the members of a lane to chunks that fit into its cache and
    have batches of one size. Within a chunk all models compute side by side; a lane takes all steps between two events
    with one chunk, then with the next.

    Args:
        members: of equal arithmetic.
        shapes: of the members.
        split: training samples on the device.
        loss: of stacked scores.
        penalty: see Chunk.
        optimizer: see Chunk.
        lanes: threads.
    """

    def __init__(
        self,
        members: Sequence[StackMember],
        shapes: Sequence[Shape],
        split: TensorSplit,
        *,
        loss: LossOf,
        penalty: MakePenalty,
        optimizer: MakeOptimizer,
        lanes: int,
    ) -> None:
        self._members = list(members)
        self._shapes = list(shapes)
        self._split = _in_compute_type(split, members[0].learner.arithmetic)
        self._loss = loss
        self._lanes_wanted = max(lanes, 1)
        self._penalty = penalty
        self._optimizer = optimizer
        self._pool: ThreadPoolExecutor | None = None
        self._deal()

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some members only; the stack becomes smaller."""
        self._members = [self._members[place] for place in places]
        self._shapes = [self._shapes[place] for place in places]
        self._deal()

    def _deal(self) -> None:
        """Deal members to lanes and chunks, and stack those of one shape in each chunk."""
        # Those of one shape next to each other, so that few blocks are cut in two.
        places = sorted(range(len(self._members)), key=lambda place: self._shapes[place])
        work = [self._cost(place) for place in places]
        lanes: list[list[int]] = [[] for _ in range(self._lanes_wanted)]
        done = 0
        # Lanes of nearly equal work: the slowest decides when all are done.
        for place, own in zip(places, work, strict=True):
            lanes[(2 * done + own) * len(lanes) // (2 * sum(work))].append(place)
            done += own
        self._lanes = [[self._chunk(part) for part in self._parts(lane)] for lane in lanes if lane]

    def _cost(self, place: int) -> int:
        """Return what a step of a member costs, in parameters times batch size."""
        return self._members[place].n_params * self._shapes[place].batch_size + STEP_OVERHEAD

    def _parts(self, lane: Sequence[int]) -> Iterator[list[int]]:
        """Cut the members of a lane into parts with equal batch sizes, each of which fits into the cache of a core."""
        # A GPU has no cache per core to fit into, and is faster the more it is given at once.
        room = CACHE_BYTES if self._members[0].learner.device.type == "cpu" else float("inf")
        for _, found in groupby(lane, key=lambda place: self._shapes[place].batch_size):
            own = list(found)
            shared = self._shared(own)
            part: list[int] = []
            filled = 0
            for place in own:
                size = self._bytes(place, shared=shared)
                if part and filled + size > room:
                    yield part
                    part, filled = [], 0
                part.append(place)
                filled += size
            yield part

    def _bytes(self, place: int, *, shared: bool) -> int:
        """Return what a member works on in a step."""
        member = self._members[place]
        # Parameters, gradients, and up to two slots of the optimizer.
        weights = 4 * member.n_params
        # With one order all models see the same batch, which then lies in memory once.
        samples = 0 if shared else self._split.x[0].numel() * self._shapes[place].batch_size
        return member.arithmetic.weights.itemsize * (weights + samples)

    def _shared(self, places: Sequence[int]) -> bool:
        """Return whether all these members see the same samples at every step, such as those of one seed."""
        return all(self._members[k].order == self._members[places[0]].order for k in places)

    def _chunk(self, places: list[int]) -> Chunk:
        orders = [self._members[place].order for place in places]
        alike = groupby(places, key=lambda place: self._shapes[place].model)
        return Chunk(
            places,
            [[self._members[place] for place in block] for _, block in alike],
            split=self._split,
            # Where orders differ each model has its own rows, and the batch K times as many samples.
            order=orders[0] if self._shared(places) else SideBySide(tuple(orders)),
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
            for place, steps in self._each_chunk(partial(Chunk.train, start=start, stop=end)).items():
                taken[place].extend(steps)
            start = end
            if interrupted():
                break
        return taken

    def evaluate(self, split: TensorSplit, places: Sequence[int]) -> list[Evaluation]:
        """Return loss, accuracy and confusion counts of these members."""
        # An average gives its model other weights for the evaluation, so each model is evaluated alone.
        if any(member.learner.averages for member in self._members):
            return [self._members[place].evaluate(split) for place in places]
        wanted = set(places)
        # Others of a chunk are evaluated with it: mostly all have equal plans.
        found = self._each_chunk(lambda chunk: {} if wanted.isdisjoint(chunk.places) else chunk.evaluate(split))
        return [found[place] for place in places]

    def _each_chunk(self, work: Callable[[Chunk], dict[int, T]]) -> dict[int, T]:
        """Do something with every chunk, each lane in a thread of its own; return the results by member."""

        def one_lane(chunks: list[Chunk]) -> dict[int, T]:
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


def _in_compute_type(split: TensorSplit, arithmetic: Arithmetic) -> TensorSplit:
    """Return samples in the type of matrix products: what each batch would be turned into, turned once."""
    if arithmetic.autocast is None or split.prepare is not None:
        return split
    return replace(split, x=split.x.to(arithmetic.autocast))
