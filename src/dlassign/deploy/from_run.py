"""What a run's folder gives to what leaves it: the trained net, and the run's own scores to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dlassign.data.bundle import Samples
from dlassign.deploy.classifier import Scores, classifier_of_run, recorded_intake
from dlassign.deploy.trained import Trained, as_float32
from dlassign.train.checkpoint import using
from dlassign.train.plan import check_loss
from dlassign.train.saved import SavedRun


def trained_of(saved: SavedRun) -> Trained:
    """Return the trained net of a run, from its folder alone.

    Raises:
        UserError: its weights are not finite, or an earlier version wrote it.
    """
    labels, intake = recorded_intake(saved)
    with using(saved.paths):
        return Trained(
            architecture=saved.cfg.model,
            n_outputs=check_loss(saved.cfg, len(labels)),
            labels=labels,
            intake=intake,
            preprocess=saved.preprocess.without_copies(),
            weights=as_float32(saved.state["weights"]),
            facts=_facts(saved),
        )


def own_scores(saved: SavedRun) -> tuple[Callable[[Samples], Scores], str]:
    """Return the scores of the run's own learner as a function of raw samples, and in words what computes them.

    It computes on the CPU in fp32, or in fp64 if the run did: mixed precision would hide what an export changes.
    """
    was = _precision(saved)
    precision = "fp64" if was == "fp64" else "fp32"
    train = saved.cfg.train.model_copy(update={"precision": precision, "compile": "off"})
    saved = replace(saved, cfg=saved.cfg.model_copy(update={"train": train, "device": "cpu"}))
    how = f"the run's own net in {precision} on the CPU"
    if was not in ("fp32", "fp64"):
        how += f" (training was in {was}, whose weights are float32 too)"
    return classifier_of_run(saved).scores, f"{how}, computed by NumPy" if saved.cfg.backend == "numpy" else how


def _precision(saved: SavedRun) -> str:
    # Logs of earlier versions lack the arithmetic.
    return str((saved.records.start.get("arithmetic") or {}).get("precision", saved.cfg.train.precision))


def _facts(saved: SavedRun) -> dict[str, Any]:
    """Return where the net comes from, in plain values."""
    cfg, records, root = saved.cfg, saved.records, saved.paths.root
    data = records.start["data"]
    chosen = {"weights": saved.chosen, "step": saved.step}
    # Logs of early versions do not say which weights the results are of: the best.
    measured = (records.end or {}).get("chosen", {**chosen, "weights": "best"})
    results = {
        split: {key: record[key] for key in ("accuracy", "loss", "n")} for split, record in records.finals.items()
    }
    return {
        "name": cfg.name,
        "folder": f"{root.parent.name}/{root.name}",
        "seed": cfg.seed,
        "backend": cfg.backend,
        "precision": _precision(saved),
        "loss": cfg.loss.name,
        "weights": saved.chosen,
        "step": saved.step,
        "data": data["label"],
        "data_sha256": data["sha256"],
        "results": results if records.is_over and measured == chosen else {},
    }
