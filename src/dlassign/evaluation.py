"""Evaluate the saved weights of a run, with the preprocessing that was saved beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import Split
from dlassign.data.load import load_dataset
from dlassign.data.prepare import Preprocess
from dlassign.errors import DataError, UserError
from dlassign.runlog.paths import RunPaths
from dlassign.runlog.records import read_records
from dlassign.train.assemble import build_learner, dtypes
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint, to_numpy
from dlassign.train.device import resolve_device
from dlassign.train.learner import Evaluation, State
from dlassign.train.torch_learner import to_device


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation and what it is of."""

    name: str
    label: str
    classes: tuple[str, ...]
    step: int
    evaluation: Evaluation

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and sample count of each class; a score without a sample to count is None."""
        counts = self.evaluation.confusion
        rows = []
        for i, name in enumerate(self.classes):
            true, predicted, right = sum(counts[i]), sum(row[i] for row in counts), counts[i][i]
            rows.append(
                {
                    "class": name,
                    "precision": right / predicted if predicted else None,
                    "recall": right / true if true else None,
                    "f1": 2 * right / (true + predicted) if true + predicted else None,
                    "n": true,
                }
            )
        return rows


def evaluate_run(
    paths: RunPaths, split: str, *, weights: str = "best", device: str | None = None, overrides: tuple[str, ...] = ()
) -> Report:
    """Evaluate the best or last weights of a run on one of its splits.

    Args:
        paths: the run.
        split: train, val or test, dealt as the run dealt them.
        weights: best, or last.
        device: where to compute; None is what the run's config says.
        overrides: config keys to change, such as `data.root=...` where the data has moved.

    Raises:
        UserError: there is no such run, split or checkpoint, or the data is not that of the run.
    """
    records = read_records(paths.log)
    cfg = load_config(paths.config, overrides, device=device)
    state = _load_weights(paths, weights)
    dataset = load_dataset(cfg.data)
    trained_on = records.start["data"]["sha256"]
    if dataset.sha256 != trained_on:
        raise DataError(
            f"the data is not that of the run: its digest is {dataset.sha256[:12]}, the run's {trained_on[:12]}; "
            "point to the right data with --set data.root=..."
        )
    samples = {"train": dataset.train, "val": dataset.val, "test": dataset.test}[split]
    if samples is None:
        raise UserError(f"this run has no {split} split; it has train{' and val' * (dataset.val is not None)}")
    return Report(
        name=cfg.name,
        label=dataset.label,
        classes=dataset.classes,
        step=state["step"],
        evaluation=_evaluate(cfg, state, samples, n_classes=len(dataset.classes)),
    )


def _evaluate(cfg: RunConfig, state: State, samples: Split, *, n_classes: int) -> Evaluation:
    device = resolve_device(cfg.device)
    np_dtype, dtype = dtypes(cfg)
    preprocess = Preprocess.from_state(to_numpy(state["preprocess"]))
    prepared = Split(x=preprocess.apply(samples.x, np_dtype), y=samples.y)
    learner = build_learner(cfg, prepared.x.shape[1:], n_classes, device=device, dtype=dtype)
    try:
        learner.load_weights(state["weights"])
    except RuntimeError as error:
        raise UserError(
            f"the weights do not fit the model of config.yaml ({' '.join(str(error).split())[:200]})"
        ) from error
    return learner.evaluate(to_device(prepared, device, dtype=dtype))


def _load_weights(paths: RunPaths, weights: str) -> State:
    """Return step, weights and preprocessing. A run that is not over has its best weights inside its checkpoint."""
    if weights == "best" and paths.best.exists():
        return load_checkpoint(paths.best)
    state, _ = CheckpointStore(paths).load_newest()
    if state is None:
        raise UserError(f"{paths.root} has no checkpoint yet; train it first")
    if weights == "last":
        return {**state, "weights": state["learner"]["model"]}
    kept = state["hooks"].get("keep_best", {})
    if not kept.get("weights"):
        raise UserError(f"{paths.root} has no best weights yet; use --weights last")
    return {**state, "weights": kept["weights"], "step": kept["step"]}
