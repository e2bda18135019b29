"""TorchLearner: a PyTorch model behind the Learner protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.data.batches import Batches, Order, Rows
from dlassign.data.bundle import Split
from dlassign.optim.torch_optim import TorchOptimizer
from dlassign.train.learner import Evaluation, State, StepStats
from dlassign.train.objective import LossOf, predict
from dlassign.train.rng import restore_rng, rng_state


@dataclass(frozen=True)
class TensorSplit:
    """A prepared split on a device.

    Attributes:
        x: (N, ...) float.
        y: (N,) int64.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


class TorchLearner:
    """Trains and evaluates one PyTorch model on one device.

    Args:
        model: on the device, in training mode.
        optimizer: of the model's parameters.
        loss: (scores, labels) -> mean loss.
        penalty: () -> penalty on the present parameters, or None.
        clip: called on the parameters between backward and step, or None.
        n_classes: number of classes, for confusion counts.
        eval_batch_size: samples evaluated at once.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: TorchOptimizer,
        *,
        loss: LossOf,
        penalty: Callable[[], Tensor] | None,
        clip: Callable[[list[nn.Parameter]], object] | None,
        n_classes: int,
        eval_batch_size: int,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self._loss, self._penalty, self._clip = loss, penalty, clip
        self._n_classes, self._eval_batch_size = n_classes, eval_batch_size
        self._params = optimizer.params
        self.n_params = sum(p.numel() for p in self._params)
        self.lr = optimizer.lr
        self.device = self._params[0].device

    def step(self, x: Tensor, y: Tensor, lr_factor: float) -> StepStats:
        """Update the model on one batch. x: (B, ...) prepared, y: (B,) int64, both on the device."""
        scores = self.model(x)
        loss = self._loss(scores, y)
        penalty = self._penalty() if self._penalty is not None else None
        if penalty is not None:
            loss = loss + penalty
        for p in self._params:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            self._clip(self._params)
        self.optimizer.lr = self.lr * lr_factor
        self.optimizer.step()
        correct = (predict(scores.detach()) == y).sum()
        return StepStats(loss.detach(), None if penalty is None else penalty.detach(), correct, len(y))

    def read(self, values: list[Any]) -> list[float]:
        """Bring scalars to the host in one transfer."""
        return torch.stack(values).double().tolist()

    @torch.inference_mode()
    def evaluate(self, split: TensorSplit) -> Evaluation:
        """Return loss, accuracy and confusion counts; split.x: (N, ...) prepared, as a tensor on the device."""
        k, n = self._n_classes, len(split)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        cells = torch.zeros(k * k, dtype=torch.int64, device=self.device)
        self.model.eval()
        for start in range(0, n, self._eval_batch_size):
            x, y = split.x[start : start + self._eval_batch_size], split.y[start : start + self._eval_batch_size]
            scores = self.model(x)
            loss += self._loss(scores, y).double() * len(y)
            cells += torch.bincount(y * k + predict(scores), minlength=k * k)
        self.model.train()
        confusion = tuple(tuple(row) for row in cells.reshape(k, k).tolist())
        correct = sum(confusion[i][i] for i in range(k))
        return Evaluation(loss=loss.item() / n, accuracy=correct / n, n=n, confusion=confusion)

    def weights(self) -> State:
        """Return the model's parameters and buffers by name."""
        return dict(self.model.state_dict())

    def load_weights(self, weights: State) -> None:
        """Set the model's parameters and buffers."""
        self.model.load_state_dict(weights)

    def state_dict(self) -> State:
        """Return weights, optimizer state and random state."""
        return {
            "model": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "rng": rng_state(self.device),
        }

    def load_state_dict(self, state: State) -> None:
        """Go back to a state that state_dict gave, in place."""
        self.load_weights(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        restore_rng(state["rng"], self.device)


def torch_batches(split: TensorSplit, order: Order) -> Batches[Tensor]:
    """Return training batches cut out of tensors on their device.

    Args:
        split: x and y as tensors on the device.
        order: which rows a step sees.
    """
    device = split.x.device

    def as_rows(epoch: list[Rows]) -> list[Any]:
        return [rows if isinstance(rows, slice) else torch.from_numpy(rows).to(device) for rows in epoch]

    def take(array: Tensor, rows: Any) -> Tensor:
        return array[rows] if isinstance(rows, slice) else array.index_select(0, rows)

    return Batches(split.x, split.y, order=order, take=take, as_rows=as_rows)


def to_device(split: Split, device: torch.device, *, dtype: torch.dtype) -> TensorSplit:
    """Copy a prepared split to a device: x as (N, ...) of dtype, y as (N,) int64."""
    return TensorSplit(x=_copy(split.x, device, dtype=dtype), y=_copy(split.y, device, dtype=torch.int64))


def _copy(array: NDArray[Any], device: torch.device, *, dtype: torch.dtype) -> Tensor:
    # torch.empty aligns its memory the same way in every process, and with it the order of floating-point sums.
    tensor = torch.empty(array.shape, dtype=dtype, device=device)
    return tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
