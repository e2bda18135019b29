"""What a run's folder gives to what leaves it: the trained net, and the run's own scores to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Samples, Split
from dlassign.data.prepare import Preprocess
from dlassign.deploy.classifier import Intake, Scores, make_intake, two_columns
from dlassign.deploy.trained import Trained, as_float32
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records
from dlassign.train.checkpoint import to_numpy, using
from dlassign.train.learner import State
from dlassign.train.make_numpy import make_numpy_learner, place_numpy
from dlassign.train.make_torch import make_torch_learner, place_torch
from dlassign.train.plan import check_loss
from dlassign.train.saved import load_saved_weights
from dlassign.train.task import Task

CPU = torch.device("cpu")


def read_run(paths: RunPaths, *, weights: str = "best") -> Trained:
    """Return the trained net of a run, from its folder alone.

    Args:
        paths: the run.
        weights: best, or last.

    Raises:
        UserError: there is no such run or checkpoint, its weights are not finite, or an earlier version wrote it.
    """
    records, cfg = read_records(paths.log), load_config(paths.config)
    state = load_saved_weights(paths, weights)
    labels = tuple(records.start["data"]["classes"])
    with using(paths):
        preprocess = Preprocess.from_state(to_numpy(state["preprocess"])).without_copies()
        return Trained(
            architecture=cfg.model,
            n_outputs=check_loss(cfg, len(labels)),
            labels=labels,
            intake=_intake(paths, cfg, records, state=state),
            preprocess=preprocess,
            weights=as_float32(state["weights"]),
            facts=_facts(paths, cfg, records, state=state, weights=weights),
        )


def own_scores(paths: RunPaths, *, weights: str = "best") -> tuple[Callable[[Samples], Scores], str]:
    """Return the scores of the run's own learner as a function of raw samples, and in words what computes them.

    It computes on the CPU in fp32, or in fp64 if the run did: mixed precision would hide what an export changes.
    """
    records, cfg = read_records(paths.log), load_config(paths.config)
    state = load_saved_weights(paths, weights)
    was = str((records.start.get("arithmetic") or {}).get("precision", cfg.train.precision))
    precision = "fp64" if was == "fp64" else "fp32"
    changes = {"precision": precision, "compile": "off"}
    cfg = cfg.model_copy(update={"train": cfg.train.model_copy(update=changes), "device": "cpu"})
    preprocess = Preprocess.from_state(to_numpy(state["preprocess"])).without_copies()
    shape = tuple(records.start["data"]["shape"])
    n_classes = len(records.start["data"]["classes"])
    how = f"the run's own net in {precision} on the CPU"
    if was not in ("fp32", "fp64"):
        how += f" (training was in {was}, whose weights are float32 too)"
    if cfg.backend == "numpy":
        return _numpy_scores(cfg, state, shape, n_classes, preprocess=preprocess), f"{how}, computed by NumPy"
    return _torch_scores(cfg, state, shape, n_classes, preprocess=preprocess), how


def _torch_scores(
    cfg: RunConfig, state: State, shape: tuple[int, ...], n_classes: int, *, preprocess: Preprocess
) -> Callable[[Samples], Scores]:
    learner, _ = make_torch_learner(cfg, Task(shape, n_classes), device=CPU)
    learner.load_weights(state["weights"])
    learner.model.eval()

    def scores(x: Samples) -> Scores:
        split = place_torch(cfg, learner, Split(x, np.zeros(len(x), np.int64)), preprocess=preprocess)
        with torch.inference_mode():
            return two_columns(learner.model(split.prepared(0, len(x))).numpy())

    return scores


def _numpy_scores(
    cfg: RunConfig, state: State, shape: tuple[int, ...], n_classes: int, *, preprocess: Preprocess
) -> Callable[[Samples], Scores]:
    learner = make_numpy_learner(cfg, Task(shape, n_classes))
    learner.load_weights(state["weights"])

    def scores(x: Samples) -> Scores:
        split = place_numpy(cfg, Split(x, np.zeros(len(x), np.int64)), preprocess=preprocess)
        return two_columns(learner.network.forward(split.x, train=False))

    return scores


def _intake(paths: RunPaths, cfg: RunConfig, records: RunRecords, *, state: State) -> Intake:
    data = records.start["data"]
    shape = data.get("raw_shape")
    if shape is None:
        raise UserError(
            f"the log of {paths.root} does not say of which shape its samples are: an earlier version wrote it; "
            f"train the run again with --again"
        )
    return make_intake(cfg.data, data, state, shape=tuple(shape))


def _facts(paths: RunPaths, cfg: RunConfig, records: RunRecords, *, state: State, weights: str) -> dict[str, Any]:
    """Return where the net comes from, in plain values."""
    data, arithmetic = records.start["data"], records.start.get("arithmetic") or {}
    results = {
        split: {key: record[key] for key in ("accuracy", "loss", "n")} for split, record in records.finals.items()
    }
    return {
        "name": cfg.name,
        "folder": f"{paths.root.parent.name}/{paths.root.name}",
        "seed": cfg.seed,
        "backend": cfg.backend,
        "precision": arithmetic.get("precision", cfg.train.precision),
        "loss": cfg.loss.name,
        "weights": str(state.get("chosen", weights)),
        "step": state["step"],
        "data": data["label"],
        "data_sha256": data["sha256"],
        # Those of the log are of the chosen weights.
        "results": results if weights == "best" and records.is_over else {},
    }
