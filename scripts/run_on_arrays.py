"""Runs on samples that are in memory already, for the benchmarks; they train as run_experiment does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from dlassign.config.run import RunConfig
from dlassign.data.bundle import Dataset, Split
from dlassign.store.clock import WallClock
from dlassign.store.files import make_folder
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, Record
from dlassign.train.cache import DataCache
from dlassign.train.experiment import assemble
from dlassign.train.folder import RunFolder
from dlassign.train.loop import Alone
from dlassign.train.parts import Parts
from dlassign.train.run import Run


def assemble_on(cfg: RunConfig, train: Split, n_classes: int, *, cache: DataCache) -> Parts:
    """Return the parts of a run on the CPU.

    Args:
        cfg: the run; of its section `data` the preprocessing and the augmentation count.
        train: raw training samples; there is no other split.
        n_classes: number of classes.
        cache: keeps the placed samples for the next call, so that a turn that counts does not copy them.
    """
    classes = tuple(map(str, range(n_classes)))
    dataset = Dataset(train=train, classes=classes, sha256="0" * 64, label="made up")
    cache.get("dataset", cfg.data.model_dump_json(), lambda: dataset)
    return assemble(cfg, torch.device("cpu"), cache=cache)


@contextmanager
def open_run(
    cfg: RunConfig, parts: Parts, on_record: Callable[[Record], None] | None = None
) -> Iterator[tuple[Run, Alone]]:
    """Yield a run in a folder of its own, whose log is open, and its trainer."""
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder))
        make_folder(paths.checkpoints)
        with closing(MetricsWriter(paths.log, on_record=on_record)) as log:
            run = Run(cfg, RunFolder(paths), parts, log=log, say=lambda text: None, wall=WallClock())
            yield run, Alone(parts.learner, parts.batches, lr_factor=parts.plan.lr_factor)
