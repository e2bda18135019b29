"""KeptNet: a trained net as arrays and plain values, which pickle anywhere, scored in double precision."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlassign.config.run import RunConfig
from dlassign.data.prepare import Preprocess
from dlassign.deploy.graph import Graph, refuse_batch_statistics
from dlassign.deploy.trained import load_weights
from dlassign.nets.build import build_model
from dlassign.train.checkpoint import to_numpy
from dlassign.train.given_back import by_itself
from dlassign.train.parts import Parts
from dlassign.train.plan import check_loss

CHUNK = 1024
"""Samples that are scored at once."""


@dataclass(frozen=True, eq=False)
class KeptNet:
    """A trained net.

    Attributes:
        config: of its run, in plain values.
        weights: parameters and buffers by name.
        preprocess: its fitted steps, as `Preprocess.state` gives them.
        raw_shape: of a sample as it comes.
        in_shape: of a sample after preprocessing.
        n_outputs: scores of a sample.
    """

    config: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    preprocess: list[dict[str, Any]]
    raw_shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    n_outputs: int

    @classmethod
    def of(cls, cfg: RunConfig, parts: Parts, *, n_classes: int) -> KeptNet:
        """Return the net of a run whose learner has the weights to keep."""
        return cls(
            config=cfg.model_dump(mode="json"),
            weights={name: np.array(to_numpy(tensor)) for name, tensor in parts.learner.weights().items()},
            preprocess=parts.preprocess.without_copies().state(),
            raw_shape=tuple(parts.dataset.train.x.shape[1:]),
            in_shape=tuple(parts.task.in_shape),
            n_outputs=check_loss(cfg, n_classes),
        )

    def scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores (N, K) of raw samples.

        In double precision, so that what is said of a sample does not depend on those beside it.

        Raises:
            ValueError: the samples have another shape than those of the training.
        """
        if x.shape[1:] != self.raw_shape:
            raise ValueError(f"samples of the shape {x.shape[1:]}, but training had {self.raw_shape}")
        graph, found = self._graph(), []
        with torch.no_grad():
            for start in range(0, len(x), CHUNK):
                # A copy: torch takes no array that is read-only or counted backwards.
                chunk = torch.from_numpy(np.array(x[start : start + CHUNK], dtype=np.float64))
                scores = graph.model(graph.preprocess(chunk)).numpy()
                # A single score s of two classes stands for (0, s).
                found.append(np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores)
        return np.concatenate(found)

    def _graph(self) -> Graph:
        # A new model draws initial weights.
        with by_itself():
            cfg = RunConfig.model_validate(copy.deepcopy(self.config))
            model = build_model(cfg.model, self.in_shape, self.n_outputs)
        refuse_batch_statistics(model)
        load_weights(model, {name: torch.from_numpy(array.copy()) for name, array in self.weights.items()})
        return Graph(Preprocess.from_state(self.preprocess), model).double()
