"""Run folders with made-up logs, written as a real run writes them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter


def config_of(
    name: str = "toy", seed: int = 0, lr: float = 0.1, steps: int | None = 100, evaluate: Any = None, **changes: Any
) -> dict:
    config = {
        "name": name,
        "backend": "torch",
        "data": {"name": "digits", "split": {"val": 0.15, "test": 0.2, "seed": 0}, "preprocess": []},
        "model": {"name": "mlp", "hidden": [100], "activation": "relu", "dropout": 0.0},
        "loss": {"name": "cross_entropy", "penalty": []},
        "optimizer": {"name": "adam", "lr": lr, "betas": [0.9, 0.999]},
        "train": {
            "batch_size": 10,
            "steps": steps,
            "epochs": None if steps else 2.0,
            "evaluate": evaluate,
            "metric": "accuracy",
        },
        "seed": seed,
        "device": "cpu",
    }
    for key, found in changes.items():
        section, _, leaf = key.partition("__")
        (config[section] if leaf else config)[leaf or section] = found
    return config


def curve(step: int, seed: int, lr: float) -> float:
    """A loss that falls faster with lr, with a little noise that depends on the seed."""
    return 2.3 * math.exp(-step * lr / 8) + 0.3 + 0.05 * math.sin(7.0 * step + 3 * seed) + 0.03 * seed


N = 50
"""Samples of val and of test."""
ALL = ("train", "val", "test")
EVALUATE = {
    ("val",): None,
    **{names: list(names) for names in (("test",), ("val", "test"), ("train",), ("train", "val"), ALL)},
}


def confusion(right: int, classes: int) -> list[list[int]]:
    """Counts of N samples dealt to the classes in turn, the last ones of which are taken for the next class."""
    counts = [[0] * classes for _ in range(classes)]
    for sample in range(N):
        k = sample % classes
        counts[k][k if sample < right else (k + 1) % classes] += 1
    return counts


def make_run(  # noqa: C901
    out: Path,
    *,
    name: str = "toy",
    seed: int = 0,
    lr: float = 0.1,
    steps: int = 100,
    every: int = 2,
    splits: Sequence[str] = ("val",),
    eval_every: int = 10,
    nan_from: int | None = None,
    penalty: float | None = None,
    status: str | None = "finished",
    finals: Sequence[str] = ("val", "test"),
    matrix: bool = False,
    label: str = "digits",
    classes: int = 10,
    started: str = "2026-01-01T10:00:00+00:00",
    loss: Any = curve,
    **changes: Any,
) -> RunPaths:
    """Write the log of a run that agrees with itself; matrix: with confusion counts, and so whole samples right."""
    config = config_of(name, seed, lr, **{"steps": steps, "evaluate": EVALUATE.get(tuple(splits)), **changes})
    if status == "diverged" and nan_from is None:
        nan_from = steps - steps % every  # nothing else ends a run so
    if status == "finished" and nan_from is not None:
        status = "diverged"
    digest = hashlib.sha256(repr((name, lr, sorted(changes.items()), label)).encode()).hexdigest()[:8]
    paths = RunPaths(out / name / f"{digest}-s{seed}")
    paths.root.mkdir(parents=True)
    log = MetricsWriter(paths.log)
    names = [f"{i}" for i in range(classes)]
    data = {
        "label": label,
        "sha256": "ab",
        "shape": [64],
        "classes": names,
        "n_train": 500,
        **{f"n_{split}": N for split in ("val", "test") if split in finals or status != "finished"},
    }
    log.write(
        "start",
        schema=1,
        time=started,
        name=name,
        seed=seed,
        config=config,
        environment={},
        data=data,
        n_params=7510,
    )

    def values(step: int, extra: float) -> dict[str, Any]:
        bad = nan_from is not None and step >= nan_from
        found = math.nan if bad else loss(step, seed, lr) + extra
        return {
            "loss": found,
            "accuracy": 0.1 if bad else min(0.99, math.exp(-found / 2)),
            "epoch": step / 50,
        }

    def evaluated(step: int, extra: float) -> dict[str, Any]:
        found = values(step, extra)
        return {**found, "accuracy": round(found["accuracy"] * N) / N} if matrix else found

    best: dict[str, Any] | None = None
    metric = config["train"].get("metric", "accuracy")
    sign = 1 if metric == "accuracy" else -1
    for step in range(1, steps + 1):
        seconds = step * 0.01 * (1 + seed / 10)
        if step % every == 0:
            train = values(step, 0.0)
            if penalty is not None:
                train |= {"loss": train["loss"] + penalty, "penalty": penalty}
            log.write("train", step=step, **train, lr=lr, n=10 * every, seconds=seconds)
            if nan_from is not None and step >= nan_from:
                break
        if step % eval_every == 0:
            for split in splits:
                scores = evaluated(step, 0.1)
                n = 10 * N if split == "train" else N
                log.write("eval", step=step, split=split, **scores, n=n, seconds=seconds)
                value = scores[metric]
                if split == "val" and math.isfinite(value) and (best is None or sign * value > sign * best["value"]):
                    best = {"step": step, "metric": metric, "value": value}
    chosen_step = best["step"] if best else steps
    if status == "finished":
        for split in finals:
            # Those of the same weights during training, or a little worse ones.
            scores = evaluated(chosen_step, 0.1 if split in splits else 0.12)
            counts = {"confusion": confusion(round(scores["accuracy"] * N), classes)} if matrix else {}
            log.write("eval", step=chosen_step, split=split, **scores, n=N, seconds=seconds, final=True, **counts)
    if status is not None:
        weights = {"weights": "best" if best else "last", "step": chosen_step}
        chosen = {"chosen": weights, "weights_sha256": "cd"} if status == "finished" else {}
        total = {
            "import": 1.0,
            "data": 0.5,
            "build": 0.1,
            "train": seconds,
            "eval": 0.1,
            "total": seconds + 1.7,
        }
        tests = steps // eval_every if "test" in splits else 0
        log.write(
            "end",
            status=status,
            steps=step,
            best=best,
            test_evaluations=tests,
            seconds=total,
            images_per_second=step // every * every * 10 / seconds,
            **chosen,
        )
    log.close()
    # As an earlier version left it, so that a test may edit it.
    paths.log.write_text(re.sub(r',"chain":"[0-9a-f]+"', "", paths.log.read_text()))
    return paths
