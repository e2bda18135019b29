"""Which executor trains a sweep, and what `auto` says of its choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.config import sweep as config
from dlassign.errors import ConfigError
from dlassign.sweep import executors
from dlassign.sweep.executors import choose_executor, gpus_for, make_executor
from dlassign.sweep.processes import ProcessesExecutor
from dlassign.sweep.serial import SerialExecutor
from dlassign.sweep.stacked import StackedExecutor
from helpers.tiny_trials import make_trial

AUTO = config.AutoExecutor(name="auto")


@pytest.fixture(autouse=True)
def _two_cores_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "usable_cores", lambda: 2)
    monkeypatch.setattr(executors.torch.cuda, "device_count", lambda: 0)


def configs(tmp_path: Path, count: int) -> list[executors.RunConfig]:
    return [make_trial(tmp_path, n, seed=n).config for n in range(count)]


def test_auto_stacks_many_equal_trials_and_else_uses_processes(tmp_path: Path) -> None:
    stacked = choose_executor(configs(tmp_path, 8), adaptive=False)
    assert isinstance(stacked, StackedExecutor)
    assert stacked.why == "stacked: models train side by side, auto: 8 trials of 1 shape in 1 stack"
    few = choose_executor(configs(tmp_path, 3), adaptive=False)
    assert isinstance(few, ProcessesExecutor)
    assert (
        few.why
        == "2 worker processes (auto: no stacking, since 3 trials are few for 1 shape, and each needs 4 on average)"
    )
    waits = choose_executor(configs(tmp_path, 8), adaptive=True)
    assert isinstance(waits, ProcessesExecutor)
    assert "the strategy waits for results" in waits.why


def test_auto_groups_what_shares_a_stack_and_says_so(tmp_path: Path) -> None:
    """Nets of unequal widths, activations and batch sizes share one; nets that are logged in other numbers do not."""
    equal = configs(tmp_path, 4)
    wider = [cfg.model_copy(update={"model": cfg.model.model_copy(update={"hidden": (9,)})}) for cfg in equal]
    bent = [cfg.model_copy(update={"model": cfg.model.model_copy(update={"activation": "tanh"})}) for cfg in equal]
    larger = [cfg.model_copy(update={"train": cfg.train.model_copy(update={"batch_size": 40})}) for cfg in equal]
    precise = [cfg.model_copy(update={"train": cfg.train.model_copy(update={"precision": "fp64"})}) for cfg in equal]
    chosen = choose_executor([*equal, *wider, *bent, *larger], adaptive=False)
    assert chosen.why == "stacked: models train side by side, auto: 16 trials of 4 shapes in 1 stack"
    chosen = choose_executor([*equal, *wider, *precise], adaptive=False)
    assert chosen.why == "stacked: models train side by side, auto: 12 trials of 3 shapes in 2 stacks"
    chosen = choose_executor([*equal, *bent[:3]], adaptive=False)
    assert isinstance(chosen, ProcessesExecutor)
    assert "7 trials are few for 2 shapes, and each needs 4 on average" in chosen.why


def test_auto_stacks_unequal_nets_only_where_that_is_faster_and_says_why(tmp_path: Path) -> None:
    """Equal nets gain in any case; large ones of unequal shape are no faster than in processes."""
    small = configs(tmp_path, 4)
    large = [cfg.model_copy(update={"train": cfg.train.model_copy(update={"batch_size": 200})}) for cfg in small]
    wide = [cfg.model_copy(update={"model": cfg.model.model_copy(update={"hidden": (1000,)})}) for cfg in large]
    assert isinstance(choose_executor([*small, *large], adaptive=False), StackedExecutor)
    assert isinstance(choose_executor(wide, adaptive=False), StackedExecutor)
    chosen = choose_executor([*large, *wide], adaptive=False)
    assert isinstance(chosen, ProcessesExecutor)
    # 64-8-10 and 64-1000-10 have 610 and 75,010 parameters.
    assert chosen.why == (
        "2 worker processes (auto: no stacking, since nets of unequal shape gain by it up to 4 million parameters "
        "times batch size, and these have 7.56 million on average)"
    )
    # Those with a stack of their own compute as equal nets do, and count for nothing.
    other = [one.model_copy(update={"train": one.train.model_copy(update={"precision": "bf16"})}) for one in wide]
    assert isinstance(choose_executor([*small, *large, *other], adaptive=False), StackedExecutor)
    assert "7.56 million" in choose_executor([*large, *wide, *other], adaptive=False).why


def test_auto_trains_one_trial_or_on_one_core_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_executor(configs(tmp_path, 1), adaptive=False), SerialExecutor)
    monkeypatch.setattr(executors, "usable_cores", lambda: 1)
    assert isinstance(choose_executor(configs(tmp_path, 8), adaptive=True), SerialExecutor)


def test_workers_are_as_many_as_asked_for_or_as_gpus_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = configs(tmp_path, 20)
    assert make_executor(AUTO, many, workers=3).slots == 3
    chosen = config.ProcessesExecutor(name="processes", trials_per_gpu=3)
    assert make_executor(chosen, many).slots == 2
    assert make_executor(chosen.model_copy(update={"workers": 5}), many).slots == 5
    monkeypatch.setattr(executors.torch.cuda, "device_count", lambda: 2)
    assert gpus_for(many) == []  # they ask for the CPU
    free = [one.model_copy(update={"device": "auto"}) for one in many]
    executor = make_executor(chosen, free)
    assert (executor.slots, executor.why) == (6, "6 worker processes on 2 GPUs")


@pytest.mark.parametrize(("device", "gpus"), [("cuda", ["cuda:0"]), ("cuda:1", ["cuda:1"])])
def test_trials_that_name_a_gpu_do_not_get_a_worker_for_each_core(
    device: str, gpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "usable_cores", lambda: 16)
    monkeypatch.setattr(executors.torch.cuda, "device_count", lambda: 2)
    named = [one.model_copy(update={"device": device}) for one in configs(tmp_path, 20)]
    assert gpus_for(named) == gpus
    assert make_executor(config.ProcessesExecutor(name="processes"), named).slots == 1


def test_workers_of_another_executor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers is for the executor processes, not serial"):
        make_executor(config.SerialExecutor(name="serial"), configs(tmp_path, 2), workers=2)


def test_stacked_says_which_trials_it_cannot_stack(tmp_path: Path) -> None:
    plain = configs(tmp_path, 3)
    in_numpy = [cfg.model_copy(update={"backend": "numpy"}) for cfg in plain]
    stacked = config.StackedExecutor(name="stacked")
    assert make_executor(stacked, plain).why == "stacked: models train side by side, as asked for"
    assert make_executor(stacked, [*plain, *in_numpy]).why == (
        "stacked: models train side by side, as asked for, but for 3 of 6 trials, one by one: backend numpy"
    )


def test_auto_sends_numpy_trials_to_processes_and_says_why(tmp_path: Path) -> None:
    """Only PyTorch models can be stacked."""
    in_numpy = [cfg.model_copy(update={"backend": "numpy"}) for cfg in configs(tmp_path, 8)]
    chosen = choose_executor(in_numpy, adaptive=False)
    assert isinstance(chosen, ProcessesExecutor)
    assert chosen.why == "2 worker processes (auto: no stacking, since backend numpy)"


def test_auto_stacks_what_can_be_stacked_if_that_is_at_least_half(tmp_path: Path) -> None:
    plain = configs(tmp_path, 8)
    in_numpy = [cfg.model_copy(update={"backend": "numpy"}) for cfg in plain]
    for alone in (1, 8):
        chosen = choose_executor([*in_numpy[:alone], *plain], adaptive=False)
        assert chosen.why == (
            "stacked: models train side by side, auto: 8 trials of 1 shape in 1 stack, "
            f"and {alone} one by one: backend numpy"
        )
    for mixed in ([*plain[:7], *in_numpy], [*plain[:3], in_numpy[0]]):  # fewer than half; too few for a stack
        chosen = choose_executor(mixed, adaptive=False)
        assert chosen.why == "2 worker processes (auto: no stacking, since backend numpy)"
