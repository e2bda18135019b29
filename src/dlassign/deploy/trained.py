"""Trained: all that the scores of a trained net depend on, taken from its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlassign.config.model import Model
from dlassign.data.prepare import Preprocess
from dlassign.deploy.classifier import Intake
from dlassign.deploy.graph import Graph
from dlassign.errors import UserError
from dlassign.nets.build import build_model

COUNTER = ".num_batches_tracked"
"""How the buffers end that are whole numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained net without its run.

    Attributes:
        architecture: from which the model is built.
        n_outputs: scores that the model gives for each sample; 1 of two classes with a single score.
        labels: names of the classes.
        intake: what a raw sample is, and how a picture becomes one.
        preprocess: fitted, without the copies that training appends.
        weights: parameters and buffers by name, float32.
        facts: where it comes from, in plain values, for the reader; nothing is computed from them.
    """

    architecture: Model
    n_outputs: int
    labels: tuple[str, ...]
    intake: Intake
    preprocess: Preprocess
    weights: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def graph(self) -> Graph:
        """Return preprocessing and model with the weights, in evaluation mode, on the CPU.

        Raises:
            UserError: the weights are those of another model.
        """
        try:
            in_shape = self.preprocess.apply(np.zeros((0, *self.intake.shape))).shape[1:]
            model = build_model(self.architecture, in_shape, self.n_outputs).float()
            load_weights(model, self.weights)
        except (RuntimeError, ValueError, AssertionError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"the weights do not fit the model {self.architecture.name} ({why})") from error
        return Graph(self.preprocess, model)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights of either backend into a model.

    Raises:
        RuntimeError: they are those of another model.
    """
    # NumPy networks have no count of the batches that batch norm has seen; nothing is computed from it.
    unused = {name: tensor for name, tensor in model.state_dict().items() if name.endswith(COUNTER)}
    model.load_state_dict({**unused, **weights})


def as_float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of weights on the CPU, floating-point ones as float32.

    Raises:
        UserError: some are not finite.
    """
    found = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    found = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
    bad = [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise UserError(f"the weights {bad[0]} are not finite numbers: training diverged; take another run")
    return found
