"""StackedFunctional: models with convolutions compute in a stack what they compute alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dlassign.nets.eecs import eecs_convnet
from dlassign.nets.eecs_cifar import eecs_cifar_base
from dlassign.nets.mlp import mlp
from dlassign.nets.preact import preact_resnet
from dlassign.nets.vgg import vgg
from dlassign.nets.whitened import whitened_cnn
from dlassign.stacked.sequential import StackedSequential
from dlassign.stacked.vmap import StackedFunctional, make_stack

K, CLASSES = 3, 5
Make = Callable[[], nn.Module]


def eecs(norm: str = "none", *, channels: int = 3) -> Make:
    return lambda: eecs_convnet(
        (channels, 13, 13),
        n_outputs=CLASSES,
        filters=4,
        kernel_size=3,
        hidden=6,
        norm=norm,
    )


MODELS: dict[str, Make] = {
    "eecs": eecs(),
    "eecs one channel": eecs(channels=1),
    "eecs batch norm": eecs("batch"),
    "eecs batch norm from zero": eecs("batch_from_zero"),
    "eecs norm by autograd": eecs("batch_autograd"),
    "eecs norm by hand": eecs("batch_manual"),
    "eecs norm without running statistics": eecs("batch_without_running"),
    "cifar base": lambda: eecs_cifar_base((3, 32, 32), n_outputs=CLASSES),
    "vgg": lambda: vgg((3, 13, 13), [[4], [5, 6]], n_outputs=CLASSES, hidden=(7,)),
    "vgg averages": lambda: vgg((3, 13, 13), [[4], [5]], n_outputs=CLASSES, pool="avg", global_pool="avg"),
    "preact": lambda: preact_resnet((3, 13, 13), (4, 5), n_outputs=CLASSES, blocks=(1, 1)),
    "whitened": lambda: whitened_cnn((3, 13, 13), (24,), n_outputs=CLASSES, depths=(1,)),
}


def stack_and_alone(
    make: Make, *, dtype: torch.dtype = torch.float64, channels_last: bool = False, autocast: torch.dtype | None = None
) -> tuple[StackedFunctional, list[nn.Module]]:
    """Return a stack of new models, and equal models that are in none."""
    torch.manual_seed(7)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    models = [make().to(dtype).to(memory_format=layout) for _ in range(K)]
    alone = copy.deepcopy(models)
    return StackedFunctional(models, dtype=autocast), alone


def images(make: Make, batch: int, *, shared: bool, dtype: torch.dtype = torch.float64) -> Tensor:
    first = next(module for module in make().modules() if isinstance(module, nn.Conv2d))
    size = 32 if sum(isinstance(module, nn.MaxPool2d) for module in make().modules()) == 5 else 13
    torch.manual_seed(batch)
    return torch.randn(*(() if shared else (K,)), batch, first.in_channels, size, size, dtype=dtype)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shared", [True, False], ids=["one batch", "own batches"])
@pytest.mark.parametrize("name", MODELS)
def test_scores_gradients_and_statistics_are_those_of_each_model_alone(
    name: str, *, shared: bool, channels_last: bool
) -> None:
    make = MODELS[name]
    stack, alone = stack_and_alone(make, channels_last=channels_last)
    for batch in (6, 4):
        x = images(make, batch, shared=shared)
        upstream = torch.randn(K, batch, CLASSES, dtype=x.dtype)
        scores = stack.scores(x, training=True)
        (scores * upstream).sum().backward()  # type: ignore[no-untyped-call]
        stack.tensors.hand_out_gradients()
        for k, model in enumerate(alone):
            model.zero_grad()
            own = x if shared else x[k]
            expected = model(own.contiguous(memory_format=torch.channels_last) if channels_last else own)
            (expected * upstream[k]).sum().backward()
            torch.testing.assert_close(scores[k], expected, rtol=1e-11, atol=1e-12)
            assert_equal_models(stack.models[k], model)
    with torch.inference_mode():
        found = stack.scores(x, training=False)
    for k, model in enumerate(alone):
        torch.testing.assert_close(found[k], model.eval()(x if shared else x[k]), rtol=1e-11, atol=1e-12)


def assert_equal_models(stacked: nn.Module, alone: nn.Module) -> None:
    for p, q in zip(stacked.parameters(), alone.parameters(), strict=True):
        assert p.stride() == q.stride()
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-11)
    for name, buffer in alone.named_buffers():
        torch.testing.assert_close(stacked.get_buffer(name), buffer, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["eecs batch norm", "eecs batch norm from zero", "vgg", "preact"])
def test_mixed_precision_rounds_as_autocast_does(name: str) -> None:
    """In bf16 the stack is as far from float32 as each model alone, and running statistics are of bf16 values."""
    make, low = MODELS[name], torch.bfloat16
    stack, alone = stack_and_alone(make, dtype=torch.float32, autocast=low)
    exact, _ = stack_and_alone(make, dtype=torch.float32)
    x = images(make, 16, shared=True, dtype=torch.float32)
    truth, scores = exact.scores(x, training=True), stack.scores(x, training=True)
    assert scores.dtype == low
    for k, model in enumerate(alone):
        with torch.autocast("cpu", low):
            expected = model(x)
        usual = (expected - truth[k]).norm()
        assert usual > 1e-4 * truth[k].norm()
        assert (scores[k] - truth[k]).norm() < 2 * usual
        assert (scores[k] - expected).norm() < 2 * usual


def test_convolutions_take_bf16() -> None:
    """Autocast alone leaves them in float32 within vmap; samples may be in bf16 already."""
    stack, alone = stack_and_alone(MODELS["eecs"], dtype=torch.float32, autocast=torch.bfloat16)
    x = images(MODELS["eecs"], 8, shared=True, dtype=torch.float32)
    scores = stack.scores(x.bfloat16(), training=True)
    torch.testing.assert_close(scores, stack.scores(x, training=True), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.stack([model(x) for model in alone])
    assert (scores - expected).norm() < 1e-2 * expected.norm()
    scores.float().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in stack.tensors.params.values())


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_all_models_at_once_in_the_layouts_of_training(name: str, autocast: torch.dtype | None) -> None:
    """torch.vmap warns, an error in tests, of operations for which it goes through the models one by one."""
    stack, _ = stack_and_alone(MODELS[name], dtype=torch.float32, channels_last=True, autocast=autocast)
    for shared in (True, False):
        x = images(MODELS[name], 6, shared=shared, dtype=torch.float32)
        scores = stack.scores(x, training=True)
        scores.float().sum().backward()  # type: ignore[no-untyped-call]
        assert scores.isfinite().all()


def test_models_keep_their_names_and_see_the_stack_change() -> None:
    stack, _ = stack_and_alone(MODELS["eecs batch norm"], channels_last=True)
    model = stack.models[1]
    assert list(stack.tensors.params) == [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        for p in stack.tensors.params.values():
            p[1] += 3
    for name, p in model.named_parameters():
        assert torch.equal(p, stack.tensors.params[name][1])
        assert stack.tensors.params[name].is_leaf


def test_weights_are_those_of_convolutions_and_linear_layers_in_their_order() -> None:
    stack, _ = stack_and_alone(MODELS["preact"])
    names = ["conv0", "block1_1.conv", "conv1", "block2_1.conv", "head"]
    assert [id(p) for p in stack.tensors.weights] == [id(stack.tensors.params[f"{name}.weight"]) for name in names]


def test_frozen_parameters_have_no_gradient() -> None:
    stack, _ = stack_and_alone(MODELS["whitened"])
    stack.scores(images(MODELS["whitened"], 4, shared=True), training=True).sum().backward()  # type: ignore[no-untyped-call]
    frozen = {name for name, p in stack.tensors.params.items() if p.grad is None}
    assert frozen == {"whiten.weight", "norm1.weight"}


@pytest.mark.parametrize(
    "module", [nn.Dropout(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.5), nn.RReLU(), nn.BatchNorm3d(2)]
)
def test_modules_that_cannot_be_stacked_are_named(module: nn.Module) -> None:
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 2, 3))
    model.add_module("odd", module)
    with pytest.raises(ValueError, match=f"odd: {type(module).__name__} cannot be stacked"):
        StackedFunctional([model], dtype=None)


def test_make_stack_takes_what_is_made_for_the_model() -> None:
    generators = [torch.Generator() for _ in range(2)]
    nets = [mlp(12, [4], n_outputs=CLASSES, activation=["relu"], dropout=[0.0]) for _ in range(2)]
    assert isinstance(make_stack(nets, generators=generators, dtype=None), StackedSequential)
    cnns = [MODELS["eecs"]() for _ in range(2)]
    assert isinstance(make_stack(cnns, generators=generators, dtype=None), StackedFunctional)
