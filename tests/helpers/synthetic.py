"""Run folders with made-up logs, written as a real run writes them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter


def config_of(name: str = "toy", seed: int = 0, lr: float = 0.1, steps: int | None = 100, **changes: Any) -> dict:
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
            "evaluate": None,
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
    label: str = "digits",
    classes: int = 10,
    started: str = "2026-01-01T10:00:00+00:00",
    loss: Any = curve,
    **changes: Any,
) -> RunPaths:
    config = config_of(name, seed, lr, **{"steps": steps, **changes})
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
        "n_val": 50,
        "n_test": 50,
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
                log.write("eval", step=step, split=split, **values(step, 0.1), n=50, seconds=seconds)
    if status == "finished":
        for split in finals:
            matrix = [[9 if i == j else int((i + j) % 3 == 0) for j in range(classes)] for i in range(classes)]
            scores = values(steps, 0.12)
            log.write("eval", step=steps, split=split, **scores, n=50, seconds=seconds, final=True, confusion=matrix)
    if status is not None:
        chosen = {"chosen": {"weights": "best", "step": steps}, "weights_sha256": "cd"} if status == "finished" else {}
        total = {
            "import": 1.0,
            "data": 0.5,
            "build": 0.1,
            "train": seconds,
            "eval": 0.1,
            "total": seconds + 1.7,
        }
        best = {"step": steps, "metric": "accuracy", "value": 0.7} if "val" in splits else None
        tests = steps // eval_every if "test" in splits else 0
        log.write(
            "end",
            status=status,
            steps=step,
            best=best,
            test_evaluations=tests,
            seconds=total,
            images_per_second=1e3,
            **chosen,
        )
    log.close()
    return paths
