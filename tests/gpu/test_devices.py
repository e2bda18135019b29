"""Runs that change their device, the second of two GPUs, and what GPUs are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from dlassign.checks.shapes import check_fit
from dlassign.optim.muon import fast_dtype
from dlassign.train.arithmetic import fast_bf16
from dlassign.train.make_torch import make_torch_learner
from dlassign.train.task import Task
from helpers.gpu_cases import QUICK, config_of, parts_of, plain, same, small_config, take
from helpers.pretended_gpu import AMPERE, TURING, pretended_gpu
from helpers.pretended_tensors import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    with pretended_gpu() as machine:
        yield machine


@pytest.mark.gpu
@pytest.mark.parametrize(("here", "there"), [("cpu", "cuda:0"), ("cuda:0", "cpu")])
@pytest.mark.parametrize("case", ["mlp", "mnist_99, fp32", "mlp, adamw, ema, window"])
def test_a_checkpoint_goes_on_on_another_device(case: str, here: str, there: str) -> None:
    cfg = config_of(case)
    began = parts_of(cfg, here)
    take(began, 0, 3)
    state = plain(began.learner.state_dict())
    goes_on = parts_of(cfg, there, recorded=began.learner.arithmetic.record())
    goes_on.learner.load_state_dict(state)
    same(plain(goes_on.learner.weights()), plain(began.learner.weights()))
    losses = goes_on.learner.read(take(goes_on, 3, 6)).losses
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("case", ["mlp", "cifar10_82, every augmentation", "vgg, fp16, accumulate, dropout"])
def test_all_is_on_the_second_gpu_if_that_is_asked_for(case: str) -> None:
    with pretended_gpu(AMPERE, AMPERE) as machine:
        parts = parts_of(config_of(case), "cuda:1")
        first = machine.generators[0].get_state()
        take(parts, 0, 3)
        parts.learner.evaluate(parts.splits["test"])
        parts.learner.load_state_dict(plain(parts.learner.state_dict()))
        assert machine.used == {torch.device("cuda:1")}
        assert torch.equal(machine.generators[0].get_state(), first)


def test_a_gpu_is_asked_whether_it_has_bf16_not_the_first_one() -> None:
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    with pretended_gpu(TURING, AMPERE):
        assert (fast_bf16(first), fast_bf16(second)) == (None, "a GPU with bf16")
        assert (fast_dtype(first), fast_dtype(second)) == (torch.float32, torch.bfloat16)
    with pretended_gpu(AMPERE, TURING):
        assert fast_bf16(second) is None
        assert fast_dtype(second) == torch.float32


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp64", False)])
@pytest.mark.parametrize("trains", [True, False])
def test_fp32_is_fp32_and_kernels_are_deterministic_in_training_and_evaluation(
    precision: str, allowed: bool, trains: bool
) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = False, True, not allowed
    matmul.allow_tf32 = not allowed
    cfg = small_config(QUICK, f"train.precision={precision}")
    if trains:
        parts_of(cfg, "cuda:0")
    else:
        make_torch_learner(cfg, Task((64,), 10), device=torch.device("cuda:0"))  # as `evaluate` does
    assert (cudnn.allow_tf32, matmul.allow_tf32) == (allowed, allowed)
    assert (cudnn.deterministic, cudnn.benchmark) == (True, False)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "changes",
    [
        ("model={name: vgg, stages: [[4], [8]]}", "optimizer={name: muon, rest: {name: sgd, lr: 0.1}}"),
        (
            "model={name: vgg, stages: [[4], [8]], dropout: 0.1}",
            "train.precision=fp16",
            "train.average={name: ema, decay: 0.9}",
        ),
        ("train.precision=tf32",),
        (),
    ],
)
def test_a_config_is_checked_on_a_gpu(changes: tuple[str, ...]) -> None:
    assert check_fit(small_config(QUICK, "device=cuda", *changes)).n_params
