"""Averages of weights against plain loops in double precision; evaluation and resume without losing a bit."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.config import optim as config
from dlassign.optim.averaging import EMA, Average, Lookahead, make_average

TOTAL = 23


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 3))


def move(model: nn.Module, step: int) -> None:
    """Change everything a step of training changes: parameters, running statistics, the count of batches."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    model(torch.randn(4, 2, 3, 3, generator=generator) + step)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("ramp", [False, True])
def test_ema_is_the_plain_recursion(every: int, ramp: bool) -> None:
    model = net()
    average = EMA(model, decay=0.7, every=every, ramp=ramp)
    expected = {name: tensor.double() for name, tensor in snapshot(model).items()}
    for step in range(1, TOTAL + 1):
        move(model, step)
        average.after_step(step)
        if step % every == 0:
            n = step / every
            decay = min(0.7, (1 + n) / (10 + n)) if ramp else 0.7
            now = snapshot(model)
            expected = {name: decay * s + (1 - decay) * now[name].double() for name, s in expected.items()}
            expected["1.num_batches_tracked"] = now["1.num_batches_tracked"]
    found = average.weights()
    close(found, expected)
    assert found["1.num_batches_tracked"].dtype == torch.int64
    assert not torch.equal(found["1.running_mean"], model.state_dict()["1.running_mean"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_ema_shows_the_average_for_an_evaluation_and_gives_every_bit_back(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    average = EMA(model, decay=0.9)
    for step in range(1, 6):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * step)
        average.after_step(step)
    before = snapshot(model)
    x = torch.randn(3, 2, 3, 3, dtype=dtype)
    model.eval()
    with torch.inference_mode():
        with average.swapped():
            inside, scores = snapshot(model), model(x)
        assert not torch.equal(scores, model(x))
    assert same(inside, average.weights())
    assert same(before, snapshot(model))
    with pytest.raises(KeyError), average.swapped():
        raise KeyError
    assert same(before, snapshot(model))
    model.train()
    model(x).sum().backward()  # the parameters can still be trained


def test_averages_of_half_precision_weights_are_kept_in_single() -> None:
    model = net().to(torch.bfloat16)
    average = EMA(model, decay=0.999, ramp=False)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    start = average.state_dict()["shadow"]["3.weight"].clone()
    average.after_step(1)
    found = average.state_dict()["shadow"]["3.weight"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, 0.999 * start + 0.001)
    assert average.weights()["3.weight"].dtype == torch.bfloat16


def test_lookahead_is_the_plain_loop() -> None:
    model, twin = net(), net()
    average = Lookahead(model, total=TOTAL, every=5, decay=0.95**5, power=3.0)
    slow = {name: tensor.double() for name, tensor in snapshot(twin).items() if tensor.is_floating_point()}
    for step in range(1, TOTAL + 1):
        move(model, step)
        average.after_step(step)
        move(twin, step)
        if step % 5 == 0:
            decay = 0.95**5 * (step / TOTAL) ** 3
            now = snapshot(twin)
            slow = {name: decay * s + (1 - decay) * now[name].double() for name, s in slow.items()}
        if step % 5 == 0 or step == TOTAL:
            twin.load_state_dict({**snapshot(twin), **{name: s.float() for name, s in slow.items()}})
        close(snapshot(model), snapshot(twin))
    assert TOTAL % 5 != 0  # the end is not one of the regular averages
    found = average.state_dict()["shadow"]
    assert all(torch.equal(tensor, found[name]) for name, tensor in snapshot(model).items() if name in slow)
    assert same(average.weights(), snapshot(model))
    with average.swapped():
        assert same(average.weights(), snapshot(model))


def test_lookahead_gives_what_stops_its_slow_weights_and_moves_it_no_more() -> None:
    model = net()
    average = Lookahead(model, total=TOTAL, every=5, decay=0.7)
    for step in range(1, 8):
        move(model, step)
        average.after_step(step)
    slow, fast = {name: s.clone() for name, s in average.state_dict()["shadow"].items()}, snapshot(model)
    stopped = ["0.weight", "1.running_mean", "1.num_batches_tracked"]
    average.stop(stopped)
    average.stop(stopped)  # again changes nothing
    found = snapshot(model)
    assert {name for name in found if not torch.equal(found[name], fast[name])} == {"0.weight", "1.running_mean"}
    for step in range(8, TOTAL + 1):
        average.after_step(step)
        for name in stopped[:2]:
            assert torch.equal(snapshot(model)[name], slow[name])
    assert not torch.equal(snapshot(model)["3.weight"], fast["3.weight"])


def averages(model: nn.Module) -> list[Average]:
    return [
        EMA(model, decay=0.9, every=3),
        Lookahead(model, total=TOTAL, every=5, decay=0.7),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["ema", "lookahead"])
@pytest.mark.parametrize("cut", [1, 7, 10])
def test_goes_on_bit_for_bit_from_its_state(which: int, cut: int) -> None:
    model = net()
    average = averages(model)[which]
    for step in range(1, cut + 1):
        move(model, step)
        average.after_step(step)
    file = io.BytesIO()
    torch.save({"weights": model.state_dict(), "average": average.state_dict()}, file)
    file.seek(0)
    state, twin = torch.load(file, weights_only=True), copy.deepcopy(net())
    resumed = averages(twin)[which]
    twin.load_state_dict(state["weights"])
    resumed.load_state_dict(state["average"])
    for step in range(cut + 1, TOTAL + 1):
        for m, a in ((model, average), (twin, resumed)):
            move(m, step)
            a.after_step(step)
    assert same(snapshot(model), snapshot(twin))
    assert same(average.weights(), resumed.weights())
    assert same(average.state_dict()["shadow"], resumed.state_dict()["shadow"])


def test_loading_copies_and_refuses_another_model() -> None:
    first, second = EMA(net(), decay=0.5), EMA(net(), decay=0.5)
    state = first.state_dict()
    second.load_state_dict(state)
    state["shadow"]["3.bias"].fill_(9.0)
    assert not torch.equal(second.weights()["3.bias"], state["shadow"]["3.bias"])
    with pytest.raises(RuntimeError, match="expected averages of"):
        EMA(nn.Linear(2, 2), decay=0.5).load_state_dict(state)


def test_tied_weights_and_unsaved_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("scratch", torch.zeros(2), persistent=False)
    average = EMA(model, decay=0.5, ramp=False)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    average.after_step(1)
    assert set(average.weights()) == set(model.state_dict())
    torch.testing.assert_close(average.weights()["1.weight"], start + 0.5)
    with average.swapped():
        torch.testing.assert_close(model[1].weight.detach(), start + 0.5)


def test_channels_last_weights_stay_so() -> None:
    model = net().to(memory_format=torch.channels_last)
    strides = model[0].weight.stride()
    average = EMA(model, decay=0.5)
    move(model, 1)
    average.after_step(1)
    assert average.weights()["0.weight"].stride() == strides
    with average.swapped():
        assert model[0].weight.stride() == strides


def test_from_the_config() -> None:
    model = net()
    assert make_average(None, model, total=9) is None
    assert isinstance(make_average(config.EMA(name="ema"), model, total=9), EMA)
    lookahead = make_average(config.Lookahead(name="lookahead", every=2, decay=0.5, power=0.0), model, total=9)
    start = model[3].bias.detach().clone()
    with torch.no_grad():
        model[3].bias.add_(1.0)
    assert lookahead is not None
    lookahead.after_step(1)
    torch.testing.assert_close(model[3].bias.detach(), start + 1)
    lookahead.after_step(2)
    torch.testing.assert_close(model[3].bias.detach(), start + 0.5)
