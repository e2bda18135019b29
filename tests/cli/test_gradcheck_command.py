"""`dlassign gradcheck` from the outside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.numpy_nets.linear import Linear

LAYERS = """\
import numpy as np
import torch


class Swish:
    def __init__(self, beta=1.0):
        self.beta, self.params, self.grads, self.buffers = beta, {}, {}, {}

    def forward(self, x, *, train):
        self.x, self.s = x, 1 / (1 + np.exp(-self.beta * x))
        return x * self.s

    def backward(self, dy):
        return dy * (self.s + self.beta * self.x * self.s * (1 - self.s))


class Wrong(Swish):
    def backward(self, dy):
        dx = super().backward(dy)
        dx[1, 2] *= 1.01
        return dx


class Noise:
    def __init__(self, rng, dtype=np.float32):
        self.rng, self.params, self.grads, self.buffers = rng, {"scale": np.ones(1, dtype)}, {"scale": np.ones(1)}, {}

    def forward(self, x, *, train):
        self.y = x + self.rng.standard_normal(x.shape)
        return self.y * self.params["scale"]

    def backward(self, dy):
        self.grads["scale"][...] = np.sum(dy * self.y)
        return dy * self.params["scale"]


class Half:
    def forward(self, x, *, train):
        return x


class Fails:
    def __init__(self):
        raise RuntimeError("not today")


class TorchSwish(torch.nn.Module):
    def __init__(self, beta=1.0):
        super().__init__()
        self.beta = beta

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


class Detached(torch.nn.Module):
    def forward(self, x):
        return x.detach()


class Single(torch.nn.Module):
    def forward(self, x):
        return x.float()


class Square(torch.autograd.Function):
    # weight * times * x^power

    @staticmethod
    def forward(ctx, x, power, times=1.0, weight=None):
        weight = torch.ones(1, dtype=x.dtype) if weight is None else weight
        ctx.save_for_backward(x, weight)
        ctx.power, ctx.times = power, times
        return weight * times * x**power

    @staticmethod
    def backward(ctx, dy):
        return Square.gradients(ctx, dy, ctx.times)

    @staticmethod
    def gradients(ctx, dy, times):
        x, weight = ctx.saved_tensors
        dx = dy * weight * times * ctx.power * x ** (ctx.power - 1)
        dweight = (dy * ctx.times * x**ctx.power).sum(0) if ctx.needs_input_grad[3] else None
        return dx, None, None, dweight


class Forgets(Square):
    # Forgets the factor `times`, which is 1 unless it is given

    @staticmethod
    def backward(ctx, dy):
        return Square.gradients(ctx, dy, 1.0)


class Applies(torch.nn.Module):
    # A module with a hand-written backward in it, which is wrong

    def forward(self, x):
        return Forgets.apply(x, 2, 3.0)


