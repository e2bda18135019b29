"""Steps of every kind of training on a GPU, or a pretended one: no mixed devices, no waiting, exact resume."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from helpers.gpu import waiting_is_an_error
from helpers.gpu_cases import CASES, config_of, parts_of, plain, same, take
from helpers.pretended_gpu import pretended_gpu

SLOW = {
    *("resnet18, resize, dropout", "cifar_improved"),  # of fixed widths
    *("mnist_99, fp32", "mnist_99, tf32", "cifar10_82", "cifar10_82, fp16, ema, clip", "cifar10_82, channels_last off"),
    *("cifar10_best", "vgg, fp16, accumulate, dropout"),  # their parts are in other cases
}
EVERY = [pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES]
ENOUGH = {"mlp", "mlp, sgd, clip norm, penalty", "mnist_99, fp32", "cifar10_82, accumulate, lookahead", "vgg", "preact"}
"""One of each family: the rest go the same ways of CUDA."""
OF_THE_CPU = [
    case if case in ENOUGH else pytest.param(case, marks=pytest.mark.slow)
    for case in CASES
    if "fp16" not in case and "tf32" not in case
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.gpu
@pytest.mark.parametrize("case", EVERY)
def test_steps_stay_there_never_wait_and_resume_exactly(case: str) -> None:
    cfg = config_of(case)
    parts = parts_of(cfg, "cuda:0")
    stats = take(parts, 0, 1)
    with waiting_is_an_error():
        stats += take(parts, 1, 4)
    state = plain(parts.learner.state_dict())
    losses = parts.learner.read(stats).losses
    evaluation = parts.learner.evaluate(parts.splits["test"])
    if parts.learner.views is not None:
        parts.learner.evaluate(parts.splits["test"], views=parts.learner.views)
    measured = parts.learner.statistics(parts.splits["train"], 8)  # which the run that goes on below does without
    assert measured is not None
    with waiting_is_an_error():
        take(parts, 4, 6)
    unbroken = plain(parts.learner.state_dict())
    torch.rand(3, device="cuda")  # whatever else draws there does not count
    again = parts_of(cfg, "cuda:0")
    again.learner.load_state_dict(state)
    take(again, 4, 6)
    same(plain(again.learner.state_dict()), unbroken)
    assert all(value.is_cuda for value in again.learner.weights().values())
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(map(sum, evaluation.confusion)) == evaluation.n


@pytest.mark.parametrize("case", OF_THE_CPU)
def test_they_are_those_of_the_cpu(case: str) -> None:
    """The pretended GPU computes on the CPU, but goes the ways of CUDA; it has dropout masks of its own."""
    plainly = {"dropout": "model.dropout=0", "muon": "optimizer.ns_precision=fp32"}
    asked = str(config_of(case).model_dump())
    cfg = config_of(case, *[change for word, change in plainly.items() if f"'{word}'" in asked])
    host = parts_of(cfg, "cpu")
    with pretended_gpu():
        there = parts_of(cfg, "cuda:0", recorded=host.learner.arithmetic.record())
        found = there.learner.read(take(there, 0, 4)).losses
        evaluated = there.learner.evaluate(there.splits["test"])
        state = plain(there.learner.state_dict())
        measured = there.learner.statistics(there.splits["train"], 8)
        same(plain(there.learner.state_dict()), state)
    expected = host.learner.read(take(host, 0, 4)).losses
    expected_norms = host.learner.statistics(host.splits["train"], 8)
    assert measured is not None
    assert expected_norms is not None
    autocast = host.learner.arithmetic.autocast
    assert found == pytest.approx(expected, rel=0.05 if autocast else 1e-4)
    if not autocast:
        assert measured.weights == pytest.approx(expected_norms.weights, rel=1e-3)
        assert evaluated.loss == pytest.approx(host.learner.evaluate(host.splits["test"]).loss, rel=1e-3)


def test_rand_augment_works_there_though_it_waits() -> None:
    with pretended_gpu() as machine:
        parts = parts_of(config_of("cifar10_82", "data.augment=[{name: rand_augment}]"), "cuda:0")
        machine.reset()
        take(parts, 0, 2)
        assert machine.waits
