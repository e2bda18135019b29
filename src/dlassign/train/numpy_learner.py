"""NumpyLearner: a NumPy network behind the Learner protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from dlassign.data.bundle import Labels, Split
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.objective import AddPenalty, NumpyLoss, numpy_predict
from dlassign.optim.numpy_rules import NumpyOptimizer
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.checkpoint import to_numpy, to_tensors
from dlassign.train.learner import EvalOptions, Evaluation, State, Statistics, Steps, StepStats
from dlassign.train.statistics import evenly, numpy_statistics
from dlassign.train.views import Views


class NumpyLearner:
    """Trains and evaluates one NumPy network.

    Overflow and division by zero are silent here: a loss that is not finite ends the run with a message of its own.

    Args:
        network: the layers.
        optimizer: of the network's parameters.
        loss: (scores, labels) -> mean loss and its gradient.
        penalty: adds its gradient to the parameters' and gives its value, or None.
        clip: limits the gradients in place, or None.
        evaluation: how it evaluates.
        rng: the generator that the network's dropout draws from.
    """

    views: Views | None = None

    def __init__(
        self,
        network: Network,
        optimizer: NumpyOptimizer,
        *,
        loss: NumpyLoss,
        penalty: AddPenalty | None,
        clip: Callable[[Mapping[str, Array]], None] | None,
        evaluation: EvalOptions,
        rng: np.random.Generator,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.rng = rng
        self.loss = loss
        self.penalty = penalty
        self._clip = clip
        self._n_classes = evaluation.n_classes
        self._eval_batch_size = evaluation.batch_size
        self._metric = evaluation.metric
        self.n_params = sum(p.size for p in network.params.values())
        self.base_lr = optimizer.lr
        precision = "fp64" if any(p.dtype == np.float64 for p in network.params.values()) else "fp32"
        why = "NumPy computes in the type of the weights"
        self.arithmetic = Arithmetic(precision=precision, channels_last=False, compile=False, why=why)

    def step(self, x: Array, y: Labels, lr_factor: float) -> StepStats:
        """Update the network on one batch. x: (B, ...) prepared, y: (B,) int64."""
        with np.errstate(all="ignore"):
            scores = self.network.forward(x, train=True)
            loss, dscores = self.loss(scores, y)
            self.network.backward_params(dscores)
            penalty = self.penalty() if self.penalty is not None else None
            # After the penalty, whose gradient is part of what is limited.
            if self._clip is not None:
                self._clip(self.network.grads)
            # From the base rate each time: multiplying the present one would add up rounding errors.
            self.optimizer.lr = self.base_lr * lr_factor
            self.optimizer.step(self.network.grads)
        # Of the scores before the update: what the model predicted for a batch it had not yet learnt from.
        correct = np.count_nonzero(numpy_predict(scores) == y)
        return StepStats(loss if penalty is None else loss + penalty, penalty, correct, len(y))

    def read(self, taken: Sequence[StepStats]) -> Steps:
        """Return what steps gave, as Python numbers; nothing has to be brought to the host."""
        return Steps(
            [float(stats.loss) for stats in taken],
            [float(stats.penalty) for stats in taken if stats.penalty is not None],
            [float(stats.correct) for stats in taken],
            [stats.n for stats in taken],
        )

    def evaluate(self, split: Split, *, views: Views | None = None) -> Evaluation:
        """Return loss, accuracy and confusion counts; split.x: (N, ...) prepared; views: none here."""
        with np.errstate(all="ignore"):
            if self._metric is not None:
                return self.evaluate_scores(split, views=views)[0]
            return self._evaluation(self._scored(split, views))

    def evaluate_scores(self, split: Split, *, views: Views | None = None) -> tuple[Evaluation, Array]:
        """Evaluate, and return the scores too, (N, K) or (N, 1)."""
        with np.errstate(all="ignore"):
            parts = list(self._scored(split, views))
            found, every = self._evaluation(parts), np.concatenate([scores for scores, _ in parts])
            return found if self._metric is None else replace(found, metric=self._metric(every, split.y)), every

    def _evaluation(self, scored: Iterable[tuple[Array, Labels]]) -> Evaluation:
        k = self._n_classes
        loss, mass, cells = 0.0, 0.0, np.zeros(k * k, dtype=np.int64)
        for scores, y in scored:
            # With class weights the mean of a batch is one over weights, not over samples.
            counted = self.loss.mass(y)
            loss += self.loss(scores, y)[0] * counted
            mass += counted
            # Row and column in one number: one pass counts the whole confusion matrix.
            cells += np.bincount(y * k + numpy_predict(scores), minlength=k * k)
        counts, n = cells.reshape(k, k), int(cells.sum())
        confusion = tuple(tuple(row) for row in counts.tolist())
        return Evaluation(loss=loss / mass, accuracy=int(counts.trace()) / n, n=n, confusion=confusion)

    def _scored(self, split: Split, views: Views | None) -> Iterator[tuple[Array, Labels]]:
        """Yield the scores and labels of batch after batch."""
        assert views is None, "configs with views are refused"
        # One cut for losses and for predictions: the last bits of a score may depend on the batch that it is in.
        for start in range(0, len(split), self._eval_batch_size):
            x, y = split.x[start : start + self._eval_batch_size], split.y[start : start + self._eval_batch_size]
            yield self.network.forward(x, train=False), y

    def statistics(self, split: Split, n: int) -> Statistics:
        """Measure the network on at most n samples, in training mode without dropout."""
        rows = evenly(len(split), n)
        return numpy_statistics(self.network, self.loss, split.x[rows], split.y[rows])

    def weights(self) -> State:
        """Return parameters and buffers by name, as tensors over the same memory: nothing is written through them."""
        return {name: torch.from_numpy(array) for name, array in self._arrays().items()}

    def load_weights(self, weights: State) -> None:
        """Set parameters and buffers.

        Raises:
            RuntimeError: names or shapes are others.
        """
        arrays = self._arrays()
        if arrays.keys() != weights.keys():
            raise RuntimeError(f"expected {', '.join(arrays)}; got {', '.join(weights)}")
        for name, array in arrays.items():
            if array.shape != tuple(weights[name].shape):
                raise RuntimeError(f"{name} is {array.shape}; got {tuple(weights[name].shape)}")
            # In place: the optimizer and the layers hold these very arrays.
            array[...] = weights[name].cpu().numpy()

    def state_dict(self) -> State:
        """Return weights, optimizer state and the generator's state."""
        return {
            "model": self.weights(),
            "optimizer": to_tensors(self.optimizer.state_dict()),
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave, in place."""
        self.load_weights(state["model"])
        self.optimizer.load_state_dict(to_numpy(state["optimizer"]))
        self.rng.bit_generator.state = state["rng"]

    def _arrays(self) -> dict[str, Array]:
        return {**self.network.params, **self.network.buffers}