class Newer(torch.autograd.Function):
    @staticmethod
    def forward(x, weight):
        return x * weight

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        return dy * weight, (dy * x).sum(0)
"""
CONFIG = """\
name: small
data: {name: digits}
model: {name: mlp, hidden: [8], norm: layer, dropout: 0.3}
optimizer: {name: adam}
train: {steps: 40, batch_size: 100}
device: cuda
"""
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("swishes.py").write_text(LAYERS)
    Path("a.yaml").write_text(CONFIG)

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["gradcheck", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


def layer(run: Run, *arguments: str) -> Result:
    return run("--layer", *arguments)


@pytest.mark.slow  # TestEverythingOfOurs in tests/checks proves the same layers, in a sixth of the time
def test_everything(run: Run) -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert lines[4].split() == ["layer", "tensor", "central", "autograd", "directions", "kinks"]
    assert lines[5].split() == ["bound", "1e-09", "1e-10", "1e-09"]
    table = lines[6:-2]
    assert len(table) > 80
    assert all(line.endswith("  0  ok") for line in table)
    assert lines[-1].startswith(f"{len(table)} tensors, worst ")
    assert lines[-1].endswith("; all within bounds")


@pytest.mark.parametrize("name", ["Linear", "linear", "LINEAR"])
def test_one_of_ours(run: Run, name: str) -> None:
    result = layer(run, name, "--seed", "3")
    assert result.exit_code == 0
    assert {line.split()[0] for line in result.stdout.splitlines()[6:-2]} == {"Linear"}
    assert layer(run, name, "--seed", "3").stdout == result.stdout
    assert layer(run, name, "--seed", "4").stdout != result.stdout


def test_one_of_ours_with_other_arguments(run: Run) -> None:
    line = ["Conv2d", "--arg", "in_channels=2", "--arg", "out_channels=3", "--arg", "kernel_size=[2, 1]"]
    result = layer(run, *line, "--input", "1,2,4,4", "--torch", "torch.nn:Conv2d")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[-1] for line in result.stdout.splitlines()[6:-2]] == ["ok"] * 3
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_one_of_ours_has_its_peer_in_torch_nn(run: Run) -> None:
    result = layer(run, "Linear", "--arg", "in_features=4", "--arg", "out_features=3", "--json")
    assert result.exit_code == 0, result.stderr
    assert all(row["autograd"] < 1e-10 for row in json.loads(result.stdout)["rows"])
    without = layer(run, "BatchNorm1d", "--arg", "num_features=4", "--arg", "from_zero=true", "--json")
    assert [row["autograd"] for row in json.loads(without.stdout)["rows"]] == [None] * 3


def test_what_cannot_be_proved_is_not_called_wrong(run: Run) -> None:
    """Two values a channel: their normalised difference is almost always 1, but for a steep step between."""
    result = layer(run, "BatchNorm1d", "--arg", "num_features=4", "--input", "2,4")
    assert result.exit_code == 1
    assert "WRONG" not in result.stdout
    assert result.stdout.endswith("; 1 not proved\n")


@pytest.mark.slow  # eight seconds; tests/checks proves the kinks of small inputs
def test_kinks_of_many_entries(run: Run) -> None:
    assert layer(run, "ReLU", "--input", "100,1000").stdout.endswith("; all within bounds\n")


def test_a_loss(run: Run) -> None:
    assert layer(run, "hinge").exit_code == 0
    result = layer(run, "hinge", "--input", "3,1")
    assert result.exit_code == 2
    assert "hinge is a loss" in result.stderr


def test_a_wrong_layer_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Linear.backward_params

    def wrong(self: Any, dy: Any) -> None:
        right(self, dy)
        if "bias" in self.grads:
            self.grads["bias"][...] = 0

    monkeypatch.setattr(Linear, "backward_params", wrong)
    result = layer(run, "Linear")
    assert result.exit_code == 1
    wrong_rows = [line.split()[:2] for line in result.stdout.splitlines() if line.endswith("  WRONG")]
    assert wrong_rows == [["Linear", "bias"]]
    assert re.search(r"\nWRONG  Linear bias: at \[.\] backward gives 0, differences give -?\d", result.stdout)
    assert result.stdout.endswith("; 1 WRONG\n")
    result = layer(run, "residual", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["ok"]
    assert [row["tensor"] for row in found["rows"] if not row["ok"]] == ["linear1.bias", "head.bias"]


@pytest.mark.parametrize("where", ["swishes:Swish", "swishes.py:Swish", "./swishes.py:Swish"])
def test_a_layer_of_the_user(run: Run, where: str) -> None:
    result = layer(run, where)
    assert result.exit_code == 0, result.stderr
    row = result.stdout.splitlines()[6].split()
    assert row[:2] == ["Swish", "input"]
    assert row[3] == "-"
    result = layer(run, where, "--arg", "beta=2.5", "--torch", "swishes.py:TorchSwish", "--input", "2,3,4", "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [row["form"] for row in rows] == ["beta 2.5", "beta 1.75", "large x, beta 2.5"]
    assert all(row["size"] == 24 and row["ok"] and row["autograd"] < 1e-14 for row in rows)
    assert layer(run, where, "--torch", "torch.nn:SiLU").exit_code == 0
    assert not list(Path().glob("__pycache__"))


def test_a_layer_that_takes_rng_and_dtype(run: Run) -> None:
    result = layer(run, "swishes:Noise", "--json")
    assert result.exit_code == 0, result.stderr
    assert [row["tensor"] for row in json.loads(result.stdout)["rows"]] == ["input", "scale"] * 2


FORGETFUL = """\
import numpy as np


class Layer:
    def __init__(self, {arguments}):
        self.factor, self.power, self.params, self.grads, self.buffers = {values}, {{}}, {{}}, {{}}

    def forward(self, x, *, train):
        self.x = x
        return {forward}

    def backward(self, dy):
        return dy * {slope}
