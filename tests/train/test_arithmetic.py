"""What `auto` means on a device, what a device cannot do, and how a learner computes with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlassign.config.model import CrossEntropy
from dlassign.config.optim import SGD
from dlassign.config.train import Train
from dlassign.data.torch_batches import TensorSplit
from dlassign.errors import ConfigError
from dlassign.nets.objective import make_loss
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train import arithmetic
from dlassign.train.arithmetic import Arithmetic, choose_arithmetic, cpu_flags, fast_bf16, slow_to_begin, slow_to_go_on
from dlassign.train.learner import EvalOptions
from dlassign.train.torch_learner import TorchLearner

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CONVNET, MLP = nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
K = 3

Cpu = Callable[..., None]


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Cpu:
    """Give the processor other flags."""

    def have(*flags: str) -> None:
        monkeypatch.setattr(arithmetic, "cpu_flags", lambda: {"fpu", "avx512f", *flags})

    have()
    return have


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend that there is a GPU, with bf16 or without, and the compiler for it."""

    def have(bf16: bool) -> None:
        monkeypatch.setattr(arithmetic, "gpu_has_bf16", lambda device: bf16)
        monkeypatch.setattr(arithmetic, "_compiler", lambda device: "triton")

    return have


def choose(device: torch.device, model: nn.Module = CONVNET, **changes: Any) -> Arithmetic:
    train = Train.model_validate({"steps": 10, **changes})
    return choose_arithmetic(train, device, model=model)


@pytest.mark.parametrize(
    ("flags", "precision", "why"),
    [
        ((), "fp32", "auto: nothing makes bf16 fast on this CPU"),
        (("avx512_bf16",), "bf16", "auto: convolutions on a CPU with avx512_bf16"),
        (("amx_bf16",), "bf16", "auto: convolutions on a CPU with amx_bf16"),
        (("amx_bf16", "avx512_bf16"), "bf16", "auto: convolutions on a CPU with amx_bf16 and avx512_bf16"),
    ],
)
def test_auto_on_a_cpu(cpu: Cpu, flags: tuple[str, ...], precision: str, why: str) -> None:
    cpu(*flags)
    found = choose(CPU)
    assert (found.precision, found.why) == (precision, why)
    assert found.weights == torch.float32
    assert found.autocast == (torch.bfloat16 if precision == "bf16" else None)
    assert not found.compile


@pytest.mark.parametrize(
    ("bf16", "precision", "why"),
    [
        (True, "bf16", "auto: convolutions on a GPU with bf16"),
        (False, "fp32", "auto: nothing makes bf16 fast on this GPU"),
    ],
)
def test_auto_on_a_gpu(gpu: Callable[[bool], None], bf16: bool, precision: str, why: str) -> None:
    gpu(bf16)
    found = choose(GPU)
    assert (found.precision, found.why) == (precision, why)


def test_a_model_without_convolutions_stays_as_it_is(cpu: Cpu) -> None:
    cpu("amx_bf16")
    found = choose(CPU, MLP)
    assert (found.precision, found.channels_last) == ("fp32", False)
    assert found.why == "auto: the model has no convolution"
    assert not choose(CPU, MLP, channels_last="on").channels_last  # there are no images in it


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_the_config_decides(cpu: Cpu, precision: str) -> None:
    cpu("amx_bf16")
    found = choose(CPU, precision=precision)
    assert (found.precision, found.why) == (precision, "as the config says")
    assert found.weights == (torch.float64 if precision == "fp64" else torch.float32)


@pytest.mark.parametrize(("wish", "expected"), [("auto", True), ("on", True), ("off", False)])
def test_convolutions_get_channels_last(cpu: Cpu, wish: str, expected: bool) -> None:
    assert choose(CPU, channels_last=wish).channels_last is expected


def test_auto_does_not_compile_for_a_stack_cannot(gpu: Callable[[bool], None], cpu: Cpu) -> None:
    gpu(True)
    assert not choose(GPU).compile
    assert choose(GPU, compile="on").compile
    assert not choose(GPU, compile="off").compile


def test_a_run_that_was_compiled_by_auto_goes_on_so(gpu: Callable[[bool], None]) -> None:
    gpu(True)
    began = {
        "precision": "bf16",
        "channels_last": True,
        "compile": True,
        "why": "auto: convolutions on a GPU with bf16",
    }
    assert choose_arithmetic(Train(steps=10), GPU, model=CONVNET, recorded=began).compile


def test_a_run_that_goes_on_keeps_its_arithmetic(cpu: Cpu) -> None:
    cpu("amx_bf16")
    began = choose(CPU)
    cpu()
    train = Train.model_validate({"steps": 10})
    assert choose_arithmetic(train, CPU, model=CONVNET, recorded=began.record()) == began
    assert choose_arithmetic(train, CPU, model=CONVNET).precision == "fp32"


