"""From the sweep file's executor to what trains; `auto` chooses one and says why."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import assert_never

import torch

from dlassign.config import sweep as config
from dlassign.config.run import RunConfig
from dlassign.data.bundle import DataInfo
from dlassign.data.image_decode import usable_cores
from dlassign.errors import ConfigError, counted
from dlassign.sweep.processes import ProcessesExecutor
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.trial import Executor

STACK_FROM = 4
"""Trials of one shape, on average, from which training them together pays."""
STACK_UNEQUAL = 4 * 10**6
"""Parameters times batch size, on average, up to which nets of unequal shape share a stack.

With more a step is mostly matrix products, which gain nothing side by side. Chosen between the two workloads of unequal
nets in scripts/bench_sweep.py, whose page is docs/benchmarks/sweep.md.
"""


def make_executor(
    chosen: config.ExecutorConfig, configs: Sequence[RunConfig], *, adaptive: bool = False, workers: int | None = None
) -> Executor:
    """Return what trains the trials of a sweep.

    Args:
        chosen: the sweep file's section.
        configs: of the trials that are to be trained; of an adaptive strategy, of some like them.
        adaptive: whether the strategy chooses a trial by the results of those before.
        workers: the number of worker processes, from the command line.

    Raises:
        ConfigError: `workers` with an executor that has none.
        UserError: a package is missing; the message says how to install it.
    """
    if workers is not None and not isinstance(chosen, config.AutoExecutor | config.ProcessesExecutor):
        raise ConfigError(f"--workers is for the executor processes, not {chosen.name}; leave it out")
    match chosen:
        case config.AutoExecutor():
            return choose_executor(configs, adaptive=adaptive, workers=workers)
        case config.SerialExecutor():
            return SerialExecutor()
        case config.ProcessesExecutor():
            return make_processes(configs, workers=workers or chosen.workers, trials_per_gpu=chosen.trials_per_gpu)
        case config.StackedExecutor():
            from dlassign.stacked.keys import stack_key
            from dlassign.sweep.stacked import StackedExecutor

            alone = [reason for key, reason in map(stack_key, configs) if key is None]
            rest = f", but for {len(alone)} of {len(configs)} trials, one by one: {alone[0]}" if alone else ""
            return StackedExecutor(at_most=chosen.at_once, why=f"as asked for{rest}")
        case config.RayExecutor():
            from dlassign.sweep.ray.executor import RayExecutor

            return RayExecutor(
                address=chosen.address,
                cpus_per_trial=chosen.cpus_per_trial,
                gpus_per_trial=chosen.gpus_per_trial,
                retries=chosen.retries,
            )
        case _:
            assert_never(chosen)


def choose_executor(configs: Sequence[RunConfig], *, adaptive: bool, workers: int | None = None) -> Executor:
    """Return the executor that suits the trials and the machine."""
    if workers is not None:
        return make_processes(configs, workers=workers, why="auto: --workers was given")
    if len(configs) <= 1 and not adaptive:
        return SerialExecutor(f"auto: {len(configs) or 'no'} trial to train")
    stacks, obstacle = group(configs)
    shapes = sum(map(len, stacks))
    together = sum(len(equal) for stack in stacks for equal in stack.values())
    alone = len(configs) - together
    if adaptive:
        why = "the strategy waits for results"
    elif alone > together:
        why = obstacle
    elif together < STACK_FROM * shapes:
        few = f"{len(configs)} trials are few for {counted(shapes, 'shape')}, and each needs {STACK_FROM} on average"
        why = obstacle or few
    else:
        # Shapes that each have a stack of their own compute as equal nets do.
        unequal = [stack.values() for stack in stacks if len(stack) > 1]
        why = too_large([cfg for stack in unequal for equal in stack for cfg in equal])
    if not why:
        from dlassign.sweep.stacked import StackedExecutor

        grouped = f"{counted(shapes, 'shape')} in {counted(len(stacks), 'stack')}"
        one_by_one = f", and {alone} one by one: {obstacle}" if alone else ""
        return StackedExecutor(why=f"auto: {together} trials of {grouped}{one_by_one}")
    if usable_cores() == 1 and not gpus_for(configs):
        return SerialExecutor(f"auto: one CPU core, and no stacking, since {why}")
    return make_processes(configs, workers=None, why=f"auto: no stacking, since {why}")


def group(configs: Sequence[RunConfig]) -> tuple[list[dict[tuple[str, int], list[RunConfig]]], str]:
    """Return each stack as its configs by shape, and why the other configs cannot be stacked ("" if all can).

    What has one shape computes as one batched model: equal nets that see batches of one size.
    """
    from dlassign.stacked.keys import model_key, stack_key

    stacks: dict[str, dict[tuple[str, int], list[RunConfig]]] = {}
    obstacle = ""
    for cfg in configs:
        key, reason = stack_key(cfg)
        if key is None:
            obstacle = obstacle or reason
        else:
            stacks.setdefault(key, {}).setdefault((model_key(cfg), cfg.train.batch_size), []).append(cfg)
    return list(stacks.values()), obstacle


def too_large(configs: Sequence[RunConfig]) -> str:
    """Return why nets, each in a stack with nets of another shape, would train no faster in it, or ""."""
    from dlassign.data.load import describe
    from dlassign.data.prepare import preprocessed_shape
    from dlassign.nets.build import check_model
    from dlassign.nets.objective import n_scores
    from dlassign.train.plan import samples_a_step
    from dlassign.train.warm_start import steps_by_default

    infos: dict[str, DataInfo] = {}  # mostly all have the same data
    sizes = []
    for cfg in configs:
        key = cfg.data.model_dump_json()
        info = infos[key] = infos.get(key) or describe(cfg.data)
        in_shape = preprocessed_shape(info.shape, steps_by_default(cfg.data, cfg.init))
        # Where only the data can tell, the width before preprocessing stands for the one after.
        n_params = check_model(cfg.model, in_shape or (prod(info.shape),), n_scores(cfg.loss, info.n_classes))
        sizes.append(n_params * samples_a_step(cfg.train, info.n_train))
    mean = sum(sizes) / max(len(sizes), 1)
    if mean <= STACK_UNEQUAL:
        return ""
    most, found = (f"{number / 1e6:.3g}" for number in (STACK_UNEQUAL, mean))
    return (
        f"nets of unequal shape gain by it up to {most} million parameters times batch size, and these have {found} "
        "million on average"
    )


def make_processes(
    configs: Sequence[RunConfig], *, workers: int | None, trials_per_gpu: int = 1, why: str = ""
) -> ProcessesExecutor:
    """Return worker processes: as many as asked for, or as the GPUs or else the CPU cores allow."""
    devices = gpus_for(configs)
    number = workers or len(devices) * trials_per_gpu or usable_cores()
    number = max(1, min(number, len(configs)) if configs and workers is None else number)
    text = f"{number} worker process{'es' * (number != 1)}"
    if devices:
        text += f" on {len(devices)} GPU{'s' * (len(devices) != 1)}"
    return ProcessesExecutor(number, devices=devices, why=f"{text} ({why})" if why else text)


def gpus_for(configs: Sequence[RunConfig]) -> list[str]:
    """Return the CUDA devices that trials compute on: all for one that leaves its device open, else those named."""
    named = {cfg.device for cfg in configs if cfg.backend == "torch"}
    found = {"cuda:0" if name == "cuda" else name for name in named if name.startswith("cuda")}
    if "auto" in named:
        found |= {f"cuda:{index}" for index in range(torch.cuda.device_count())}
    return sorted(found, key=lambda name: int(name.partition(":")[2]))