"""


@pytest.mark.parametrize(
    ("arguments", "forward", "slope", "form"),
    [
        ("factor=1.0", "self.factor * x", "1", "factor 0.7"),
        ("factor=1", "self.factor * x", "self.factor**2", "factor 3"),
        ("factor=0.0", "x + self.factor * x**3", "1", "factor 0.3"),
        ("factor=2.0", "self.factor * x", "2", "factor 1.7"),
        ("power=2", "x**self.power", "2 * self.x", "power 3"),
        ("power=1", "x * abs(x)**(self.power - 1)", "1 + 0 * self.x", "power 3"),
        ("factor=0.5", "self.factor * x", "(1 - self.factor)", "factor 0.35"),
        ("factor=3.0", "self.factor * x", "3", "factor 2.1"),
        ("factor=0.5", "self.factor * np.clip(x, 0, 6)", "self.factor * (self.x > 0)", "large x"),
    ],
)
def test_a_factor_that_backward_forgets_shows_where_its_default_would_hide_it(
    run: Run, arguments: str, forward: str, slope: str, form: str
) -> None:
    name = arguments.partition("=")[0]
    values = "factor, 0" if name == "factor" else "0, power"
    Path("mine.py").write_text(FORGETFUL.format(arguments=arguments, values=values, forward=forward, slope=slope))
    result = layer(run, "mine.py:Layer", "--json")
    assert result.exit_code == 1, result.output
    assert [row["form"] for row in json.loads(result.stdout)["rows"] if not row["ok"]] == [form]


def test_a_value_that_cannot_be_varied_is_said(run: Run) -> None:
    source = FORGETFUL.format(arguments="factor=1", values="factor, 0", forward="x * self.factor", slope="self.factor")
    check = "        if factor != 1:\n            raise ValueError('one factor only')\n"
    Path("mine.py").write_text(source.replace("        self.factor, self", f"{check}        self.factor, self"))
    result = layer(run, "mine.py:Layer")
    assert result.exit_code == 0, result.output
    assert (
        "tried\n"
        "  factor  1 alone, which can hide a mistake; refused 3, 2, 0.7, 1.3, 1.03:\n"
        "          ValueError: one factor only\n"
        "  x       normal, 8 times as large\n"
    ) in result.stdout
    found = json.loads(layer(run, "mine.py:Layer", "--json").stdout)
    assert found["notes"] == ["factor was tried at 1 alone, which can hide a mistake; ValueError: one factor only"]
    assert found["arguments"][0] == {"name": "factor", "values": [1], "refused": [3, 2, 0.7, 1.3, 1.03]}


SEVERAL = """\
from typing import Annotated

import numpy as np
from pydantic import Field


class Several:
    params, grads, buffers = {}, {}, {}

    def __init__(
        self,
        n_features: int = 4,
        *,
        slope: Annotated[float, Field(ge=1, le=1.1)] = 1.0,
        scale: Annotated[float, Field(ge=1, le=1)] = 1.0,
        shift=0.0,
        stride=1,
        clip=True,
        mode="same",
        dtype=np.float32,
    ):
        if stride not in (1, 2):
            raise ValueError(f"stride is {stride}; expected 1 or 2")
        if not 1 <= slope <= 1.1:
            raise SystemError("a value outside the limits")
        self.n_features, self.slope, self.scale, self.shift = n_features, slope, scale, shift

    def forward(self, x, *, train):
        if x.shape[1] != self.n_features:
            raise ValueError(f"expected {self.n_features} features")
        self.x = x
        return self.scale * np.where(x > 0, x, self.slope * x) * (1 + self.shift)

    def backward(self, dy):
        return self.scale * np.where(self.x > 0, dy, self.slope * dy) * (1 + self.shift)


class ForgetsTogether(Several):
    def forward(self, x, *, train):
        return super().forward(x, train=train) + self.shift * (self.slope - 1) * x


class BreaksElsewhere(Several):
    def backward(self, dy):
        return super().backward(dy) if self.slope == 1 else None