def test_where_nothing_makes_bf16_fast_a_user_learns_it_at_the_start(cpu: Cpu) -> None:
    assert slow_to_begin(choose(CPU)).startswith("computes in fp32, since this CPU has no amx_bf16 or avx512_bf16: ")
    assert [slow_to_begin(choose(CPU, MLP)), slow_to_begin(choose(CPU, precision="fp32"))] == ["", ""]
    cpu("avx512_bf16")
    began = choose(CPU)
    assert [slow_to_begin(began), slow_to_go_on(began, "cpu")] == ["", ""]
    cpu()
    assert slow_to_go_on(began, "cpu").startswith("goes on in bf16, as it began; nothing makes that fast on this CPU")
    assert slow_to_go_on(choose(CPU, precision="bf16"), "cpu") == ""  # the config asks for it


FP16 = ("train.precision", "fp16 is for GPUs; on the CPU use bf16, fp32 or auto")
COMPILER = (
    "train.compile",
    "torch.compile needs a C++ compiler (g++, clang++ or what CXX names), which is not there; install it, or use "
    "`compile: off`",
)


def problems(train: Train, device: torch.device, recorded: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        choose_arithmetic(train, device, model=CONVNET, recorded=recorded)
    return [(problem.path, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_what_is_for_gpus_is_refused_on_a_cpu(precision: Any) -> None:
    path, message = FP16
    assert problems(Train(steps=10, precision=precision), CPU) == [(path, message.replace("fp16", precision))]


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.usefixtures("no_compiler")
def test_compiling_without_a_compiler_is_refused() -> None:
    assert problems(Train(steps=10, compile="on"), CPU) == [COMPILER]
    assert problems(Train(steps=10, compile="on", precision="fp16"), CPU) == [FP16, COMPILER]
    assert not choose(CPU, compile="auto").compile


@pytest.mark.usefixtures("no_compiler")
def test_a_compiler_is_what_CXX_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: N802
    compiler = tmp_path / "my-c++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert choose(CPU, compile="on").compile
    monkeypatch.setenv("CXX", str(tmp_path / "gone"))
    assert problems(Train(steps=10, compile="on"), CPU) == [COMPILER]


@pytest.mark.usefixtures("no_compiler")
def test_a_run_of_another_machine_is_refused_where_it_cannot_go_on() -> None:
    """Begun on a GPU with `auto`, gone on with on a CPU: the config says nothing against it."""
    began = {"precision": "fp16", "channels_last": True, "compile": True, "why": "as the config says"}
    assert problems(Train(steps=10), CPU, began) == [FP16, COMPILER]


def test_no_compiler_for_the_gpu(monkeypatch: pytest.MonkeyPatch, gpu: Callable[[bool], None]) -> None:
    gpu(True)
    monkeypatch.setattr(arithmetic, "_compiler", lambda device: None)
    [(path, message)] = problems(Train(steps=10, compile="on"), GPU)
    assert path == "train.compile"
    assert message == "torch.compile needs triton, which is not there; install it, or use `compile: off`"


def test_flags_are_those_of_the_processor() -> None:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        pytest.skip("this system does not tell")
    found = cpu_flags()
    assert all(f" {flag}" in text for flag in found)
    assert (fast_bf16(CPU) is None) is not bool({"amx_bf16", "avx512_bf16"} & found)


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, K)
    )


def images(n: int = 24) -> TensorSplit:
    generator = torch.Generator().manual_seed(2)
    return TensorSplit(torch.randn(n, 3, 8, 8, generator=generator), torch.randint(K, (n,), generator=generator))


def conv_run(precision: str, *, channels_last: bool = False) -> tuple[TorchLearner, list[float]]:
    arithmetic = Arithmetic(precision=precision, channels_last=channels_last, compile=False, why="")
    model, data = convnet(), images()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer, loss = make_optimizer(SGD(name="sgd", lr=0.1), model), make_loss(CrossEntropy(name="cross_entropy"))
    ours = TorchLearner(
        model, optimizer, loss=loss, evaluation=EvalOptions(n_classes=K, batch_size=7), arithmetic=arithmetic
    )
    return ours, [ours.step(data.x, data.y, 1.0).loss.item() for _ in range(5)]


def test_mixed_precision_keeps_weights_and_scores_in_single() -> None:
    ours, losses = conv_run("bf16")
    plain, expected = conv_run("fp32")
    assert {tensor.dtype for tensor in ours.weights().values()} == {torch.float32, torch.int64}
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.03)
    data = images()
    scores = ours._scores(data.x)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, scores.bfloat16().float())  # computed in 16 bits
    assert ours.evaluate(data).loss == pytest.approx(plain.evaluate(data).loss, rel=0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_memory_format_changes_rounding_alone(precision: str) -> None:
    ours, losses = conv_run(precision, channels_last=True)
    plain, expected = conv_run(precision)
    tolerance = 1e-5 if precision == "fp32" else 0.03
    assert losses == pytest.approx(expected, rel=tolerance)
    assert ours.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(ours.weights().values(), plain.weights().values(), strict=True):
        torch.testing.assert_close(a.contiguous(), b, rtol=tolerance, atol=tolerance)
