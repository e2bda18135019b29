"""The pretended GPU refuses and counts what a real one does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.gpu import waiting_is_an_error
from helpers.pretended_gpu import AMPERE, pretended_gpu
from helpers.pretended_tensors import Machine, OnGpu, Waited

Act = Callable[[Tensor], Any]


@pytest.fixture(autouse=True)
def machine() -> Iterator[Machine]:
    with pretended_gpu(AMPERE, AMPERE) as machine:
        yield machine


def there() -> Tensor:
    return torch.arange(6.0).view(2, 3).to("cuda", non_blocking=True)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x: x + torch.ones(3), "on the same device"),
        (lambda x: torch.cat([x, torch.ones(2, 3)]), "on the same device"),
        (lambda x: torch.stack([x.sum(), torch.ones(())]), "on the same device"),
        (lambda x: x.index_select(0, torch.tensor([0])), "on the same device"),
        (lambda x: x.to("cuda:1") + x, "operands on"),
        (lambda x: x.to("cuda:2"), "invalid device ordinal"),
        (lambda x: x.pin_memory(), "cannot pin"),
        (lambda x: x.normal_(generator=torch.Generator()), "generator"),
        (lambda x: torch.rand(3, device="cuda", generator=torch.Generator()), "generator"),
        (lambda x: torch.rand(3, device="cuda:0", generator=torch.Generator("cuda:1")), "generator"),
        (lambda x: torch.cuda.set_rng_state(torch.get_rng_state()), "wrong size"),
        (lambda x: nn.Linear(3, 2)(x), "on the same device"),
    ],
)
def test_what_a_gpu_refuses(act: Act, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        act(there())


def test_no_array_is_made_of_it() -> None:
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        there().numpy()


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.unique(x),
        lambda x: torch.tensor(1.0, device="cuda"),
        lambda x: torch.ones(2).to("cuda"),
        lambda x: torch.ones(2).cuda(),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: f"{x}",
        lambda x: torch.cuda.synchronize(),
    ],
)
def test_what_a_gpu_is_waited_for(act: Act, machine: Machine) -> None:
    x = there()
    act(x)
    assert len(machine.waits) >= 1
    with pytest.raises(Waited), waiting_is_an_error():
        act(x)


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x @ x.mT,
        lambda x: x.to(torch.bfloat16),
        lambda x: torch.zeros(3, device="cuda"),
        lambda x: torch.ones(2).pin_memory().to("cuda", non_blocking=True),
        lambda x: x.copy_(torch.ones(3), non_blocking=True),
        lambda x: nn.functional.dropout(x, 0.5),
        lambda x: x + torch.tensor(1.0),
        lambda x: torch.zeros_like(x, device="cpu"),
    ],
)
def test_what_it_is_not_waited_for(act: Act) -> None:
    x = there()
    with waiting_is_an_error():
        act(x)


def test_values_are_those_of_the_cpu(machine: Machine) -> None:
    x, y = torch.randn(4, 3), torch.randn(3)
    loss = nn.functional.mse_loss(nn.functional.linear(x.cuda(), y.cuda()), x.cuda().sum(1))
    assert loss.device == torch.device("cuda:0")
    assert torch.equal(loss.cpu(), nn.functional.mse_loss(nn.functional.linear(x, y), x.sum(1)))
    assert machine.uploads == 3
    assert machine.launches > 0


def test_each_gpu_draws_from_a_generator_of_its_own() -> None:
    torch.manual_seed(3)
    host, state = torch.get_rng_state(), torch.cuda.get_rng_state()
    first = torch.rand(5, device="cuda")
    dropped = nn.functional.dropout(torch.ones(64, device="cuda"), 0.5)
    other = torch.rand(5, device="cuda:1")
    assert torch.equal(torch.get_rng_state(), host)
    assert torch.equal(first.cpu(), other.cpu())
    assert not torch.equal(first.cpu(), torch.rand(5))
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(5, device="cuda").cpu(), first.cpu())
    assert torch.equal(nn.functional.dropout(torch.ones(64, device="cuda"), 0.5).cpu(), dropped.cpu())


def test_a_generator_gives_its_state_in_the_form_of_its_device() -> None:
    here, on_gpu = torch.Generator(), torch.Generator("cuda")
    assert on_gpu.device == torch.device("cuda:0")
    on_gpu.set_state(torch.cuda.get_rng_state())
    with pytest.raises(RuntimeError, match="wrong size"):
        on_gpu.set_state(here.get_state())


def test_fused_kernels_refuse_unequal_strides_and_steps_on_the_cpu() -> None:
    from torch.optim.sgd import sgd

    weight, grad = torch.randn(4, 3, 2, 2).cuda(), torch.randn(4, 3, 2, 2).cuda()
    turned = grad.to(memory_format=torch.channels_last)

    def update(gradient: Tensor) -> None:
        sgd([weight], [gradient], [None], weight_decay=0.0, momentum=0.0, lr=1.0, dampening=0.0, nesterov=False,
            maximize=False, fused=True)  # fmt: skip

    expected = weight.cpu() - grad.cpu()
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="strides"):
            update(turned)
        update(grad)
    assert torch.equal(weight.cpu(), expected)


def test_modules_move_copy_and_train_there() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to("cuda:0")
    twin = copy.deepcopy(model)
    with torch.autocast("cuda", torch.bfloat16):
        model(there()).float().sum().backward()
    assert all(isinstance(p, OnGpu) and isinstance(p, nn.Parameter) for p in twin.parameters())
    assert all(isinstance(p.grad, OnGpu) for p in model.parameters())
    assert model[1].running_mean.is_cuda
    with torch.inference_mode():
        assert model.eval()(there()).is_cuda


def test_all_is_put_back() -> None:
    machine = pretended_gpu()
    before, deterministic = torch.Generator, torch.backends.cudnn.deterministic
    with machine:
        torch.backends.cudnn.deterministic = not deterministic
        assert torch.cuda.get_device_name("cuda:0") == "Pretended GPU 0"
    assert torch.Generator is before
    assert torch.backends.cudnn.deterministic is deterministic
