"""What a run's folder gives to what leaves it: the trained net, and the run's own scores to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlassign.data.bundle import Samples
from dlassign.deploy.classifier import Scores, classifier_of_run, recorded_intake
from dlassign.deploy.trained import Trained, as_float32
from dlassign.store.paths import RunPaths
from dlassign.train.checkpoint import using
from dlassign.train.plan import check_loss
from dlassign.train.saved import SavedRun, open_saved


def read_run(paths: RunPaths, *, weights: str = "best") -> Trained:
    """Return the trained net of a run, from its folder alone.

    Args:
        paths: the run.
        weights: best, or last.

    Raises:
        UserError: there is no such run or checkpoint, its weights are not finite, or an earlier version wrote it.
    """
    saved = open_saved(paths, weights=weights)
    labels, intake = recorded_intake(saved)
    with using(paths):
        return Trained(
            architecture=saved.cfg.model,
            n_outputs=check_loss(saved.cfg, len(labels)),
            labels=labels,
            intake=intake,
            preprocess=saved.preprocess.without_copies(),
            weights=as_float32(saved.state["weights"]),
            facts=_facts(saved, weights=weights),
        )


def own_scores(paths: RunPaths, *, weights: str = "best") -> tuple[Callable[[Samples], Scores], str]:
    """Return the scores of the run's own learner as a function of raw samples, and in words what computes them.

    It computes on the CPU in fp32, or in fp64 if the run did: mixed precision would hide what an export changes.
    """
    saved = open_saved(paths, weights=weights)
    was = _precision(saved)
    precision = "fp64" if was == "fp64" else "fp32"
    overrides = (f"train.precision={precision}", "train.compile=off")
    saved = open_saved(paths, weights=weights, device="cpu", overrides=overrides)
    how = f"the run's own net in {precision} on the CPU"
    if was not in ("fp32", "fp64"):
        how += f" (training was in {was}, whose weights are float32 too)"
    return classifier_of_run(saved).scores, f"{how}, computed by NumPy" if saved.cfg.backend == "numpy" else how


def _precision(saved: SavedRun) -> str:
    # Logs of earlier versions lack the arithmetic.
    return str((saved.records.start.get("arithmetic") or {}).get("precision", saved.cfg.train.precision))


def _facts(saved: SavedRun, *, weights: str) -> dict[str, Any]:
    """Return where the net comes from, in plain values."""
    cfg, records, root = saved.cfg, saved.records, saved.paths.root
    data = records.start["data"]
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
        # Those of the log are of the chosen weights.
        "results": results if weights == "best" and records.is_over else {},
    }