"""


def test_what_was_tried_is_said_within_80_columns_and_limits_are_kept(run: Run) -> None:
    Path("mine.py").write_text(SEVERAL)
    result = layer(run, "mine.py:Several")
    assert result.exit_code == 0, result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert (
        "tried\n"
        "  n_features  4; refused 5, 3: ValueError: expected 5 features\n"
        "  slope       1.0, 1.03\n"
        "  scale       1.0 alone, which can hide a mistake; its annotation takes no other\n"
        "              that was thought of\n"
        "  shift       0.0, 0.3\n"
        "  stride      1, 2; refused 3: ValueError: stride is 3; expected 1 or 2\n"
        "  clip        True\n"
        "  mode        same\n"
        "  x           normal, 8 times as large\n"
        "\n"
    ) in result.stdout
    forms = [row["form"] for row in json.loads(layer(run, "mine.py:Several", "--json").stdout)["rows"]]
    assert forms == ["", "slope 1.03", "shift 0.3", "stride 2", "slope 1.03, shift 0.3, stride 2", "large x"]


def test_one_argument_cannot_hide_another(run: Run) -> None:
    Path("mine.py").write_text(SEVERAL)
    result = layer(run, "mine.py:ForgetsTogether")
    assert result.exit_code == 1
    assert "WRONG  ForgetsTogether slope 1.03, shift 0.3, stride 2 input: at [" in result.stdout
    assert result.stdout.endswith("; 1 WRONG\n")


def test_a_backward_that_fails_at_another_value_is_a_mistake_and_no_refusal(run: Run) -> None:
    Path("mine.py").write_text(SEVERAL)
    result = layer(run, "mine.py:BreaksElsewhere")
    assert result.exit_code == 1
    assert "with slope=1.03: BreaksElsewhere: backward returns None; expected an array" in result.stderr


def test_the_peer_of_another_value_is_one_that_takes_it(run: Run) -> None:
    """torch.nn.SiLU has no beta: with beta 0.7 it would be another function, and is not asked."""
    rows = json.loads(layer(run, "swishes:Swish", "--torch", "torch.nn:SiLU", "--json").stdout)["rows"]
    assert [(row["form"], row["autograd"] is None) for row in rows] == [
        ("", False),
        ("beta 0.7", True),
        ("large x", False),
    ]
    rows = json.loads(layer(run, "swishes:Swish", "--torch", "swishes:TorchSwish", "--json").stdout)["rows"]
    assert all(row["autograd"] < 1e-14 for row in rows)


def test_that_the_file_of_a_layer_is_run_stands_in_the_help(run: Run) -> None:
    assert "This runs the code of that file" in " ".join(run("--help").stdout.split())


def test_a_wrong_layer_of_the_user(run: Run) -> None:
    result = layer(run, "swishes:Wrong")
    assert result.exit_code == 1
    assert "WRONG  Wrong input: at [1, 2] backward gives " in result.stdout
    assert result.stdout.endswith("; 1 WRONG\n")
    result = layer(run, "swishes:Swish", "--arg", "beta=2", "--torch", "swishes:Wrong")
    assert result.exit_code == 2
    assert "Wrong is no torch.nn.Module" in result.stderr


NORMS = "dlassign.nets.normalization"


@pytest.mark.parametrize(
    ("name", "arguments", "tensors"),
    [
        ("swishes:TorchSwish", [], ["input"]),
        ("torch.nn:Dropout", ["p=0.3"], ["input"]),
        ("swishes:Square", ["power=2", "weight=[1,2,3,4]"], ["input", "weight"]),
        ("swishes:Newer", ["weight=[1,2,3,4]"], ["input", "weight"]),
        (f"{NORMS}:BatchNormManual", ["num_features=4"], ["input", "weight", "bias"]),
        (f"{NORMS}:LayerNormManual", ["num_features=4"], ["input", "weight", "bias"]),
        (f"{NORMS}:BatchNormFunction", ["gamma=[1,1,1,1]", "beta=[0,0,0,0]"], ["input", "gamma", "beta"]),
        (f"{NORMS}:LayerNormFunction", ["gamma=[1,1,1,1]", "beta=[0,0,0,0]"], ["input", "gamma", "beta"]),
    ],
)
def test_modules_and_functions_of_pytorch(run: Run, name: str, arguments: list[str], tensors: list[str]) -> None:
    result = layer(run, name, *(f"--arg={argument}" for argument in arguments), "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["tensor"] for row in rows[: len(tensors)]] == tensors
    assert {row["tensor"] for row in rows} == set(tensors)
    assert layer(run, name, *(f"--arg={argument}" for argument in arguments), "--json").stdout == result.stdout


def test_a_module_has_a_peer_too(run: Run) -> None:
    line = [f"{NORMS}:BatchNormManual", "--arg=num_features=4", "--torch=torch.nn:BatchNorm1d", "--json"]
    result = layer(run, *line)
    assert result.exit_code == 0, result.output
    assert all(row["autograd"] < 1e-10 for row in json.loads(result.stdout)["rows"])


def test_a_wrong_backward_of_a_function(run: Run) -> None:
    """Right for `times` of 1, which is the default; another value is tried, too."""
    result = layer(run, "swishes:Forgets", "--arg", "power=2")
    assert result.exit_code == 1
    assert re.search(r"^Forgets power 2 +input .* ok$", result.stdout, re.MULTILINE)
    assert "WRONG  Forgets times 0.7, power 2 input: at [" in result.stdout
    assert layer(run, "swishes:Applies").exit_code == 1


@pytest.mark.parametrize("norm", ["batch_manual", "batch_autograd", "layer_manual"])
def test_a_config_that_numpy_cannot_compute_is_checked_in_pytorch(run: Run, norm: str) -> None:
    more = ["--set", f"model.norm={norm}", "--set", "loss={name: cross_entropy, penalty: [{name: l2, coefficient: 1}]}"]
    result = run("a.yaml", *more, "--set", "device=cpu", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["layer"] for row in rows] == ["input", *["linear1"] * 2, *["norm1"] * 2, *["head"] * 2]
    assert all(row["autograd"] is None for row in rows)


def test_a_peer_that_computes_something_else(run: Run) -> None:
    result = layer(run, "swishes:Swish", "--torch", "torch.nn:Tanh")
    assert result.exit_code == 1
    assert "PyTorch's output or gradient is another" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["Liner"], 2, "there is no layer or loss 'Liner'. Did you mean 'Linear'? Known: Linear, Flatten, "),
        (["swishes:Swich"], 2, "swishes has no 'Swich'. Did you mean 'Swish'? Its classes: Applies, Detached, "),
        (["swishes:np"], 2, "swishes:np is a module; expected a class"),
        (["nowhere:Swish"], 2, "there is no module 'nowhere'"),
        (["nowhere.py:Swish"], 2, "there is no file nowhere.py"),
        ([":Swish"], 2, "is no import path"),
        (["swishes:Square"], 2, "Square.apply: power is missing; it takes: power, times, weight; give numbers as"),
        (["swishes:Square", "--arg", "p=2"], 2, "Square.apply: power is missing, there is no p; it takes: power"),
        (["swishes:Square", "--arg", "power=[1,[2]]"], 2, "--arg power: "),
        (["swishes:Square", "--arg", "power=2", "--torch", "swishes:Square"], 2, "Square is no torch.nn.Module"),
        (["swishes:Pair"], 1, "TypeError: it returns tuple; expected a tensor"),
        (["swishes:Detached"], 1, "TypeError: its output has no gradient; leave out detach() and no_grad()"),
        (["swishes:Single"], 1, "Single: forward turns float64 into float32"),
        (["swishes:Half"], 1, "Half is no layer yet; it lacks\n  params: "),
        (["swishes:Fails"], 1, "Fails() fails: RuntimeError: not today"),
        (["swishes:Swish", "--arg", "gamma=1"], 2, "unexpected keyword argument 'gamma'"),
        (["swishes:Swish", "--arg", "beta"], 2, "'beta' is not KEY=VALUE"),
        (["swishes:Swish", "--arg", "beta=[1"], 2, "the bracket `[` is not closed"),
        (["swishes:Swish", "--arg", "beta=x"], 1, "forward(x, train=True) fails for an array (5, 4) float64: "),
        (["swishes:Swish", "--input", "5,x"], 2, "'5,x' is no shape"),
        (["swishes:Swish", "--input", "1000,1000"], 2, "1,000,000 values are too many"),
        (["swishes:Swish", "--torch", "SiLU"], 2, "'SiLU' is no import path; expected one such as torch.nn:SiLU"),
        (["swishes:Swish", "--torch", "torch.nn:Silu"], 2, "torch.nn has no 'Silu'. Did you mean 'SiLU'?"),
        (["Linear", "--config", "a.yaml"], 2, "a config and --layer are both given; give one of them"),
        (["Linear", "--set", "seed=1"], 2, "--set changes a config; give its FILE, too"),
    ],
)
def test_what_cannot_be_checked(run: Run, arguments: list[str], code: int, message: str) -> None:
    result = layer(run, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (", "bad.py:1: '(' was never closed"),
        ("\nraise ValueError('boo')", "bad.py:2: ValueError: boo"),
        ("import nothing_like_it", "bad.py:1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("import sys\nsys.exit(3)", "bad.py:2: SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported(run: Run, source: str, message: str) -> None:
    Path("bad.py").write_text(source)
    result = layer(run, "bad.py:X")
    assert result.exit_code == 1
    assert message in result.stderr


def test_options_without_a_layer(run: Run) -> None:
    result = run("--arg", "beta=1")
    assert result.exit_code == 2
    assert "give --layer NAME too" in result.stderr


def test_a_config(run: Run) -> None:
    result = run("--config", "a.yaml", "--set", "model.activation=elu", "--seed", "5")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "small, cross_entropy, 5 random samples like digits: gradients in float64"
    assert lines[4].split() == ["layer", "tensor", "entries", "central", "autograd", "directions", "kinks"]
    names = [" ".join(line.split()[:3]) for line in lines[6:-2]]
    assert names == [
        "input x 20/320",
        "linear1 weight 20/512",
        "linear1 bias 8/8",
        "norm1 weight 8/8",
        "norm1 bias 8/8",
        "head weight 20/80",
        "head bias 10/10",
    ]
    assert lines[-1].startswith("7 tensors, worst ")
    found = json.loads(run("--config", "a.yaml", "--json").stdout)
    assert found["ok"]
    assert found["rows"][1]["entries"] == 20


OWN = """\
import numpy as np
from torch import nn


