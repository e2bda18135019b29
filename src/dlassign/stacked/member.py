"""StackMember: a learner whose steps a stack takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dlassign.data.batches import Order
from dlassign.data.torch_batches import TensorSplit
from dlassign.train.learner import Evaluation, State
from dlassign.train.torch_learner import TorchLearner
from dlassign.train.views import Views


class StackMember:
    """A TorchLearner that trains in a stack: its weights are views of the stack's, and its dropout has a generator.

    Args:
        learner: just built, so that torch's global generator is in the state from which the run goes on.
        order: which rows its steps see.
        lr_factor: step counted from 0 -> factor on its learning rate.
    """

    def __init__(self, learner: TorchLearner, order: Order, *, lr_factor: Callable[[int], float]) -> None:
        self.learner = learner
        self.order = order
        self.lr_factor = lr_factor
        self.n_params = learner.n_params
        self.base_lr = learner.base_lr
        self.arithmetic = learner.arithmetic
        self.views = learner.views
        cuda = learner.device.type == "cuda"
        # Alone, dropout draws from torch's global generator. Side by side each model needs its own, in that same state.
        self.generator = torch.Generator(learner.device)
        self.generator.set_state(torch.cuda.get_rng_state(learner.device) if cuda else torch.get_rng_state())

    def evaluate(self, split: TensorSplit, *, views: Views | None = None) -> Evaluation:
        """Evaluate the one model."""
        return self.learner.evaluate(split, views=views)

    def evaluate_scores(self, split: TensorSplit, *, views: Views | None = None) -> tuple[Evaluation, NDArray[Any]]:
        """Evaluate the one model, and return the scores too."""
        return self.learner.evaluate_scores(split, views=views)

    def statistics(self, split: TensorSplit, n: int) -> None:
        """Measure nothing: K models would each pay for what the stack saves."""

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
        # Under the key of the global generator, so that the run may go on alone.
        rng = {**state["rng"], key: self.generator.get_state()}
        return {**_copies(state), "rng": rng}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state of a member or of a TorchLearner."""
        # This sets the global generator too, which no member draws from.
        self.learner.load_state_dict(state)
        saved = state["rng"].get(self.learner.device.type)
        # A run that was begun on the CPU has saved no state of a GPU's generator, which then stays as it is.
        if saved is not None:
            self.generator.set_state(saved.cpu())


def _copies(value: Any) -> Any:
    """Return plain values with a copy of every tensor in them; a saved view would take its whole stack along."""
    match value:
        # The clone has memory of its own; the view would be saved with that of all K models.
        case Tensor():
            return value.clone()
        case dict():
            return {key: _copies(item) for key, item in value.items()}
        case list():
            return [_copies(item) for item in value]
        case _:
            return value