class Half(nn.Module):
    def __init__(self, *, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return x.clamp(min=0) + self.slope * x.clamp(max=0)


def NumpyHalf(x, *, slope: float = 1.0):
    return np.where(x > 0, x, slope * x), np.where(x > 0, np.ones_like(x), slope)


def Forgets(x, *, slope: float = 1.0):
    return np.where(x > 0, x, slope * x), np.ones_like(x)
"""


def test_a_config_with_an_activation_of_ones_own(run: Run) -> None:
    Path("acts.py").write_text(OWN)
    own = ("a.yaml", "--code", "acts.py", "--set", "model.hidden=[8, 6]")
    both = run(*own, "--set", 'model.activation=[{name: "acts.py:Half", slope: 0.3}, tanh]', "--json")
    assert both.exit_code == 0, both.output
    assert all(row["autograd"] < 1e-10 for row in json.loads(both.stdout)["rows"])
    wrong = run(*own, "--set", 'model.activation={name: "acts.py:Forgets", slope: 0.3}', "--json")
    assert wrong.exit_code == 1, wrong.output
    rows = json.loads(wrong.stdout)["rows"]
    assert [row["layer"] for row in rows if not row["ok"]][:3] == ["input", "linear1", "linear1"]
    # It is there in NumPy alone, so there is nothing to compare with.
    assert {row["autograd"] for row in rows} == {None}
    layer_too = (
        OWN.replace("def NumpyHalf", "def Unused")
        + """
class NumpyHalf:
    params, grads, buffers = {}, {}, {}

    def __init__(self, *, slope: float = 1.0) -> None:
        self.slope = slope

    def forward(self, x, *, train):
        self.x = x
        return np.where(x > 0, x, self.slope * x)

    def backward(self, dy):
        return dy
"""
    )
    Path("acts.py").write_text(layer_too)
    hidden = run(*own, "--set", "model.activation=acts.py:Half").stdout.splitlines()
    assert hidden[-2].endswith("all within bounds")
    assert hidden[-1] == "other arguments: dlassign gradcheck --layer acts.py:NumpyHalf"
    assert layer(run, "acts.py:NumpyHalf").exit_code == 1
    not_allowed = run("a.yaml", "--set", "model.activation=acts.py:Half")
    assert not_allowed.exit_code == 2
    assert "a config alone runs no code; allow it with --code acts.py" in not_allowed.stderr
    assert "--code is for the parts that a config names" in run("--code", "acts.py").stderr


def test_what_is_wrong_with_a_config_is_shown_in_the_file(run: Run) -> None:
    assert run("--config", "nowhere.yaml").exit_code == 2
    result = run("--config", "a.yaml", "--set", "loss.name=hinge")
    assert result.exit_code == 2
    assert "hinge is for 2 classes, the data has 10" in result.stderr
    result = run("--config", "a.yaml", "--set", "data={name: csv_table, path: nowhere.csv, label_column: 0}")
    assert result.exit_code == 1
    assert "there is no file nowhere.csv" in result.stderr
